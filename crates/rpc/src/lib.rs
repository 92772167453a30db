//! What every RPC of the suite goes through, once.
//!
//! | module | one job |
//! | --- | --- |
//! | [`problem`] | the error contract: a reason, its code, its details |
//! | [`Violations`], [`text`] | what is wrong with a request's fields, all of it at once |
//! | [`PageTokens`], [`RequestHasher`] | what is authenticated with a key of the deployment |
//! | [`policy`] | what each RPC declares in its proto |
//! | [`Stack`] | the middleware, in one order with a comment a step |
//! | [`Denials`] | denied calls on their way into the audit trail |
//! | [`Answers`] | answers that wait for their readers, and for how long |
//! | [`App`] | a service with health, reflection and the middleware |
//! | [`Peer`] | calls to other services, over the network or within the process |
//! | [`serve`](fn@serve), [`Drain`] | a port with limits, and how a process stops |
//! | [`tls`] | TLS between services and at the public port |
//!
//! # Adding an RPC
//!
//! 1. Write it in `proto/`, with its policy and comments; `cargo xtask lint` says what is missing.
//! 2. Implement it in the service: parse in `service.rs`, decide in the noun's file, store in `store.rs`.
//! 3. Give it its rows in the authorization matrix and the bad-input table in `tests/`; without them the tests fail.

mod admission;
mod answers;
mod app;
mod beside;
mod body;
mod connection;
mod context;
pub mod deadline;
mod denials;
mod drain;
mod environment;
mod failures;
mod keyed;
mod normalise;
mod observe;
mod peer;
pub mod policy;
pub mod problem;
mod rate;
mod serve;
mod stack;
mod streamed;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod tls;
mod violations;
mod watched;
mod windows;

pub use answers::Answers;
pub use app::{App, Health};
pub use beside::Beside;
pub use body::RequestBody;
pub use connection::CallEnd;
pub use context::{ClientAddress, Origin, caller, calling_service, client_address, deadline, origin};
pub use denials::{Denial, Denials};
pub use drain::Drain;
pub use environment::{Environment, Limits};
pub use keyed::{PageScope, PageTokens, RequestHasher, page_size};
pub use peer::{AGENT_HEADER, CLIENT_HEADER, Peer, SERVICE_HEADER, Slot};
pub use policy::{Policies, Policy};
pub use problem::Problem;
pub use rate::{RateKey, RateLimits};
pub use serve::{Listener, PortLimits, listen, serve};
pub use stack::{RELEASE_HEADER, Stack};
pub use tls::{MutualTls, PublicTls, TlsFiles};
pub use violations::{Violation, Violations};
pub use watched::{Watch, Watched};
