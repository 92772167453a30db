//! The trail of a service that has nothing else.

use std::{borrow::Cow, future::Future, sync::Arc, sync::LazyLock, time::Duration};

use sqlx::{
    AssertSqlSafe, SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
};
use tidings_audit::{self as audit, Event, Expected, Finding, Range, Settings, TABLES, Trail};
use tidings_authn::{Revocations, Service, SuiteSecret, Verifier};
use tidings_db::{Pool, Schema, migrate::Migrations, testing::Database, transaction};
use tidings_ids::Source;
use tidings_proto_common::v1::AuditCategory;
use tidings_rpc::{Drain, Environment, Limits};

/// The schema of the tests.
pub const SCHEMA: Schema = Schema::Users;

/// Conditions are waited for so long.
pub const LIMIT: Duration = Duration::from_secs(60);

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let sql = TABLES.replace("{schema}", SCHEMA.name());
    let migration = Migration::new(
        1,
        Cow::Borrowed("audit"),
        MigrationType::Simple,
        AssertSqlSafe(sql).into_sql_str(),
        false,
    );
    Migrator::with_migrations(vec![migration])
});

pub struct World {
    pub db: Database,
    /// With the service's role.
    pub pool: Pool,
    pub environment: Environment,
    pub trail: Trail,
}

impl World {
    pub async fn new() -> Self {
        let migrations = Migrations {
            schema: SCHEMA,
            migrator: &MIGRATOR,
        };
        let db = Database::create(&[migrations]).await;
        let pool = db.pool_as(SCHEMA);
        let environment = environment();
        let trail = Trail::new(&environment, pool.clone(), SCHEMA, Settings::default());
        Self {
            db,
            pool,
            environment,
            trail,
        }
    }

    pub fn source(&self) -> &Source {
        &self.environment.source
    }

    pub fn event(&self, action: &'static str) -> Event {
        Event::of_call(self.source(), AuditCategory::Administration, action)
    }

    /// An effect of its own.
    pub async fn record(&self, event: &Event) {
        transaction!(&self.pool, |tx| -> Result<(), tidings_db::Error> {
            audit::record(tx, SCHEMA, event).await
        })
        .expect("recorded");
    }

    /// So many sealed entries.
    pub async fn entries(&self, count: usize) {
        for _ in 0..count {
            self.record(&self.event("user.test").detail("kind", "test")).await;
        }
        assert_eq!(self.trail.seal().await.expect("sealed"), count);
    }

    pub async fn sign(&self) {
        assert!(self.trail.sign(Duration::ZERO).await.expect("signed"));
    }

    /// What is wrong with the whole of the trail.
    pub async fn findings(&self) -> Vec<Finding> {
        self.findings_against(None).await
    }

    pub async fn findings_against(&self, expected: Option<Expected>) -> Vec<Finding> {
        let verification = self.trail.verify(Range::default(), expected).await.expect("verified");
        assert_eq!(verification.next, 0);
        verification.findings
    }

    /// What somebody does who owns the database and heeds no constraint.
    pub async fn tamper(&self, sql: &str) {
        let sql = format!("begin; set local session_replication_role = replica; {sql}; commit");
        let pool = self.db.pool();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&pool)
            .await
            .expect("the owner may");
    }
}

/// A process of the deployment.
pub fn environment() -> Environment {
    let source = Source::system();
    Environment::new(
        Service::User,
        SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough"),
        Arc::new(Verifier::new(Revocations::new(), source.clone())),
        source,
        Drain::new(),
        Limits::default(),
    )
}

/// Waits for a condition, within the limit.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}
