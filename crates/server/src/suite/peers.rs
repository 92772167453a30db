//! How the services of a process reach the others.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use tidings_authn::Service;
use tidings_rpc::{Environment, MutualTls, Peer, Slot, Stack};

use crate::settings::{PeerArgs, is_loopback};

/// The ways to all services: within the process to those that are in it, over the network to the rest.
#[derive(Debug)]
pub struct Peers {
    local: HashMap<Service, Slot>,
    remote: Option<Remote>,
}

/// How the services of other processes are reached.
#[derive(Debug)]
struct Remote {
    addresses: PeerArgs,
    tls: Option<MutualTls>,
    /// Whether plaintext may leave this machine.
    allows_plaintext: bool,
}

impl Peers {
    /// All services are in this process.
    pub fn all_local() -> Self {
        Self {
            local: Service::ALL.into_iter().map(|service| (service, Slot::new())).collect(),
            remote: None,
        }
    }

    /// Only this service is in this process. Without TLS the others are on this machine, unless plaintext may leave it.
    pub fn beside(service: Service, addresses: &PeerArgs, tls: Option<MutualTls>, allows_plaintext: bool) -> Self {
        Self {
            local: HashMap::from([(service, Slot::new())]),
            remote: Some(Remote {
                addresses: addresses.clone(),
                tls,
                allows_plaintext,
            }),
        }
    }

    /// The way from a service to another, or to itself.
    pub fn to(&self, callee: Service, caller: &Environment) -> Result<Peer> {
        if let Some(slot) = self.local.get(&callee) {
            return Ok(Peer::local(callee, slot.clone(), caller.identity.clone()));
        }
        let remote = self.remote.as_ref();
        let remote = remote.with_context(|| format!("{callee} is not in this process"))?;
        let address = remote.addresses.address(callee);
        let address = address.with_context(|| format!("no address is set for {callee}"))?;
        remote
            .to(callee, address, caller)
            .with_context(|| format!("--{callee}-address {address:?} cannot be used"))
    }

    /// Puts a service of this process into its place, so that the others reach it.
    pub fn fill(&self, stack: &Stack) {
        if let Some(slot) = self.local.get(&stack.service()) {
            slot.fill(stack.clone());
        }
    }
}

impl Remote {
    fn to(&self, callee: Service, address: &str, caller: &Environment) -> Result<Peer> {
        let identity = caller.identity.clone();
        let is_https = address.starts_with("https://");
        let peer = match &self.tls {
            Some(tls) => {
                ensure!(is_https, "TLS is set, so it begins with https://");
                Peer::remote_over_tls(callee, address, identity, tls)
            }
            None => {
                ensure!(
                    !is_https,
                    "no TLS is set: set --tls-ca-file, --tls-cert-file and --tls-key-file"
                );
                ensure!(
                    self.allows_plaintext || is_loopback(address),
                    "it is another machine's, and no TLS is set: set --tls-ca-file, --tls-cert-file and --tls-key-file, or \
                     accept plaintext with --unsafe-allow-plaintext"
                );
                Peer::remote(callee, address, identity)
            }
        };
        peer.context("it is no URL such as http://127.0.0.1:7711")
    }
}
