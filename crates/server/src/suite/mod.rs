//! The services of one process, put together: any one of them, or all.
//!
//! - [`Base`] is what they share: time, secret, drain, limits, and the one verifier of access tokens.
//! - [`Peers`] says how they reach each other: within the process without a socket, or over the network.
//! - [`services`] makes each of them, a [`Part`].
//! - [`feeds`] keeps the verifier current.
//! - [`Part::start`] sets one to work, and says that it serves once its database is fit for it.

pub mod feeds;
mod part;
mod peers;
pub mod services;

use std::sync::Arc;

use tidings_authn::{Revocations, Service, SuiteSecret, Verifier};
use tidings_ids::Source;
use tidings_rpc::{Drain, Environment, Limits};

pub use self::{
    part::{Fitness, Part},
    peers::Peers,
};

/// What the services of one process share.
#[derive(Debug, Clone)]
pub struct Base {
    /// Time and randomness.
    pub source: Source,
    /// Tells when the process stops.
    pub drain: Drain,
    secret: SuiteSecret,
    limits: Limits,
    verifier: Arc<Verifier>,
}

impl Base {
    /// What is shared in a process of the deployment with this secret.
    pub fn new(secret: SuiteSecret, limits: Limits, drain: Drain, source: Source) -> Self {
        let verifier = Arc::new(Verifier::new(Revocations::new(), source.clone()));
        Self {
            source,
            drain,
            secret,
            limits,
            verifier,
        }
    }

    /// Whether users' calls can be checked yet: keys are known, and both feeds were heard.
    pub fn can_verify(&self) -> bool {
        self.verifier.has_keys() && self.verifier.revocations().is_trusted()
    }

    /// The environment of one of the services.
    pub fn environment(&self, service: Service) -> Environment {
        Environment::new(
            service,
            self.secret.clone(),
            Arc::clone(&self.verifier),
            self.source.clone(),
            self.drain.clone(),
            self.limits,
        )
    }
}
