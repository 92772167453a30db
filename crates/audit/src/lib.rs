//! The audit trail of a service: what was done, by whom, in an order that nobody can change unseen.
//!
//! | file | one job |
//! | --- | --- |
//! | `event` | what an entry tells; [`record`] writes it in the transaction of the effect |
//! | `encoding` | the bytes of an entry that its hash is over |
//! | `sealer` | gives committed events their numbers, and chains them |
//! | `head` | how far the chain went, signed |
//! | `denials`, `budget` | writes down calls that were denied, so many of each caller |
//! | `list`, `verify`, `evidence` | reads the trail, and says what is wrong with it |
//! | `convert` | the same as messages of `tidings.common.v1` |
//! | `store` | every statement on the tables, whose DDL is [`TABLES`] |
//!
//! # How it goes
//!
//! An effect inserts its event, and a row that says "pending", into tables on which effects share no lock: none waits for another.
//! Every node runs a sealer; the one that gets the lock of `audit_sealer`'s row numbers what is committed, 1, 2, 3 …, several times a
//! second, so that an event has its number within a second of its commit. One that commits late gets a later number: the trail's
//! order is that of the numbers, not of the times in the events. An entry's hash is SHA-256 over the hash before it and the entry's
//! bytes. Each minute in which the chain grew, and when the process stops, its head is signed with an Ed25519 key that is derived from
//! the suite's secret, stored, and logged: the log is the copy outside of the database.
//!
//! # What that proves
//!
//! The service's role may read and add rows of the trail, not change or delete them. Whoever owns the database can; [`Trail::verify`]
//! then names the entries that were altered, deleted, reordered, inserted or cut off. Who can write to the database can also rewrite
//! everything since the last signed head, which is a minute at the most, and deletes what no head is left to tell of: for that, compare with
//! the head in the log (`expected_head`). An event that was forged before it was sealed is sealed as it is.
//!
//! # Recording an effect
//!
//! ```no_run
//! # use tidings_audit::{self as audit, Event};
//! # use tidings_db::Schema;
//! # use tidings_ids::{RoleId, Source, UserId};
//! # use tidings_proto_common::v1::AuditCategory;
//! # async fn example(tx: &mut sqlx::PgConnection, source: &Source, user_id: UserId, role_id: RoleId) -> Result<(), tidings_db::Error> {
//! let event = Event::of_call(source, AuditCategory::Administration, "user.assign_role")
//!     .subject(user_id)
//!     .subject(role_id);
//! audit::record(tx, Schema::Users, &event).await
//! # }
//! ```
//!
//! - In a call, the action is the RPC's name, and actor, address and trace are the call's. The action that is given counts where no
//!   RPC is behind it: upkeep, or an operator at the command line ([`Event::actor`]).
//! - Write it once, where the effect is stored; a call that is repeated or changes nothing writes nothing.
//! - A refusal that matters by itself, such as a wrong password, is written on its own with [`Trail::record`] and
//!   [`Event::refused`]. `PERMISSION_DENIED` is written down by the middleware and must not be again;
//!   a caller who is refused without end is counted instead, in the detail `left_out` of the next entry.
//! - Ids, kinds, and names of fields: never a secret, an address of anybody, or what a user wrote.
//! - There is no update and no purge. Entries are kept for ever; a purge would have to leave the hash of what it took away.

mod budget;
mod convert;
mod denials;
mod encoding;
mod event;
mod evidence;
mod head;
mod list;
mod sealer;
mod store;
mod trail;
mod verify;

pub use event::{Actor, Event, Outcome, Subject};
pub use evidence::{Finding, FindingKind};
pub use list::ListRequest;
pub use store::record;
pub use trail::{Background, Settings, Trail};
pub use verify::{Expected, Range, Verification};

/// The tables, for the migration of a service; `{schema}` stands for its schema.
pub const TABLES: &str = include_str!("../sql/audit.sql");
