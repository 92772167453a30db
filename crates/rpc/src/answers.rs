//! Answers in the hands of their readers, and what becomes of those that nobody takes.
//!
//! A reader that answers pings and leaves its window shut is never noticed by the connection, which stops asking for the body. So
//! what such an answer holds is looked after from outside of it: it is let go when nothing was taken for a while, and what all of
//! them hold meanwhile is bounded, by caller and in all.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use http::Response;
use http_body::Body as _;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::body::Body;

use crate::{
    RateKey,
    watched::{Slot, Watch, Watched},
};

/// The bytes that the answers of one user hold at once: two of the longest that there are. One alone may be longer.
const BYTES_PER_USER_MAX: usize = 16 * 1024 * 1024;

/// The bytes that the answers into one network hold at once, where nothing else is known of the callers: half of all, since many
/// phones can share it.
const BYTES_PER_NETWORK_MAX: usize = BYTES_MAX / 2;

/// The bytes that all answers hold at once, of the 256 MiB that a process may have (`reliability.md` G32).
const BYTES_MAX: usize = 96 * 1024 * 1024;

/// What an answer counts at least: a stream of HTTP/2 and its task.
const BYTES_MIN: usize = 4 * 1024;

/// Where there is no room, an answer of which nothing was taken for this long makes room for another.
const YIELDS_AFTER: Duration = Duration::from_secs(1);

/// How long answers are left with a reader that takes nothing, once half of the room is taken.
const HURRIED_AFTER: Duration = Duration::from_secs(2);

/// They are looked after this often, while there are any.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The answers of one service, or of the gateway, that are in their readers' hands.
#[derive(Clone, Default)]
pub struct Answers {
    registry: Arc<Mutex<Registry>>,
}

#[derive(Default)]
struct Registry {
    held: HashMap<u64, Held>,
    next: u64,
    bytes: usize,
    by_caller: HashMap<RateKey, usize>,
    /// Whether somebody looks after them.
    looked_after: bool,
}

struct Held {
    slot: Arc<Slot>,
    caller: Option<RateKey>,
    bytes: usize,
}

/// There is no room for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Answers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The body of an answer, looked after from now on.
    #[must_use]
    pub fn watch(&self, body: Body, watch: Watch) -> Watched {
        Watched::new(self.clone(), body, watch)
    }

    /// A response whose body, if it has one, is looked after from now on.
    #[must_use]
    pub fn watch_response(&self, response: Response<Body>, watch: Watch) -> Response<Body> {
        if response.body().is_end_stream() {
            return response;
        }
        response.map(|body| Body::new(self.watch(body, watch)))
    }

    /// Looks after an answer that is in its reader's hands. It holds nothing yet.
    pub(crate) fn begin(&self, slot: &Arc<Slot>, caller: Option<RateKey>) -> u64 {
        let mut registry = self.registry.lock();
        let id = registry.next;
        registry.next += 1;
        let slot = Arc::clone(slot);
        registry.held.insert(id, Held { slot, caller, bytes: 0 });
        if !std::mem::replace(&mut registry.looked_after, true) {
            tokio::spawn(look_after(Arc::downgrade(&self.registry)));
        }
        id
    }

    /// Counts what an answer holds now. Answers without a caller do not count.
    pub(crate) fn hold(&self, id: u64, bytes: usize) -> Result<(), NoRoom> {
        let mut registry = self.registry.lock();
        let let_go = registry.hold(id, bytes.max(BYTES_MIN), Instant::now());
        drop(registry);
        // What they hold may be watched itself.
        let (let_go, outcome) = match let_go {
            Ok(let_go) => (let_go, Ok(())),
            Err(let_go) => (let_go, Err(NoRoom)),
        };
        for slot in let_go {
            slot.let_go();
        }
        outcome
    }

    /// An answer is not in its reader's hands any more.
    pub(crate) fn end(&self, id: u64) {
        let held = self.registry.lock().remove(id);
        drop(held);
    }
}

