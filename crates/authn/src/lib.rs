//! Who calls: the one authentication path that every process of the suite uses.
//!
//! - [`Verifier`] checks a user's access token offline, against the public keys that auth publishes, and keeps a bounded cache
//!   of tokens that it has checked.
//! - [`Revocations`] is what has happened to login sessions and accounts since those tokens were issued. [`feeds`] fills it from
//!   auth's `WatchRevocations` and user's `WatchUserStates`; when either is older than [`Revocations::TRUSTED_FOR`], calls are
//!   refused rather than trusted.
//! - [`ServiceIdentity`] and [`ServiceVerifier`] prove which service of the suite calls.
//! - [`SuiteSecret`] is the secret that all processes share, and what is derived from it.
//!
//! Nothing here knows what an RPC is: the middleware in `rpc` asks, and turns a [`Refusal`] into a status.

mod access_token;
pub mod feeds;
mod refusal;
mod revocations;
mod secret;
mod service;
mod verifier;

pub use access_token::{AUDIENCE, Claims, ISSUER, LIFETIME, TYPE, sign};
pub use refusal::Refusal;
pub use revocations::{AccountStatus, Revocations, UserState};
pub use secret::{InvalidSecret, SuiteSecret, is_sample};
pub use service::{Service, ServiceIdentity, ServiceVerifier};
pub use verifier::{Caller, PublicKey, Verifier};
