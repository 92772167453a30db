use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tidings_db::{Pool, Schema, connect_dedicated, migrate, testing::Database};

use crate::world;

async fn code(pool: &Pool, sql: impl Into<String>) -> String {
    let error = sqlx::raw_sql(AssertSqlSafe(sql.into()))
        .execute(pool)
        .await
        .expect_err("it is refused");
    error
        .as_database_error()
        .expect("postgres refuses it")
        .code()
        .expect("with a code")
        .into_owned()
}

const DENIED: &str = "42501";

#[tokio::test]
async fn a_service_reaches_its_own_schema_and_no_other() {
    let db = Database::create(&[]).await;
    for schema in Schema::ALL {
        let sql = format!("create table {schema}.facts (id int)");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&db.pool()).await.unwrap();
    }
    for own in Schema::ALL {
        let pool = db.pool_as(own);
        let dml = format!(
            "insert into {own}.facts values (1); update {own}.facts set id = 2; select * from {own}.facts; delete from {own}.facts"
        );
        sqlx::raw_sql(AssertSqlSafe(dml)).execute(&pool).await.unwrap();
        for other in Schema::ALL.into_iter().filter(|other| *other != own) {
            assert_eq!(
                code(&pool, format!("select * from {other}.facts")).await,
                DENIED,
                "{own} reads {other}"
            );
            assert_eq!(
                code(&pool, format!("insert into {other}.facts values (1)")).await,
                DENIED,
                "{own} writes {other}"
            );
        }
    }
}

#[tokio::test]
async fn a_service_cannot_change_the_database() {
    let db = Database::create(&[]).await;
    sqlx::raw_sql("create table auth.facts (id int)")
        .execute(&db.pool())
        .await
        .unwrap();
    for schema in Schema::ALL {
        let pool = db.pool_as(schema);
        for sql in [
            format!("create table {schema}.mine (id int)"),
            format!("create function {schema}.f() returns int language sql as 'select 1'"),
            "create table public.mine (id int)".to_owned(),
            "create temporary table mine (id int)".to_owned(),
            "create schema mine".to_owned(),
            "create role mine".to_owned(),
            "copy (select 1) to program 'cat > /dev/null'".to_owned(),
            "copy (select 1) to '/tmp/tidings-never'".to_owned(),
            "select pg_read_file('/etc/passwd')".to_owned(),
            "select rolpassword from pg_authid".to_owned(),
            "alter system set fsync = off".to_owned(),
        ] {
            assert_eq!(code(&pool, sql.clone()).await, DENIED, "{schema}: {sql}");
        }
    }
    let pool = db.pool_as(Schema::Auth);
    for sql in [
        "drop table auth.facts",
        "truncate auth.facts",
        "alter table auth.facts add column more int",
    ] {
        assert_eq!(code(&pool, sql).await, DENIED, "{sql}");
    }
}

#[tokio::test]
async fn a_service_reads_its_migrations_but_does_not_write_them() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    sqlx::raw_sql("select * from chats._sqlx_migrations")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(code(&pool, "delete from chats._sqlx_migrations").await, DENIED);
}

/// A managed Postgres gives no superuser.
#[tokio::test]
async fn roles_can_be_made_without_a_superuser() {
    let db = Database::create(&[]).await;
    let bare = format!("{}_bare", db.name());
    let owner = format!("{}_owner", db.name());
    let pool = db.pool();
    for sql in [
        format!("create role \"{owner}\" createrole"),
        format!("create database \"{bare}\" template template0"),
        format!("grant create on database \"{bare}\" to \"{owner}\""),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    }
    let settings = tidings_db::Settings::owner(db.url().replace(db.name(), &bare), "tidings-test");
    let mut connection = connect_dedicated(&settings, &[]).await.unwrap();
    connection
        .execute(AssertSqlSafe(format!("set role \"{owner}\"")))
        .await
        .unwrap();

    for _ in 0..2 {
        migrate::apply_roles(&mut connection).await.unwrap();
    }
    // `reset role` would be the superuser again, so the privileges are asked for, not tried.
    let (usage, create, other): (bool, bool, bool) = sqlx::query_as(
        "select has_schema_privilege('tidings_auth', 'auth', 'usage'),
                has_schema_privilege('tidings_auth', 'auth', 'create'),
                has_schema_privilege('tidings_auth', 'users', 'usage')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();

    for sql in [
        format!("drop database \"{bare}\" with (force)"),
        format!("drop role \"{owner}\""),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    }
    assert_eq!((usage, create, other), (true, false, false));
}
