//! Where a test can stop or hold what two services take part in, to show that a process may die there.

/// A point in a registration, or in a change of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The intent is stored; the user service knows nothing.
    IntentStored,
    /// The user service holds a pending user; the credential is not stored.
    UserCreated,
    /// The credential is stored; the user is not active.
    CredentialStored,
    /// Another address is proven; the user service has the old one.
    EmailProven,
    /// The user service has the new address; the account has the old one.
    UserEmailChanged,
}

#[cfg(feature = "testing")]
mod points {
    use std::{fmt, future::Future, pin::Pin, sync::Arc};

    use super::Step;

    type Verdict = Pin<Box<dyn Future<Output = bool> + Send>>;

    /// Asked at each [`Step`]; it may wait, and says whether the call ends there without any cleaning up.
    #[derive(Clone)]
    pub struct CrashPoints {
        ask: Arc<dyn Fn(Step) -> Verdict + Send + Sync>,
    }

    impl CrashPoints {
        /// Crash points that ask this function.
        pub fn new<F>(ask: impl Fn(Step) -> F + Send + Sync + 'static) -> Self
        where
            F: Future<Output = bool> + Send + 'static,
        {
            Self {
                ask: Arc::new(move |step| Box::pin(ask(step))),
            }
        }

        pub(crate) async fn reached(&self, step: Step) -> bool {
            (self.ask)(step).await
        }
    }

    impl fmt::Debug for CrashPoints {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("CrashPoints")
        }
    }
}

#[cfg(feature = "testing")]
pub use points::CrashPoints;
