//! Denied calls on their way into the audit trail.
//!
//! A call that is refused with `PERMISSION_DENIED`, on an RPC whose effects are recorded, is told here, and whoever keeps the trail
//! listens (crate `audit`). Telling never waits: what does not fit is counted, so that nobody slows calls by being refused.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::context::Origin;

/// A call that was denied.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Which call it was, and whose.
    pub origin: Arc<Origin>,
    /// The trace that it belongs to, 32 digits.
    pub trace_id: Option<String>,
    /// The reason that the caller was told, without the enum's prefix.
    pub reason: String,
    /// When.
    pub time: OffsetDateTime,
}

/// The way of denied calls to whoever keeps the trail. Clones are one way.
#[derive(Debug, Clone, Default)]
pub struct Denials {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    listener: Mutex<Option<Sender<Denial>>>,
    lost: AtomicU64,
}

impl Denials {
    /// So many wait to be written: about 256 KiB.
    pub const WAITING_MAX: usize = 1_024;

    /// Hears of denied calls from now on, in the place of whoever did before.
    #[must_use]
    pub fn listen(&self) -> Receiver<Denial> {
        let (sender, receiver) = mpsc::channel(Self::WAITING_MAX);
        *self.inner.listener.lock() = Some(sender);
        receiver
    }

    /// How many were not heard of because too many waited.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inner.lost.load(Ordering::Relaxed)
    }

    /// Tells of a denied call. Where nobody listens, as at the gateway, there is no trail.
    pub(crate) fn tell(&self, denial: Denial) {
        let listener = self.inner.listener.lock();
        if listener
            .as_ref()
            .is_some_and(|listener| listener.try_send(denial).is_err())
        {
            self.inner.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidings_ids::Source;
    use tidings_proto_common::v1::AuditCategory;

    use super::{Denial, Denials};
    use crate::context::Origin;

    fn denial() -> Denial {
        Denial {
            origin: Arc::new(Origin {
                method: "tidings.user.v1.RoleService/CreateRole".into(),
                audit_category: AuditCategory::Administration,
                caller: None,
                service: None,
                address: None,
            }),
            trace_id: None,
            reason: "PERMISSION_MISSING".to_owned(),
            time: Source::seeded(1).now(),
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_never_waited_for() {
        let denials = Denials::default();
        denials.tell(denial());
        assert_eq!(denials.lost(), 0, "nobody listened");
        let mut heard = denials.listen();
        for _ in 0..Denials::WAITING_MAX + 3 {
            denials.tell(denial());
        }
        assert_eq!(denials.lost(), 3);
        assert!(heard.try_recv().is_ok());
        denials.tell(denial());
        assert_eq!(denials.lost(), 3, "there was room again");
    }
}
