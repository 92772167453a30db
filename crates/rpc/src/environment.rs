use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tidings_authn::{Service, ServiceIdentity, ServiceVerifier, SuiteSecret, Verifier};
use tidings_ids::Source;

use crate::{Denials, Drain, PageTokens, RequestHasher};

/// What every service of the suite is given at start.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Which service this is.
    pub service: Service,
    /// Time and randomness.
    pub source: Source,
    /// The secret that the deployment shares.
    pub secret: SuiteSecret,
    /// Checks users' access tokens. The services of one process share one.
    pub verifier: Arc<Verifier>,
    /// Proves to peers who calls.
    pub identity: Arc<ServiceIdentity>,
    /// Checks which service calls.
    pub services: Arc<ServiceVerifier>,
    /// Makes and reads page tokens.
    pub page_tokens: PageTokens,
    /// Hashes requests for idempotency.
    pub hasher: RequestHasher,
    /// Tells when the process stops. The services of one process share one.
    pub drain: Drain,
    /// Where calls that were denied are told to the service's audit trail.
    pub denials: Denials,
    /// How much the middleware lets through.
    pub limits: Limits,
}

impl Environment {
    /// The environment of `service`.
    #[must_use]
    pub fn new(
        service: Service,
        secret: SuiteSecret,
        verifier: Arc<Verifier>,
        source: Source,
        drain: Drain,
        limits: Limits,
    ) -> Self {
        Self {
            service,
            identity: Arc::new(ServiceIdentity::new(service, &secret, source.clone())),
            services: Arc::new(ServiceVerifier::new(service, &secret, source.clone())),
            page_tokens: PageTokens::new(&secret),
            hasher: RequestHasher::new(&secret),
            source,
            secret,
            verifier,
            drain,
            denials: Denials::default(),
            limits,
        }
    }
}

/// How much the middleware lets through.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Unary calls at work at once in a service; more are refused with `OVERLOADED`. A call holds a few KiB.
    pub calls_max: usize,
    /// Streams open at once in a service; more are refused with `OVERLOADED`. A stream holds about 8 KiB.
    pub streams_max: usize,
    /// Streams that one user has open at once in a service.
    pub streams_per_user_max: usize,
    /// A stream whose reader has taken nothing for this long is let go. Longer than the largest frame takes on the slowest line
    /// that is worth serving: 1 MiB at 64 kbit/s are 131 s.
    pub stalled_after: Duration,
    /// The answer of a unary call of which nothing was taken for this long is let go. It is handed out in pieces of 16 KiB.
    pub untaken_after: Duration,
    /// Multiplies the limits of every rate class: 1 in production.
    pub rate_factor: NonZeroU32,
    /// Whether a handler runs in a task of its own, which a client's cancel cannot drop. Only the test that proves the need for
    /// it switches it off.
    pub detach_handlers: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_max: 2_048,
            streams_max: 20_000,
            streams_per_user_max: 8,
            stalled_after: Duration::from_secs(300),
            untaken_after: Duration::from_secs(30),
            rate_factor: NonZeroU32::MIN,
            detach_handlers: true,
        }
    }
}

/// A `RESOURCE_EXHAUSTED` answer tells callers to come back after about this long, with jitter, so that they do not come at once.
pub(crate) const OVERLOAD_WAIT: Duration = Duration::from_secs(1);
