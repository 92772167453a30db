//! Messages.
mod attachment;
pub mod bus;
mod convert;
mod error;
mod message;
mod read;
mod requests;
mod send;

pub(crate) use error::Error;

/// The migrations of the schema `messages`.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The migrations with the schema that they belong to.
pub const MIGRATIONS: tidings_db::migrate::Migrations = tidings_db::migrate::Migrations {
    schema: tidings_db::Schema::Messages,
    migrator: &MIGRATOR,
};
