use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tidings_db::{Pool, Schema};
use tidings_ids::Source;
use tidings_rpc::{Denials, Drain, Environment, PageTokens};

use crate::head::Signer;

/// Work that goes on until the process stops.
pub type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The audit trail of one service, shared by cloning.
#[derive(Debug, Clone)]
pub struct Trail {
    pub(crate) schema: Schema,
    pub(crate) pool: Pool,
    pub(crate) source: Source,
    pub(crate) signer: Arc<Signer>,
    pub(crate) settings: Settings,
    pub(crate) page_tokens: PageTokens,
    pub(crate) denials: Denials,
    pub(crate) drain: Drain,
}

/// How often the trail is sealed and signed.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// An event has its number so long after its commit at the latest, and the time that sealing takes. `api.md` section 6 promises a
    /// second.
    pub seal_every: Duration,
    /// The head is signed so often while the trail grows: each minute, by `api.md` section 6.
    pub sign_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seal_every: Duration::from_millis(400),
            sign_every: Duration::from_secs(60),
        }
    }
}

impl Trail {
    /// The trail in a service's schema. It asks nobody yet.
    #[must_use]
    pub fn new(environment: &Environment, pool: Pool, schema: Schema, settings: Settings) -> Self {
        Self {
            schema,
            pool,
            source: environment.source.clone(),
            signer: Arc::new(Signer::new(&environment.secret, schema)),
            settings,
            page_tokens: environment.page_tokens.clone(),
            denials: environment.denials.clone(),
            drain: environment.drain.clone(),
        }
    }

    /// What the trail does on its own: to be spawned on the process' drain, which each part watches. Without it events are kept, but get no
    /// numbers, and denied calls are not written down.
    #[must_use]
    pub fn background(&self) -> Vec<Background> {
        vec![
            Box::pin(self.clone().keep()),
            Box::pin(self.clone().write_denials(self.denials.listen())),
        ]
    }
}
