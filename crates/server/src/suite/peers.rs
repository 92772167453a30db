//! How the services of a process reach the others.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use tidings_authn::Service;
use tidings_rpc::{Environment, Peer, Slot, Stack};

use crate::settings::PeerArgs;

/// The ways to all services: within the process to those that are in it, over the network to the rest.
#[derive(Debug)]
pub struct Peers {
    local: HashMap<Service, Slot>,
    remote: Option<PeerArgs>,
}

impl Peers {
    /// All services are in this process.
    pub fn all_local() -> Self {
        Self {
            local: Service::ALL.into_iter().map(|service| (service, Slot::new())).collect(),
            remote: None,
        }
    }

    /// Only this service is in this process.
    pub fn beside(service: Service, remote: &PeerArgs) -> Self {
        Self {
            local: HashMap::from([(service, Slot::new())]),
            remote: Some(remote.clone()),
        }
    }

    /// The way from a service to another, or to itself.
    pub fn to(&self, callee: Service, caller: &Environment) -> Result<Peer> {
        if let Some(slot) = self.local.get(&callee) {
            return Ok(Peer::local(callee, slot.clone(), caller.identity.clone()));
        }
        let address = self.remote.as_ref().and_then(|remote| remote.address(callee));
        let address = address.with_context(|| format!("no address is set for {callee}"))?;
        Peer::remote(callee, address, caller.identity.clone())
            .with_context(|| format!("--{callee}-address {address:?} is no URL such as http://127.0.0.1:7711"))
    }

    /// Puts a service of this process into its place, so that the others reach it.
    pub fn fill(&self, stack: &Stack) {
        if let Some(slot) = self.local.get(&stack.service()) {
            slot.fill(stack.clone());
        }
    }
}
