//! A service of two tables, in the schema of chats.

use std::{borrow::Cow, sync::LazyLock};

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use tidings_db::{Schema, counter, migrate::Migrations, requests, testing::Database};

/// The schema of the tests.
pub const SCHEMA: Schema = Schema::Chats;

pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| migrator(1));

pub fn migrations() -> Migrations {
    Migrations {
        schema: SCHEMA,
        migrator: &MIGRATOR,
    }
}

/// `versions` migrations: the tables, and then one more table each.
pub fn migrator(versions: i64) -> Migrator {
    let tables = format!(
        "{}{}
         create table chats.things (
             id int not null,
             size int not null,
             parent int,
             constraint things_pkey primary key (id),
             constraint things_size_check check (size >= 0),
             constraint things_parent_fkey foreign key (parent) references chats.things (id)
         );",
        requests::TABLE.replace("{schema}", "chats"),
        counter::TABLE.replace("{schema}", "chats"),
    );
    let migrations = (1..=versions)
        .map(|version| {
            let sql = if version == 1 {
                tables.clone()
            } else {
                format!("create table chats.extra_{version} (id int);")
            };
            Migration::new(
                version,
                Cow::Borrowed("test"),
                MigrationType::Simple,
                sqlx::AssertSqlSafe(sql).into_sql_str(),
                false,
            )
        })
        .collect();
    Migrator::with_migrations(migrations)
}

pub async fn database() -> Database {
    Database::create(&[migrations()]).await
}
