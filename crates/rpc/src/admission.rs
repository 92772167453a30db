//! How much a process does at once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings_ids::Source;
use tidings_proto_common::v1::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Drain, Environment, Limits, Problem, environment::OVERLOAD_WAIT, policy::Policy, rate::RateKey};

/// Streams that those of one network who have not said who they are may have open at once: health checks and reflection. All
/// streams share one limit, which else anybody could use up.
const ANONYMOUS_STREAMS_MAX: usize = 100;

/// Calls of one caller that are at work at once in a service, times the factor of the rates: a sixteenth of all of them. A user, or
/// the network of those who have not said who they are, with 100 calls a second has so many where each takes more than a second.
const CALLS_PER_CALLER_MAX: usize = 128;

/// The places that there are for calls and streams.
pub(crate) struct Admissions {
    limits: Limits,
    source: Source,
    drain: Drain,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    calls_by_holder: Mutex<HashMap<RateKey, usize>>,
    streams_by_holder: Mutex<HashMap<RateKey, usize>>,
}

/// A place, until it is dropped.
pub(crate) enum Admission {
    Call(Place),
    Stream(Place),
}

/// Counts a call for as long as it is at work, or a stream for as long as it is open.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    holder: Option<RateKey>,
    streams: bool,
    admissions: Arc<Admissions>,
}

impl Admissions {
    pub(crate) fn new(environment: &Environment) -> Self {
        let limits = environment.limits;
        Self {
            limits,
            source: environment.source.clone(),
            drain: environment.drain.clone(),
            calls: Arc::new(Semaphore::new(limits.calls_max)),
            streams: Arc::new(Semaphore::new(limits.streams_max)),
            calls_by_holder: Mutex::default(),
            streams_by_holder: Mutex::default(),
        }
    }

    /// A place for a call of this RPC. It counts with the others of its `holder`, where it has one.
    pub(crate) fn admit(self: &Arc<Self>, policy: &Policy, holder: Option<RateKey>) -> Result<Admission, Problem> {
        if self.drain.has_begun() {
            return Err(Problem::new(ErrorReason::Draining));
        }
        let streams = policy.server_streaming;
        let places = if streams { &self.streams } else { &self.calls };
        let permit = Arc::clone(places).try_acquire_owned();
        let permit = permit.map_err(|_| Problem::new(ErrorReason::Overloaded).retry_after(self.wait()))?;
        if let Some(holder) = holder {
            let max = self.held_max(holder, streams);
            let mut held = self.held(streams).lock();
            let count = held.entry(holder).or_default();
            if *count >= max {
                return Err(if streams {
                    Problem::new(ErrorReason::QuotaExceeded)
                        .with("quota", "streams")
                        .with("limit", max)
                } else {
                    Problem::new(ErrorReason::RateLimited).retry_after(self.wait())
                });
            }
            *count += 1;
        }
        let place = Place {
            _permit: permit,
            holder,
            streams,
            admissions: Arc::clone(self),
        };
        Ok(if streams {
            Admission::Stream(place)
        } else {
            Admission::Call(place)
        })
    }

    fn wait(&self) -> Duration {
        self.source.jitter(OVERLOAD_WAIT)
    }

    fn held(&self, streams: bool) -> &Mutex<HashMap<RateKey, usize>> {
        if streams {
            &self.streams_by_holder
        } else {
            &self.calls_by_holder
        }
    }

    fn held_max(&self, holder: RateKey, streams: bool) -> usize {
        match (streams, holder) {
            (true, RateKey::User(_)) => self.limits.streams_per_user_max,
            (true, RateKey::Prefix(_) | RateKey::Unknown) => ANONYMOUS_STREAMS_MAX,
            // One client that plays many users calls as many of them.
            (false, _) => {
                let factor = usize::try_from(self.limits.rate_factor.get()).unwrap_or(usize::MAX);
                CALLS_PER_CALLER_MAX.saturating_mul(factor)
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(holder) = self.holder else { return };
        let mut held = self.admissions.held(self.streams).lock();
        if let Some(count) = held.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&holder);
            }
        }
    }
}