fn bytes_max(caller: RateKey) -> usize {
    match caller {
        RateKey::User(_) => BYTES_PER_USER_MAX,
        RateKey::Prefix(_) | RateKey::Unknown => BYTES_PER_NETWORK_MAX,
    }
}

impl Registry {
    /// Counts, and returns what had to make room; as an error where there is no room nevertheless.
    fn hold(&mut self, id: u64, bytes: usize, now: Instant) -> Result<Vec<Arc<Slot>>, Vec<Arc<Slot>>> {
        let mut made_room = Vec::new();
        let Some(Held {
            caller: Some(caller),
            bytes: before,
            ..
        }) = self.held.get(&id)
        else {
            return Ok(made_room);
        };
        let (caller, before) = (*caller, *before);
        loop {
            let of_caller = self.by_caller.get(&caller).map_or(0, |of_caller| of_caller - before);
            let others = self.bytes - before;
            let whose = if of_caller > 0 && of_caller + bytes > bytes_max(caller) {
                Some(caller)
            } else if others > 0 && others + bytes > BYTES_MAX {
                None
            } else {
                break;
            };
            let Some(slot) = self.longest_untaken(id, whose, now).and_then(|id| self.remove(id)) else {
                return Err(made_room);
            };
            made_room.push(slot.slot);
        }
        self.bytes = self.bytes - before + bytes;
        *self.by_caller.entry(caller).or_default() += bytes;
        self.uncount(caller, before);
        if let Some(held) = self.held.get_mut(&id) {
            held.bytes = bytes;
        }
        Ok(made_room)
    }

    /// The answer, of this caller if one is given, whose reader has taken nothing for the longest time, if that is long enough.
    fn longest_untaken(&self, except: u64, whose: Option<RateKey>, now: Instant) -> Option<u64> {
        let candidates = self
            .held
            .iter()
            .filter(|(id, held)| **id != except && held.bytes > 0 && (whose.is_none() || held.caller == whose));
        let untaken = candidates.filter_map(|(id, held)| Some((held.slot.untaken_since()?, *id)));
        let (since, id) = untaken.min()?;
        (since + YIELDS_AFTER <= now).then_some(id)
    }

    fn remove(&mut self, id: u64) -> Option<Held> {
        let held = self.held.remove(&id)?;
        if let Some(caller) = held.caller {
            self.bytes -= held.bytes;
            self.uncount(caller, held.bytes);
        }
        Some(held)
    }

    fn uncount(&mut self, caller: RateKey, bytes: usize) {
        if let Some(of_caller) = self.by_caller.get_mut(&caller) {
            *of_caller -= bytes;
            if *of_caller == 0 {
                self.by_caller.remove(&caller);
            }
        }
    }

    /// Those whose time is over.
    fn take_due(&mut self, now: Instant) -> Vec<Held> {
        let hurried = self.bytes > BYTES_MAX / 2;
        let due = self.held.iter().filter(|(_, held)| {
            let patience = if hurried && held.bytes > 0 {
                HURRIED_AFTER
            } else {
                Duration::MAX
            };
            held.slot.is_due(now, patience)
        });
        let due: Vec<u64> = due.map(|(id, _)| *id).collect();
        due.into_iter().filter_map(|id| self.remove(id)).collect()
    }
}

