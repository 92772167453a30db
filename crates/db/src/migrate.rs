//! Roles, schemas and migrations, and the check that the binary and the schema fit each other.
//!
//! Each service embeds its migrations (`sqlx::migrate!()`) and keeps its migrations table in its own schema, as its `sqlx.toml` says
//! (`table-name = "<schema>._sqlx_migrations"`). [`run`] is for the owner of the schemas: `tidings migrate`, and the tests. Services never
//! migrate; they call [`check_version`] and refuse to start on a schema that is too old.

use std::time::Duration;

use sqlx::{
    Connection as _, Executor, PgConnection, Postgres,
    migrate::{MigrateError, Migrator},
};
use tokio::time::{Instant, sleep};

use crate::{Schema, Settings, connect_dedicated};

/// `deploy/roles.sql`: the roles, the schemas, and who may do what. For operators who print it and apply it themselves.
pub const ROLES: &str = include_str!("../../../deploy/roles.sql");

/// How often the lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The advisory lock of all migrations of a database: "tidings" in ASCII. Advisory locks are apart in each database.
pub const LOCK_KEY: i64 = 0x0074_6964_696e_6773;

/// The migrations of one service.
#[derive(Clone, Copy, Debug)]
pub struct Migrations {
    /// Whose.
    pub schema: Schema,
    /// What `sqlx::migrate!()` has embedded.
    pub migrator: &'static Migrator,
}

/// Why a database could not be migrated, or does not fit the binary.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another migration runs.
    #[error("another migration of this database is running; waited {waited:?}")]
    Locked {
        /// How long.
        waited: Duration,
    },
    /// The roles and schemas could not be set up.
    #[error("roles.sql could not be applied")]
    Roles(#[source] sqlx::Error),
    /// A migration failed, or one that was applied before has been edited.
    #[error("the migrations of schema {schema} could not be applied")]
    Failed {
        /// Whose migrations.
        schema: Schema,
        /// What sqlx said.
        #[source]
        source: MigrateError,
    },
    /// The database lacks migrations that this binary needs.
    #[error("schema {schema} is older than this binary (at {found}, needed {needed}): run `tidings migrate`")]
    SchemaOlder {
        /// Whose.
        schema: Schema,
        /// The last migration applied; 0 where there is none.
        found: i64,
        /// The last migration of this binary.
        needed: i64,
    },
    /// The database has migrations that this binary does not know. As migrations only add until every binary has followed, the
    /// version before still works on it: a rollback may go on with a warning.
    #[error(
        "schema {schema} is newer than this binary (at {found}, known {known}): `tidings migrate` of a newer version was run"
    )]
    SchemaNewer {
        /// Whose.
        schema: Schema,
        /// The last migration applied.
        found: i64,
        /// The last migration that this binary knows.
        known: i64,
    },
    /// Postgres failed otherwise.
    #[error(transparent)]
    Database(#[from] crate::Error),
}

/// Applies `roles.sql`, then the migrations of each service in the order given, then the roles again, for the tables that are new.
///
/// A schema that has migrations of a newer version is left as it is: who has rolled back to this one starts, as all work on the next
/// version's schema. What stands in it of this version's migrations is held against them all the same.
///
/// Only one process migrates a database at a time; others wait up to `wait`.
///
/// # Errors
/// When something cannot be applied. What was applied before stays: each migration is a transaction.
pub async fn run(settings: &Settings, services: &[Migrations], wait: Duration) -> Result<(), Error> {
    // A migration may take as long as it needs; what is bounded is the wait for locks (2 s by default), so that it gives up rather than
    // make the running services queue behind it.
    let session = [("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];
    let mut connection = connect_dedicated(settings, &session).await?;
    lock(&mut connection, wait).await?;
    let outcome = run_locked(&mut connection, services).await;
    // Closing the session gives the lock back, also after an error.
    let _ = connection.close().await;
    outcome
}

async fn run_locked(connection: &mut PgConnection, services: &[Migrations]) -> Result<(), Error> {
    apply_roles(connection).await?;
    for service in services {
        let schema = service.schema;
        migrator(service)
            .run_direct(None, connection, false)
            .await
            .map_err(|source| Error::Failed { schema, source })?;
    }
    apply_roles(connection).await
}

/// Applies `roles.sql` on a connection of the owner. It can be repeated.
///
/// # Errors
/// When the connecting role may not do what the file says.
pub async fn apply_roles(connection: &mut PgConnection) -> Result<(), Error> {
    // One implicit transaction: all of it, or nothing.
    sqlx::raw_sql(ROLES).execute(connection).await.map_err(Error::Roles)?;
    Ok(())
}

/// The migrations with our own lock instead of sqlx's: that one waits inside a statement, whose snapshot would block a concurrent
/// index build of the very migration that it waits for.
fn migrator(service: &Migrations) -> Migrator {
    let mut migrator = Migrator::with_migrations(service.migrator.iter().cloned().collect());
    migrator.dangerous_set_table_name(table(service.schema));
    migrator.set_locking(false);
    migrator.set_ignore_missing(true);
    migrator
}

fn table(schema: Schema) -> String {
    format!("{schema}._sqlx_migrations")
}

async fn lock(connection: &mut PgConnection, wait: Duration) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        let sql = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK_KEY);
        if sql.fetch_one(&mut *connection).await.map_err(crate::Error::from)? {
            return Ok(());
        }
        if started.elapsed() >= wait {
            return Err(Error::Locked { waited: wait });
        }
        sleep(LOCK_POLL).await;
    }
}

/// Checks that the database has exactly the migrations of this binary.
///
/// # Errors
/// [`Error::SchemaOlder`], [`Error::SchemaNewer`], or why Postgres could not be asked.
pub async fn check_version<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    service: &Migrations,
) -> Result<(), Error> {
    let schema = service.schema;
    let needed = service
        .migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    let sql = sqlx::AssertSqlSafe(format!(
        "select coalesce(max(version), 0) from {} where success",
        table(schema)
    ));
    let found: i64 = match sqlx::query_scalar(sql).fetch_one(executor).await {
        Ok(found) => found,
        Err(error) if is_absent(&error) => 0,
        Err(error) => return Err(crate::Error::from(error).into()),
    };
    match found.cmp(&needed) {
        std::cmp::Ordering::Less => Err(Error::SchemaOlder { schema, found, needed }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Error::SchemaNewer {
            schema,
            found,
            known: needed,
        }),
    }
}

/// The table, the schema, the right to see them, or the role to connect as (22023) is not there: nothing was migrated.
fn is_absent(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42P01" | "3F000" | "42501" | "22023"))
}
