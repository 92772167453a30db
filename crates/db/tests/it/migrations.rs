use std::{sync::LazyLock, time::Duration};

use sqlx::migrate::{MigrateError, Migrator};
use tidings_db::{
    Schema, connect_dedicated,
    migrate::{self, Error, Migrations},
    testing::Database,
};

use crate::world::{self, SCHEMA};

static TWO: LazyLock<Migrator> = LazyLock::new(|| world::migrator(2));

/// For a lock that is given up.
const WAIT: Duration = Duration::from_millis(300);

/// For one that is given back, which is a moment after whoever had it has gone.
const PATIENCE: Duration = Duration::from_secs(60);

fn one() -> Migrations {
    world::migrations()
}

fn two() -> Migrations {
    Migrations {
        schema: SCHEMA,
        migrator: &TWO,
    }
}

#[tokio::test]
async fn a_schema_that_does_not_fit_the_binary_is_told() {
    let db = Database::create(&[]).await;
    let pool = db.pool_as(SCHEMA);

    let nothing = migrate::check_version(&pool, &one()).await.unwrap_err();
    assert!(matches!(
        nothing,
        Error::SchemaOlder {
            found: 0,
            needed: 1,
            ..
        }
    ));
    assert!(nothing.to_string().contains("tidings migrate"));

    migrate::run(&db.settings(), &[one()], PATIENCE).await.unwrap();
    migrate::check_version(&pool, &one()).await.unwrap();
    assert!(matches!(
        migrate::check_version(&pool, &two()).await,
        Err(Error::SchemaOlder {
            found: 1,
            needed: 2,
            ..
        })
    ));

    migrate::run(&db.settings(), &[two()], PATIENCE).await.unwrap();
    migrate::check_version(&pool, &two()).await.unwrap();
    assert!(matches!(
        migrate::check_version(&pool, &one()).await,
        Err(Error::SchemaNewer { found: 2, known: 1, .. })
    ));
}

#[tokio::test]
async fn an_older_binary_leaves_a_newer_schema_as_it_is_but_not_an_edited_one() {
    let db = Database::create(&[two()]).await;
    migrate::run(&db.settings(), &[one()], PATIENCE).await.unwrap();
    migrate::check_version(&db.pool_as(SCHEMA), &two()).await.unwrap();

    sqlx::query("update chats._sqlx_migrations set checksum = '\\x00' where version = 1")
        .execute(&db.pool())
        .await
        .unwrap();
    for migrations in [one(), two()] {
        let refused = migrate::run(&db.settings(), &[migrations], PATIENCE).await.unwrap_err();
        let Error::Failed { source, .. } = refused else {
            panic!("{refused:?}")
        };
        assert!(matches!(source, MigrateError::VersionMismatch(1)), "{source:?}");
    }
}

#[tokio::test]
async fn migrations_can_be_run_again() {
    let db = Database::create(&[one()]).await;
    migrate::run(&db.settings(), &[one()], PATIENCE).await.unwrap();
    migrate::check_version(&db.pool_as(SCHEMA), &one()).await.unwrap();
}

#[tokio::test]
async fn a_migration_waits_for_another_but_not_for_ever() {
    let db = Database::create(&[]).await;
    let mut other = connect_dedicated(&db.settings(), &[]).await.unwrap();
    sqlx::query("select pg_advisory_lock($1)")
        .bind(i64::from_be_bytes(*b"\0tidings"))
        .execute(&mut other)
        .await
        .unwrap();
    let locked = migrate::run(&db.settings(), &[one()], WAIT).await.unwrap_err();
    assert!(matches!(locked, Error::Locked { .. }), "{locked:?}");

    drop(other);
    migrate::run(&db.settings(), &[one()], PATIENCE).await.unwrap();
}

#[tokio::test]
async fn two_that_migrate_at_once_both_succeed() {
    let db = Database::create(&[]).await;
    let (settings, wait) = (db.settings(), PATIENCE);
    let services = [two()];
    let (one, other) = tokio::join!(
        migrate::run(&settings, &services, wait),
        migrate::run(&settings, &services, wait)
    );
    one.unwrap();
    other.unwrap();
}

#[tokio::test]
async fn the_table_of_migrations_is_in_the_schema_of_its_service() {
    let db = Database::create(&[one()]).await;
    let tables: Vec<String> =
        sqlx::query_scalar("select schemaname::text from pg_tables where tablename = '_sqlx_migrations'")
            .fetch_all(&db.pool())
            .await
            .unwrap();
    assert_eq!(tables, [Schema::Chats.name()]);
}
