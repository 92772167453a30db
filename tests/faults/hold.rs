//! A second hand on the database: holds tables, so that calls stay inside of their transactions, and looks at who is in one.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidings_db::{Pool, Settings, connect_dedicated};
use tidings_testkit::until_some;

/// A call that needs a table which is held is found waiting for it within this.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// What a service allows a lock is too little for who holds one, on a machine that is busy.
const LONG: &[(&str, &str)] = &[
    ("statement_timeout", "60s"),
    ("lock_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "120s"),
];

/// Tables that nobody else can write to, nor lock a row of, until this is let go. They can be read.
#[derive(Debug)]
pub struct Hold {
    connection: PgConnection,
}

/// A service's connection that waits for a table.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Waiting {
    /// The server process of the connection.
    pub pid: i32,
    /// Whether its transaction has written something before, in a statement of its own: it stands between BEGIN and COMMIT.
    pub has_written: bool,
    /// What waits.
    pub query: String,
}

impl Hold {
    /// Takes these tables.
    pub async fn take(settings: &Settings, tables: &[String]) -> Self {
        let mut connection = connect_dedicated(settings, LONG).await.expect("a connection");
        let lock = format!("begin; lock table {} in exclusive mode", tables.join(", "));
        sqlx::raw_sql(AssertSqlSafe(lock))
            .execute(&mut connection)
            .await
            .expect("the tables can be locked");
        Self { connection }
    }

    /// Lets them go.
    pub async fn release(self) {
        self.connection.close().await.expect("the connection is whole");
    }
}

/// The names by which the services of a suite are known to Postgres: each has that of its schema.
pub const SERVICES: &[&str] = &["tidings-auth", "tidings-users", "tidings-chats", "tidings-messages"];

/// The connections of services with these names that wait for a table now.
pub async fn waiting(pool: &Pool, names: &[&str]) -> Vec<Waiting> {
    sqlx::query_as(
        "select pid, backend_xid is not null as has_written, query \
         from pg_stat_activity \
         where datname = current_database() and application_name = any ($1) \
           and state = 'active' and wait_event_type = 'Lock' \
         order by xact_start desc",
    )
    .bind(names)
    .fetch_all(pool)
    .await
    .expect("the activity can be read")
}

/// Waits until a service waits for a table.
pub async fn somebody_waits(pool: &Pool) -> Waiting {
    until_some("a service waits for a table", WAIT_LIMIT, || async {
        waiting(pool, SERVICES).await.into_iter().next()
    })
    .await
}
