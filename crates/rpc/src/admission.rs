//! How much a process does at once.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tidings_ids::Source;
use tidings_proto_common::v1::ErrorReason;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Drain, Environment, Limits, Problem, environment::OVERLOAD_WAIT, policy::Policy, rate::RateKey};

/// Streams that those of one network who have not said who they are may have open at once: health checks and reflection. All
/// streams share one limit, which else anybody could use up.
const ANONYMOUS_STREAMS_MAX: usize = 100;

/// The places that there are for calls and streams.
pub(crate) struct Admissions {
    limits: Limits,
    source: Source,
    drain: Drain,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    streams_by_holder: Mutex<HashMap<RateKey, usize>>,
}

/// A place, until it is dropped.
pub(crate) enum Admission {
    Call(OwnedSemaphorePermit),
    Stream(StreamGuard),
}

/// Counts a stream for as long as it is open.
pub(crate) struct StreamGuard {
    _permit: OwnedSemaphorePermit,
    holder: Option<RateKey>,
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
            streams_by_holder: Mutex::default(),
        }
    }

    /// A place for a call of this RPC. A stream counts with the others of its `holder`, where it has one.
    pub(crate) fn admit(self: &Arc<Self>, policy: &Policy, holder: Option<RateKey>) -> Result<Admission, Problem> {
        let overloaded = || {
            let wait = self.source.jitter(OVERLOAD_WAIT);
            Problem::new(ErrorReason::Overloaded).retry_after(wait)
        };
        if self.drain.has_begun() {
            return Err(Problem::new(ErrorReason::Draining));
        }
        if !policy.server_streaming {
            let permit = Arc::clone(&self.calls).try_acquire_owned().map_err(|_| overloaded())?;
            return Ok(Admission::Call(permit));
        }
        let permit = Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| overloaded())?;
        if let Some(holder) = holder {
            let max = match holder {
                RateKey::User(_) => self.limits.streams_per_user_max,
                RateKey::Prefix(_) | RateKey::Unknown => ANONYMOUS_STREAMS_MAX,
            };
            let mut open = self.streams_by_holder.lock();
            let count = open.entry(holder).or_default();
            if *count >= max {
                return Err(Problem::new(ErrorReason::QuotaExceeded)
                    .with("quota", "streams")
                    .with("limit", max));
            }
            *count += 1;
        }
        Ok(Admission::Stream(StreamGuard {
            _permit: permit,
            holder,
            admissions: Arc::clone(self),
        }))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let Some(holder) = self.holder else { return };
        let mut open = self.admissions.streams_by_holder.lock();
        if let Some(count) = open.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                open.remove(&holder);
            }
        }
    }
}
