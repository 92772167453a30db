//! The services behind the gateway, and whether they serve.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future;
use parking_lot::Mutex;
use tidings_authn::Service;
use tidings_rpc::{Drain, Health, Peer, RELEASE_HEADER};
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// The ways to the services that the gateway offers the RPCs of.
#[derive(Debug, Clone)]
pub struct Upstreams {
    /// `tidings.auth.v1`.
    pub auth: Peer,
    /// `tidings.user.v1`.
    pub user: Peer,
    /// `tidings.chat.v1`.
    pub chat: Peer,
    /// `tidings.message.v1`.
    pub message: Peer,
    /// What the message service serves below `/media/` where it is in this process. Where it is elsewhere, its port serves that
    /// path beside gRPC, and `None` here lets requests be passed on to it.
    pub media: Option<axum::Router>,
}

impl Upstreams {
    /// The way to a service; `None` to ourselves.
    pub(crate) fn peer(&self, service: Service) -> Option<&Peer> {
        match service {
            Service::Auth => Some(&self.auth),
            Service::User => Some(&self.user),
            Service::Chat => Some(&self.chat),
            Service::Message => Some(&self.message),
            Service::Gateway => None,
        }
    }

    fn peers(&self) -> [&Peer; 4] {
        [&self.auth, &self.user, &self.chat, &self.message]
    }
}

/// What each service answered to the last health check.
#[derive(Debug, Clone, Default)]
pub struct Serving(Arc<[Heard; Service::ALL.len()]>);

#[derive(Debug, Default)]
struct Heard {
    serves: AtomicBool,
    release: Mutex<String>,
}

impl Serving {
    /// Whether the service takes calls. We do: we were asked.
    pub fn is(&self, service: Service) -> bool {
        service == Service::Gateway || self.0[service as usize].serves.load(Ordering::Relaxed)
    }

    /// The release of the service that was heard last; empty where none was.
    pub fn release(&self, service: Service) -> String {
        self.0[service as usize].release.lock().clone()
    }

    /// Whether all do, so that the deployment is whole.
    pub fn all(&self) -> bool {
        Service::ALL.into_iter().all(|service| self.is(service))
    }
}

/// A service that does not answer for this long does not serve.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Between checks while all serve.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Between checks while one does not: it is what a start waits for.
const RECHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Checks the services until the process stops, and tells load balancers whether the deployment is whole, and which of the gRPC
/// services that are `forwarded` serve.
pub async fn watch(
    upstreams: Upstreams,
    serving: Serving,
    health: Health,
    forwarded: Vec<(Service, String)>,
    drain: Drain,
) {
    let mut was_whole = None;
    for (_, name) in &forwarded {
        health.of(name, false).await;
    }
    while !drain.has_begun() {
        let checks = upstreams
            .peers()
            .map(|peer| async { (peer.callee(), check(peer).await) });
        for (service, (serves, release)) in future::join_all(checks).await {
            let heard = &serving.0[service as usize];
            if let Some(release) = release {
                *heard.release.lock() = release;
            }
            let served = heard.serves.swap(serves, Ordering::Relaxed);
            if served && !serves {
                tracing::warn!(%service, "{service} no longer serves");
            } else if serves && !served {
                tracing::info!(%service, "{service} serves");
            }
            if served != serves {
                for (_, name) in forwarded.iter().filter(|(owner, _)| *owner == service) {
                    health.of(name, serves).await;
                }
            }
        }
        let whole = serving.all();
        if was_whole != Some(whole) {
            was_whole = Some(whole);
            if whole {
                health.serving().await
            } else {
                health.not_serving().await
            }
        }
        let pause = if whole { CHECK_INTERVAL } else { RECHECK_INTERVAL };
        let _begun = timeout(pause, drain.begun()).await;
    }
    health.not_serving().await;
    for (_, name) in &forwarded {
        health.of(name, false).await;
    }
}

/// Whether the service serves, and its release if it says so.
async fn check(peer: &Peer) -> (bool, Option<String>) {
    let mut client = HealthClient::new(peer.clone());
    let check = client.check(HealthCheckRequest::default());
    match timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(response)) => {
            let release = response.metadata().get(RELEASE_HEADER.as_str());
            let release = release.and_then(|release| release.to_str().ok()).map(ToOwned::to_owned);
            (response.get_ref().status() == ServingStatus::Serving, release)
        }
        Ok(Err(_)) | Err(_) => (false, None),
    }
}
