//! The senders as accounts: each is registered and logged in once, when the first log needs it.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::{
    client::{Account, Client, Failure, Session},
    identity::Identities,
};

/// Streams that a replay opens for one user at a time. The server takes 8; one that broke may be counted there for a while.
const STREAMS_PER_USER_MAX: usize = 6;

/// The accounts of a replay.
#[derive(Debug)]
pub struct Accounts {
    client: Client,
    identities: Identities,
    /// Registrations at once. Permits are given in the order of asking, so that the first logs are complete first and can be sent
    /// while the next ones' senders are registered: each costs the server a hash that it makes slow on purpose.
    registrations: Semaphore,
    known: Mutex<HashMap<String, Arc<Sender>>>,
}

#[derive(Debug)]
struct Sender {
    session: OnceCell<Session>,
    streams: Arc<Semaphore>,
}

impl Accounts {
    /// The accounts of a run, `at_once` of which are registered at a time.
    #[must_use]
    pub fn new(client: Client, identities: Identities, at_once: usize) -> Self {
        Self {
            client,
            identities,
            registrations: Semaphore::new(at_once.max(1)),
            known: Mutex::default(),
        }
    }

    /// How the names are made.
    #[must_use]
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The login session of a nickname.
    ///
    /// # Errors
    ///
    /// When it cannot be registered or logged in.
    pub async fn session(&self, nickname: &str) -> Result<Session, Failure> {
        let sender = self.sender(nickname);
        let session = sender.session.get_or_try_init(|| self.enrol(nickname)).await?;
        Ok(session.clone())
    }

    /// A place for one more stream of this user; wait for several in the order of their nicknames, or two logs block each other.
    pub async fn stream_place(&self, nickname: &str) -> OwnedSemaphorePermit {
        let streams = Arc::clone(&self.sender(nickname).streams);
        streams.acquire_owned().await.expect("the semaphore is never closed")
    }

    async fn enrol(&self, nickname: &str) -> Result<Session, Failure> {
        let _permit = self
            .registrations
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let account = account(&self.identities, nickname);
        account.register(&self.client).await?;
        let session = Session::log_in(&self.client, &account.username, &account.password).await?;
        self.client.meter().count_registered();
        Ok(session)
    }

    fn sender(&self, nickname: &str) -> Arc<Sender> {
        let mut known = self.known.lock();
        if let Some(sender) = known.get(nickname) {
            return Arc::clone(sender);
        }
        let sender = Arc::new(Sender {
            session: OnceCell::new(),
            streams: Arc::new(Semaphore::new(STREAMS_PER_USER_MAX)),
        });
        known.insert(nickname.to_owned(), Arc::clone(&sender));
        sender
    }
}

/// The account of a nickname. Its `display_name` is the nickname as written.
#[must_use]
pub fn account(identities: &Identities, nickname: &str) -> Account {
    Account {
        username: identities.username(nickname),
        email: identities.email(nickname),
        password: identities.password(nickname),
        display_name: nickname.to_owned(),
        request_id: identities.request_id("register", &[nickname]),
    }
}
