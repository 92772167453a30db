//! Boots the suite as an operator does, and acts in it as users do.
//!
//! Everything here is a client: the suite runs as processes of the binary `tidings` ([`Suite`]), and tests meet it at its ports.
//!
//! | module | one job |
//! | --- | --- |
//! | [`Suite`] | one process or five, a database of its own, a mail folder |
//! | [`Actor`] | a user who registers, logs in, opens chats, sends and listens |
//! | [`Api`] | any RPC by its descriptor, for what must hold for all of them |
//! | [`Forge`] | tokens that auth would never issue |
//! | [`totp`] | the codes of authenticator apps |
//! | [`mail`] | what has been mailed |
//! | [`Collector`] | keeps the traces that the suite exports |
//! | [`Proxy`] | a TCP link that a test can cut, silence and listen to |
//! | [`Authority`] | signs the certificates of a suite whose services speak mutual TLS |
//! | [`built`] | where the binaries of this build are |
//! | [`Reads`] | what a query reads of large tables |
//! | [`until`] | waits for a condition, with a limit |
//! | [`keep_trusted`] | stands in for the feeds where one service is tested by itself |
//! | [`refusal`] | why a call was refused |

mod actor;
mod api;
mod built;
mod certificates;
mod collector;
mod errors;
mod forge;
mod identity;
pub mod mail;
mod ports;
mod process;
mod proxy;
mod raw;
mod reads;
mod spans;
mod suite;
pub mod totp;
mod trust;
mod wait;

pub use actor::{Actor, Connection, request_id};
pub use api::{Api, Method, descriptors, idempotency, is_secret};
pub use built::built;
pub use collector::Collector;
pub use errors::{assert_contract, reason_of, refusal, wrong_fields};
pub use forge::Forge;
pub use ports::free_address;
pub use process::{Process, Shape};
pub use proxy::Proxy;
pub use reads::Reads;
pub use spans::ExportedSpan;
pub use suite::Suite;
pub use tidings_rpc::testing::Authority;
pub use trust::keep_trusted;
pub use wait::{until, until_some, until_waiting};
