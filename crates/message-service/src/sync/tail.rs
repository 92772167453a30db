//! The newest entries of a chat's log in memory, so that a thousand followers of one chat do not ask Postgres a thousand times.
//!
//! What is here is contiguous up to where it was loaded, and current as of the last hint. It is loaded by one of those who want it,
//! while the others wait. An entry's content is replaced when a later one touches the same message, so that the tail never holds a
//! text that was edited or deleted since.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tidings_db::Error;
use tokio::time::{Instant, timeout};

use super::{
    frame::{ChatEntry, ChatEvent},
    reader::{Entries, Range},
};

/// Entries that a tail keeps. A follower that lags further behind reads for itself.
const ENTRIES_MAX: usize = 64;

/// And their bytes.
const BYTES_MAX: usize = 128 * 1024;

/// How long to wait for whoever loads. A read of entries takes milliseconds; where Postgres does not answer, one reader after the
/// other would wait for all before it, and miss its heartbeats.
const LOADING_MAX: Duration = Duration::from_secs(1);

/// The tail of one chat's log.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Counts the hints.
    hinted: AtomicU64,
    ring: Mutex<Ring>,
    loading: tokio::sync::Mutex<()>,
}

/// The entries from after `start` up to `head`.
#[derive(Debug)]
struct Ring {
    entries: VecDeque<Arc<ChatEntry>>,
    bytes: usize,
    start: i64,
    head: i64,
    /// The hint as of which it was loaded; `None` before the first time.
    loaded: Option<u64>,
    used: Instant,
}

impl Tail {
    pub(crate) fn new() -> Self {
        let ring = Ring {
            entries: VecDeque::new(),
            bytes: 0,
            start: 0,
            head: 0,
            loaded: None,
            used: Instant::now(),
        };
        Self {
            hinted: AtomicU64::new(0),
            ring: Mutex::new(ring),
            loading: tokio::sync::Mutex::new(()),
        }
    }

    /// The log has moved: what is here is no longer known to be current.
    pub(crate) fn hint(&self) {
        self.hinted.fetch_add(1, Ordering::AcqRel);
    }

    /// The entries after a position up to the head as of the last hint. `None` when they do not reach back so far.
    /// [`Error::Timeout`] when somebody else has been loading them for too long.
    pub(crate) async fn after<F>(
        &self,
        position: i64,
        load: impl FnOnce(Range) -> F + Send,
    ) -> Result<Option<Vec<Arc<ChatEntry>>>, Error>
    where
        F: Future<Output = Result<Entries, Error>> + Send,
    {
        if let Some(entries) = self.current(position) {
            return Ok(entries);
        }
        let _loading = match self.loading.try_lock() {
            Ok(free) => free,
            Err(_) => match timeout(LOADING_MAX, self.loading.lock()).await {
                Ok(waited_for) => waited_for,
                Err(_) => return Err(Error::Timeout(sqlx::Error::PoolTimedOut)),
            },
        };
        if let Some(entries) = self.current(position) {
            return Ok(entries);
        }
        // Before the read: a hint that comes while it goes on makes another necessary.
        let hinted = self.hinted.load(Ordering::Acquire);
        let from = self.ring.lock().load_from(position);
        let loaded = load(Range::page(from).at_most(ENTRIES_MAX as i64)).await?;
        let mut ring = self.ring.lock();
        ring.append(from, loaded, hinted);
        Ok(ring.after(position))
    }

    /// Whether what is here is current, and reaches so far.
    pub(crate) fn has(&self, head: i64) -> bool {
        let ring = self.ring.lock();
        ring.loaded == Some(self.hinted.load(Ordering::Acquire)) && ring.head >= head
    }

    /// The entries after the position, if what is here is current.
    fn current(&self, position: i64) -> Option<Option<Vec<Arc<ChatEntry>>>> {
        let mut ring = self.ring.lock();
        (ring.loaded == Some(self.hinted.load(Ordering::Acquire))).then(|| ring.after(position))
    }

    /// Forgets what nobody has wanted since then.
    pub(crate) fn forget_unused(&self, since: Instant) {
        let mut ring = self.ring.lock();
        if ring.used < since {
            ring.clear();
        }
    }
}

impl Ring {
    fn load_from(&self, position: i64) -> i64 {
        if self.loaded.is_some() { self.head } else { position }
    }

    fn after(&mut self, position: i64) -> Option<Vec<Arc<ChatEntry>>> {
        self.used = Instant::now();
        if self.loaded.is_none() || position < self.start {
            return None;
        }
        let first = self.entries.partition_point(|entry| entry.position <= position);
        Some(self.entries.range(first..).cloned().collect())
    }

    fn append(&mut self, from: i64, loaded: Entries, hinted: u64) {
        if self.loaded.is_none() {
            self.clear();
            (self.start, self.head) = (from, from);
        }
        let is_whole = loaded
            .entries
            .iter()
            .zip(self.head + 1..)
            .all(|(entry, expected)| entry.position == expected);
        if loaded.more || !is_whole {
            // Too far behind to be worth keeping, or the log's floor has passed by.
            self.clear();
            return;
        }
        for entry in loaded.entries {
            self.refresh(&entry);
            self.head = entry.position;
            self.bytes += entry.weight();
            self.entries.push_back(entry);
        }
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.start = oldest.position;
            self.bytes = self.bytes.saturating_sub(oldest.weight());
        }
        self.loaded = Some(hinted);
    }

    /// Gives the entries that are here the content that the newer one has.
    fn refresh(&mut self, newer: &ChatEntry) {
        let Some(subject) = newer.subject() else { return };
        for entry in self.entries.iter_mut().filter(|entry| entry.subject() == Some(subject)) {
            let event = match (&entry.event, &newer.event) {
                (ChatEvent::Message { change, sequence, .. }, ChatEvent::Message { message, .. }) => {
                    ChatEvent::Message {
                        change: *change,
                        sequence: *sequence,
                        message: message.clone(),
                    }
                }
                (ChatEvent::ChatCreated(_), ChatEvent::ChatUpdated(chat)) => ChatEvent::ChatCreated(Arc::clone(chat)),
                (ChatEvent::ChatUpdated(_), ChatEvent::ChatUpdated(chat)) => ChatEvent::ChatUpdated(Arc::clone(chat)),
                (ChatEvent::MemberJoined(_), ChatEvent::MemberJoined(member) | ChatEvent::MemberUpdated(member)) => {
                    ChatEvent::MemberJoined(member.clone())
                }
                (ChatEvent::MemberUpdated(_), ChatEvent::MemberJoined(member) | ChatEvent::MemberUpdated(member)) => {
                    ChatEvent::MemberUpdated(member.clone())
                }
                _ => continue,
            };
            self.bytes = self.bytes.saturating_sub(entry.weight());
            *entry = Arc::new(ChatEntry {
                event,
                ..ChatEntry::clone(entry)
            });
            self.bytes += entry.weight();
        }
    }

    fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
        self.loaded = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tidings_db::Error;

    use super::{LOADING_MAX, Tail};

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_a_load_that_hangs() {
        let tail = Tail::new();
        let began = tokio::time::Instant::now();
        tokio::select! {
            biased;
            _ = tail.after(0, |_| pending()) => panic!("it hangs"),
            second = tail.after(0, |_| pending()) => assert!(matches!(second, Err(Error::Timeout(_))), "{second:?}"),
        }
        assert_eq!(began.elapsed(), LOADING_MAX);
    }
}
