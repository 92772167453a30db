//! Everything the services have in common about Postgres, and nothing about what they keep in it.
//!
//! | module | one job |
//! | --- | --- |
//! | [`settings`](Settings), [`pool`](Pool) | connect, with a time-out on every wait |
//! | [`error`](Error) | what a caller can act on, by SQLSTATE |
//! | [`transaction`](transaction!) | begin, retry, commit, and know when the outcome is unknown |
//! | [`requests`] | idempotency records (`request_id`) |
//! | [`counter`] | numbers without holes for feeds |
//! | [`migrate`] | roles, schemas, migrations, and the check that binary and schema fit |
//! | [`durability`] | is the server set to keep what it acknowledged |
//! | `testing` | a database for each test, behind the feature of that name |
//!
//! # Rules for whoever writes SQL here or in a service
//!
//! - Every unary handler runs in a task that a client's cancel cannot drop (crate `rpc` does that), and [`transaction`](transaction!)
//!   is called from such a task: a future that is dropped while `BEGIN` is on its way would leave the pooled connection inside a
//!   transaction (sqlx issues 4385 and 4393). What is dropped all the same costs its connection, which is closed, never reused.
//! - A transaction never waits for anything but Postgres: no call to a peer, no send to a client, no sleep.
//! - Statements name their schema; nothing relies on `search_path`.
//! - The isolation level is `READ COMMITTED` throughout. Safety rests on unique constraints and row locks, not on `SERIALIZABLE`.
//! - Hot paths hold a connection of their own ([`connect_dedicated`]); the pool is for the rest.
//! - An error is logged once, with its chain of sources, where it becomes a status. Log it with `Display`: the `Debug` form of a
//!   database error holds the values that collided, addresses among them.

mod durability;
mod error;
mod pool;
mod schema;
mod settings;
mod transaction;

pub mod counter;
pub mod migrate;
pub mod requests;
#[cfg(feature = "testing")]
pub mod testing;

pub use durability::{Durability, durability};
pub use error::Error;
pub use pool::{Pool, connect, connect_dedicated};
pub use schema::Schema;
pub use settings::Settings;
pub use transaction::DatabaseCause;
#[doc(hidden)]
pub use transaction::{Attempt, Attempts, Begun};