/// Lets go of answers whose time is over, as long as there are any.
async fn look_after(registry: Weak<Mutex<Registry>>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(registry) = registry.upgrade() else { return };
        let due = {
            let mut registry = registry.lock();
            if registry.held.is_empty() {
                registry.looked_after = false;
                return;
            }
            registry.take_due(Instant::now())
        };
        for held in due {
            held.slot.let_go();
        }
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let registry = self.registry.lock();
        write!(f, "Answers {{ {}, {} bytes }}", registry.held.len(), registry.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_ids::Source;
    use tokio::time::Instant;
    use tonic::body::Body;

    use super::{Answers, BYTES_MAX, BYTES_PER_NETWORK_MAX, BYTES_PER_USER_MAX, YIELDS_AFTER};
    use crate::{RateKey, Watch, Watched};

    /// An answer that holds nothing yet, with the number that the registry gives it.
    fn answer(answers: &Answers, caller: RateKey) -> (Watched, u64) {
        let id = answers.registry.lock().next;
        let watch = Watch {
            patience: Duration::from_secs(3_600),
            until: None,
            caller: Some(caller),
            trailers: true,
            on_let_go: None,
        };
        (answers.watch(Body::empty(), watch), id)
    }

    /// How many had to make room, or that there was none.
    fn hold(answers: &Answers, id: u64, bytes: usize, now: Instant) -> Option<usize> {
        let held = answers.registry.lock().hold(id, bytes, now);
        held.ok().map(|made_room| made_room.len())
    }

    #[tokio::test]
    async fn what_was_handed_out_just_now_makes_no_room_and_what_nobody_takes_does() {
        // Before anything was handed out.
        let now = Instant::now();
        let (answers, source) = (Answers::new(), Source::seeded(1));
        let user = || RateKey::User(source.new_id());
        let mut held = Vec::new();
        for _ in 0..BYTES_MAX / BYTES_PER_USER_MAX {
            let (large, id) = answer(&answers, user());
            assert_eq!(hold(&answers, id, BYTES_PER_USER_MAX, now), Some(0));
            held.push(large);
        }
        let (further, id) = answer(&answers, user());
        assert_eq!(hold(&answers, id, 1, now), None);
        let later = Instant::now() + YIELDS_AFTER;
        assert_eq!(hold(&answers, id, 1, later), Some(1), "the one that waits the longest");
        assert_eq!(hold(&answers, id, 1, later), Some(0));
        drop((held, further));
        let registry = answers.registry.lock();
        assert_eq!(
            (registry.held.len(), registry.bytes, registry.by_caller.len()),
            (0, 0, 0)
        );
    }

    #[tokio::test]
    async fn a_network_has_more_than_a_user_and_less_than_all() {
        let now = Instant::now();
        let answers = Answers::new();
        let network = |text: &str| RateKey::prefix(text.parse().expect("an address"));
        let (_large, id) = answer(&answers, network("192.0.2.1"));
        assert_eq!(hold(&answers, id, BYTES_PER_NETWORK_MAX, now), Some(0));
        let (_further, id) = answer(&answers, network("192.0.2.200"));
        assert_eq!(hold(&answers, id, 1, now), None);
        let (_other, id) = answer(&answers, network("192.0.3.1"));
        assert_eq!(hold(&answers, id, BYTES_PER_USER_MAX, now), Some(0));
        // What it has handed out since then is counted instead of what was before.
        assert_eq!(hold(&answers, id, BYTES_PER_NETWORK_MAX, now), Some(0));
        assert_eq!(answers.registry.lock().bytes, 2 * BYTES_PER_NETWORK_MAX);
    }

    #[tokio::test]
    async fn what_is_due_is_taken_out_and_the_rest_stays() {
        let answers = Answers::new();
        let (_answer, id) = answer(&answers, RateKey::Unknown);
        assert_eq!(hold(&answers, id, 1, Instant::now()), Some(0));
        let soon = Instant::now() + Duration::from_secs(60);
        assert!(answers.registry.lock().take_due(soon).is_empty());
        let late = soon + Duration::from_secs(3_600);
        assert_eq!(answers.registry.lock().take_due(late).len(), 1);
        assert_eq!(answers.registry.lock().bytes, 0);
    }

    #[tokio::test]
    async fn half_of_the_room_taken_all_are_hurried() {
        let answers = Answers::new();
        let (_answer, id) = answer(&answers, RateKey::Unknown);
        let soon = Instant::now() + Duration::from_secs(60);
        assert_eq!(hold(&answers, id, BYTES_MAX / 2 + 1, soon), Some(0));
        assert_eq!(answers.registry.lock().take_due(soon).len(), 1);
    }
}
