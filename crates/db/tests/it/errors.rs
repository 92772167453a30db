use sqlx::error::DatabaseError;
use std::{borrow::Cow, fmt};
use tidings_db::{Error, Schema, testing::Database};

use crate::world;

/// What Postgres would say, with the SQLSTATE alone.
#[derive(Debug)]
struct Said(&'static str);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Said {}

impl DatabaseError for Said {
    fn message(&self) -> &str {
        self.0
    }
    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.0))
    }
    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }
    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }
    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }
    fn kind(&self) -> sqlx::error::ErrorKind {
        sqlx::error::ErrorKind::Other
    }
}

fn variant(error: &Error) -> &'static str {
    match error {
        Error::Unavailable(_) => "unavailable",
        Error::Overloaded(_) => "overloaded",
        Error::Conflict(_) => "conflict",
        Error::Timeout(_) => "timeout",
        Error::CommitUnknown(_) => "commit unknown",
        Error::StorageFull(_) => "storage full",
        Error::Constraint { .. } => "constraint",
        Error::Bug(_) => "bug",
    }
}

#[test]
fn every_sqlstate_has_its_variant() {
    let table = [
        ("08000", "unavailable"),
        ("08001", "unavailable"),
        ("08003", "unavailable"),
        ("08006", "unavailable"),
        ("08P01", "unavailable"),
        ("22021", "bug"),
        ("22P05", "bug"),
        ("23502", "bug"),
        ("23503", "constraint"),
        ("23505", "constraint"),
        ("23514", "constraint"),
        ("23P01", "constraint"),
        ("25006", "unavailable"),
        ("25P02", "bug"),
        ("25P03", "timeout"),
        ("25P04", "timeout"),
        ("28000", "unavailable"),
        ("28P01", "unavailable"),
        ("3D000", "unavailable"),
        ("40001", "conflict"),
        ("40P01", "conflict"),
        ("42501", "bug"),
        ("42P01", "bug"),
        ("53100", "storage full"),
        ("53200", "overloaded"),
        ("53300", "overloaded"),
        ("53400", "overloaded"),
        ("55P03", "conflict"),
        ("57014", "timeout"),
        ("57P01", "unavailable"),
        ("57P02", "unavailable"),
        ("57P03", "unavailable"),
        ("57P04", "unavailable"),
        ("57P05", "unavailable"),
        ("58030", "unavailable"),
        ("XX000", "bug"),
    ];
    for (code, expected) in table {
        let error = Error::from(sqlx::Error::from(Said(code)));
        assert_eq!(variant(&error), expected, "{code}");
        assert_eq!(error.is_retryable(), matches!(code, "40001" | "40P01"), "{code}");
    }
}

#[test]
fn errors_of_the_connection_are_unavailable() {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    assert_eq!(variant(&sqlx::Error::Io(broken).into()), "unavailable");
    assert_eq!(variant(&sqlx::Error::PoolClosed.into()), "unavailable");
    assert_eq!(variant(&sqlx::Error::PoolTimedOut.into()), "overloaded");
    assert_eq!(variant(&sqlx::Error::RowNotFound.into()), "bug");
}

#[tokio::test]
async fn a_violated_constraint_is_told_by_its_name() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let insert = async |sql| Error::from(sqlx::query(sql).execute(&pool).await.unwrap_err());

    sqlx::query("insert into chats.things (id, size) values (1, 0)")
        .execute(&pool)
        .await
        .unwrap();

    let taken = insert("insert into chats.things (id, size) values (1, 0)").await;
    assert_eq!(taken.constraint(), Some("things_pkey"));
    let negative = insert("insert into chats.things (id, size) values (2, -1)").await;
    assert_eq!(negative.constraint(), Some("things_size_check"));
    let orphan = insert("insert into chats.things (id, size, parent) values (2, 0, 9)").await;
    assert_eq!(orphan.constraint(), Some("things_parent_fkey"));
    let null = insert("insert into chats.things (id, size) values (2, null)").await;
    assert_eq!(null.constraint(), None);
    assert_eq!(variant(&null), "bug");
}

#[tokio::test]
async fn text_that_postgres_cannot_store_is_a_bug_of_ours() {
    let db = Database::create(&[]).await;
    let pool = db.pool();
    let error = sqlx::query("select $1::text")
        .bind("a\0b")
        .execute(&pool)
        .await
        .unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "22021");
    assert_eq!(variant(&error.into()), "bug");
}
