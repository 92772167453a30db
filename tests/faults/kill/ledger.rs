//! What the clients know: which attempts are in flight, which have ended without an answer, and what was acknowledged.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tidings_load::client::Failure;
use tidings_proto_message::v1::Message;
use time::OffsetDateTime;
use tokio::time::Instant;
use tonic::{Response, Status};

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Sends a message.
    Send,
    /// Creates a chat.
    Found,
    /// Registers somebody.
    Register,
    /// Refreshes a token.
    Refresh,
    /// Changes a profile.
    Update,
}

/// A send that was acknowledged.
#[derive(Debug, Clone)]
pub struct Sent {
    pub chat: usize,
    pub sender_id: String,
    pub line: u64,
    pub request_id: String,
    pub text: String,
    pub message_id: String,
    pub sequence: i64,
    /// When the client first tried.
    pub invoked: Instant,
    /// When the client had the answer.
    pub acknowledged: Instant,
}

/// A chat whose creation was acknowledged, and what the first message in it got.
#[derive(Debug, Clone)]
pub struct Founded {
    pub founder: usize,
    pub title: String,
    pub chat_id: String,
    pub first_sequence: i64,
}

/// A registration that was acknowledged.
#[derive(Debug, Clone)]
pub struct Registered {
    pub username: String,
    pub password: String,
    pub user_id: String,
}

/// All of it, shared by the clients.
#[derive(Debug, Default)]
pub struct Ledger {
    flights: Mutex<Flights>,
    acknowledged: Mutex<Acknowledged>,
}

/// What was acknowledged.
#[derive(Debug, Default, Clone)]
pub struct Acknowledged {
    pub sent: Vec<Sent>,
    pub founded: Vec<Founded>,
    pub registered: Vec<Registered>,
    /// Refreshes, of each client that makes them.
    pub refreshed: usize,
    /// The profile changes of each client that makes them, as their text.
    pub updated: Vec<(usize, String)>,
    /// Calls that were refused for good. Nothing here may be.
    pub failures: Vec<Failure>,
    /// Sends whose stored message is older than the attempt that was answered: the answer to an earlier one was lost.
    pub answered_late: usize,
}

impl Acknowledged {
    /// How much was acknowledged.
    pub fn count(&self) -> usize {
        self.sent.len() + self.founded.len() + self.registered.len() + self.refreshed + self.updated.len()
    }
}

#[derive(Debug, Default)]
struct Flights {
    next: u64,
    open: HashMap<u64, Flight>,
    /// Attempts that were in flight at the last [`Ledger::mark`] and ended without an answer.
    unknown: BTreeMap<Kind, usize>,
}

#[derive(Debug)]
struct Flight {
    kind: Kind,
    marked: bool,
}

/// An attempt in flight. One that is dropped has had no answer.
#[derive(Debug)]
pub struct Attempt {
    ledger: Arc<Ledger>,
    id: u64,
    answered: bool,
}

impl Ledger {
    /// Makes an attempt, which is in flight meanwhile.
    pub async fn fly<R>(
        self: Arc<Self>,
        kind: Kind,
        attempt: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<Response<R>, Status> {
        let mut flight = self.depart(kind);
        let outcome = attempt.await;
        flight.answered = outcome.is_ok();
        outcome
    }

    fn depart(self: &Arc<Self>, kind: Kind) -> Attempt {
        let mut flights = self.flights.lock();
        let id = flights.next;
        flights.next += 1;
        flights.open.insert(id, Flight { kind, marked: false });
        Attempt {
            ledger: Arc::clone(self),
            id,
            answered: false,
        }
    }

    /// Marks what is in flight: something is about to be killed.
    pub fn mark(&self) {
        let mut flights = self.flights.lock();
        flights.unknown.clear();
        for flight in flights.open.values_mut() {
            flight.marked = true;
        }
    }

    /// How many attempts of a kind are in flight.
    pub fn in_flight(&self, kind: Kind) -> usize {
        let flights = self.flights.lock();
        flights.open.values().filter(|flight| flight.kind == kind).count()
    }

    /// Of what was marked, how many attempts have ended without an answer, once all have ended.
    pub fn unknown(&self) -> Option<BTreeMap<Kind, usize>> {
        let flights = self.flights.lock();
        let all_ended = !flights.open.values().any(|flight| flight.marked);
        all_ended.then(|| flights.unknown.clone())
    }

    /// Notes what was acknowledged, or was refused for good.
    pub fn note(&self, note: impl FnOnce(&mut Acknowledged)) {
        note(&mut self.acknowledged.lock());
    }

    /// What was acknowledged until now.
    pub fn read<R>(&self, read: impl FnOnce(&Acknowledged) -> R) -> R {
        read(&self.acknowledged.lock())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut flights = self.ledger.flights.lock();
        if let Some(flight) = flights.open.remove(&self.id).filter(|flight| flight.marked)
            && !self.answered
        {
            *flights.unknown.entry(flight.kind).or_default() += 1;
        }
    }
}

/// Whether the message was stored before the attempt began that was answered with it. Both times are of this machine's clock.
pub fn is_older(message: &Message, attempt: OffsetDateTime) -> bool {
    message.create_time.is_some_and(|stored| {
        let nanos = i128::from(stored.seconds) * 1_000_000_000 + i128::from(stored.nanos);
        nanos < attempt.unix_timestamp_nanos()
    })
}
