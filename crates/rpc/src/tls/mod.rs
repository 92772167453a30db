//! TLS on the ports: mutual between services, where the certificate says which service it is, and the server's alone at the
//! public port.
//!
//! - [`MutualTls`] is both sides of a service's TLS. A connection of version 1.3 stands when both certificates are from the
//!   deployment's own authority; the callee's must name the service that is called ([`Service::host`](tidings_authn::Service::host)),
//!   the caller's exactly one service, which the middleware holds against the identity that a call claims.
//! - [`PublicTls`] is the server's side of the public port.
//! - Both read their files again while the process runs: new connections use what is new, and files that are not fit leave
//!   things as they were. Connections end by their age ([`serve`](fn@crate::serve)), and so do old certificates on them.

mod connector;
mod files;
mod mutual;
mod public;
mod reload;
mod verifier;

use std::{fmt, sync::Arc};

use rustls::{crypto::CryptoProvider, pki_types::UnixTime, time_provider::TimeProvider};
use tidings_ids::Source;

pub use self::{
    files::{InvalidTls, TlsFiles},
    mutual::MutualTls,
    public::PublicTls,
    reload::Reload,
};

/// The one cryptographic backend of the suite.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The given clock, for the validity of certificates.
struct Clock(Source);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().unix_timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
