//! A database for each test.
//!
//! ```ignore
//! let db = testing::Database::create(&[tidings_chat_service::MIGRATIONS]).await;
//! let pool = db.pool_as(Schema::Chats);
//! ```
//!
//! The first test of a set of migrations makes a template, and every test gets a copy of it, which is dropped with the
//! [`Database`]. Templates stay for the next run; their name holds a hash of the migrations, so that an edit makes a new one.

use std::{
    env, process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use tidings_ids::Source;
use tokio::time::timeout;

use crate::{
    Pool, Schema, Settings,
    migrate::{self, Migrations},
    pool::connect_patiently,
};

/// The environment variable with the URL of a superuser to a maintenance database of a test cluster.
pub const URL_VARIABLE: &str = "TIDINGS_TEST_DATABASE_URL";

/// A database of its own, dropped with the value.
#[derive(Debug)]
pub struct Database {
    name: String,
    maintenance_url: String,
    source: Source,
}

impl Database {
    /// Creates a database with roles and schemas and the migrations given.
    ///
    /// # Panics
    /// When [`URL_VARIABLE`] is not set, or Postgres does not do as told.
    pub async fn create(services: &[Migrations]) -> Self {
        let maintenance_url = env::var(URL_VARIABLE).unwrap_or_else(|_| {
            panic!("{URL_VARIABLE} is not set: run `cargo xtask test`, or set it to the URL of a superuser of a test Postgres")
        });
        let mut connection = maintenance(&maintenance_url).await;
        let template = template(&mut connection, &maintenance_url, services).await;
        let name = unique_name();
        execute(
            &mut connection,
            format!("create database \"{name}\" template \"{template}\""),
        )
        .await;
        // It is a property of the database itself, which a copy does not take over.
        execute(
            &mut connection,
            format!("revoke temporary, create on database \"{name}\" from public"),
        )
        .await;
        Self {
            name,
            maintenance_url,
            source: Source::system(),
        }
    }

    /// The superuser's URL to this database.
    #[must_use]
    pub fn url(&self) -> String {
        with_database(&self.maintenance_url, &self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The owner's settings for this database: those of a service, but with more time, so that a busy machine ends nothing that a test
    /// holds or waits for. What is tested about a time-out sets its own.
    #[must_use]
    pub fn settings(&self) -> Settings {
        patient(self.url())
    }

    /// A pool as the owner, who may do everything: to arrange and to inspect.
    #[must_use]
    pub fn pool(&self) -> Pool {
        connect_patiently(&self.settings(), &self.source, PATIENCE).expect("the URL has been used before")
    }

    /// A pool with the role of a service: what is under test should use this one, so that a missing grant is noticed.
    #[must_use]
    pub fn pool_as(&self, schema: Schema) -> Pool {
        let settings = Settings {
            schema: Some(schema),
            ..self.settings()
        };
        connect_patiently(&settings, &self.source, PATIENCE).expect("the URL has been used before")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("drop database if exists \"{}\" with (force)", self.name);
        let url = self.maintenance_url.clone();
        // A thread with a runtime of its own, as the test's runtime waits for this very function. Best effort: a test that has
        // failed should be told by its own message.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            runtime.block_on(async {
                let connecting = patient(url).options(&[]).ok()?;
                let mut connection = timeout(PATIENCE, connecting.connect()).await.ok()?.ok()?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.ok()
            })
        });
        let _ = thread.join();
    }
}

/// Longer than anything takes that a test waits for, on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(120);

fn patient(url: String) -> Settings {
    Settings {
        statement_timeout: PATIENCE,
        lock_timeout: PATIENCE,
        idle_in_transaction_session_timeout: PATIENCE,
        ..Settings::owner(url, "tidings-test")
    }
}

async fn maintenance(url: &str) -> PgConnection {
    let connecting = patient(url.to_owned()).options(&[]);
    let connecting = connecting.unwrap_or_else(|error| panic!("{URL_VARIABLE}: {error:?}"));
    timeout(PATIENCE, connecting.connect())
        .await
        .expect("postgres answers")
        .unwrap_or_else(|error| panic!("{URL_VARIABLE}: {error:?}"))
}

async fn execute(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The name of a database that has these migrations; made, if there is none, by whoever comes first.
async fn template(connection: &mut PgConnection, url: &str, services: &[Migrations]) -> String {
    let name = format!("tidings_template_{:016x}", fingerprint(services));
    let mut tx = connection
        .begin()
        .await
        .expect("the maintenance database takes transactions");
    let lock = "select pg_advisory_xact_lock(hashtextextended($1, 0))";
    sqlx::query(lock)
        .bind(&name)
        .execute(&mut *tx)
        .await
        .expect("the template's lock");
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&name)
        .fetch_one(&mut *tx)
        .await
        .expect("pg_database can be read");
    if !exists {
        // Under another name until it is complete, so that a run which is killed here leaves no half a template.
        let half = format!("{name}_half");
        let mut outside = maintenance(url).await;
        execute(&mut outside, format!("drop database if exists \"{half}\" with (force)")).await;
        execute(
            &mut outside,
            format!("create database \"{half}\" template template0 encoding 'UTF8'"),
        )
        .await;
        migrate::run(&patient(with_database(url, &half)), services, PATIENCE)
            .await
            .unwrap_or_else(|error| panic!("migrate: {error:?}"));
        execute(&mut outside, format!("alter database \"{half}\" rename to \"{name}\"")).await;
    }
    tx.commit().await.expect("the template's lock is given back");
    name
}

/// FNV-1a over the roles and the checksums of the migrations: it must be the same in every process, and needs no secrecy.
fn fingerprint(services: &[Migrations]) -> u64 {
    let migrations = services.iter().flat_map(|service| {
        let schema = service.schema.name().as_bytes();
        service
            .migrator
            .iter()
            .flat_map(move |migration| schema.iter().chain(migration.checksum.iter()))
    });
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    migrate::ROLES
        .as_bytes()
        .iter()
        .chain(migrations)
        .fold(0xcbf2_9ce4_8422_2325, hash)
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let random = u32::from_be_bytes(Source::system().random());
    format!(
        "tidings_test_{}_{}_{random:08x}",
        process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// `url` with another database.
fn with_database(url: &str, database: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, None), |(base, query)| (base, Some(query)));
    let authority_start = base.find("://").map_or(0, |at| at + 3);
    let authority_end = base[authority_start..]
        .find('/')
        .map_or(base.len(), |at| authority_start + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &base[..authority_end])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn a_url_keeps_all_but_its_database() {
        assert_eq!(
            with_database("postgres:///postgres?host=/tmp&user=a", "b"),
            "postgres:///b?host=/tmp&user=a"
        );
        assert_eq!(
            with_database("postgres://u:p@h:1/postgres", "b"),
            "postgres://u:p@h:1/b"
        );
        assert_eq!(with_database("postgres://h", "b"), "postgres://h/b");
    }
}
