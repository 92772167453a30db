//! How many transfers there are at once, and how slow they may be.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Places for transfers: so many in all, and so many of one holder, such as a user, a file or a network.
#[derive(Debug, Clone)]
pub(crate) struct Places<K> {
    max: usize,
    per_holder_max: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

#[derive(Debug)]
struct Taken<K> {
    in_all: usize,
    by_holder: HashMap<K, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash> {
    holder: K,
    taken: Arc<Mutex<Taken<K>>>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The holder has all that one may have.
    Holder,
    /// All are taken.
    All,
}

impl<K: Eq + Hash + Clone> Places<K> {
    pub(crate) fn new(max: usize, per_holder_max: usize) -> Self {
        let taken = Taken {
            in_all: 0,
            by_holder: HashMap::new(),
        };
        Self {
            max,
            per_holder_max,
            taken: Arc::new(Mutex::new(taken)),
        }
    }

    /// A place for a transfer of this holder.
    pub(crate) fn take(&self, holder: K) -> Result<Place<K>, Full> {
        let mut taken = self.taken.lock();
        if taken.in_all >= self.max {
            return Err(Full::All);
        }
        let held = taken.by_holder.entry(holder.clone()).or_default();
        if *held >= self.per_holder_max {
            return Err(Full::Holder);
        }
        *held += 1;
        taken.in_all += 1;
        drop(taken);
        Ok(Place {
            holder,
            taken: Arc::clone(&self.taken),
        })
    }

    /// Whether three of four are taken.
    pub(crate) fn is_short(&self) -> bool {
        4 * self.taken.lock().in_all >= 3 * self.max
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.in_all -= 1;
        if let Some(held) = taken.by_holder.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                taken.by_holder.remove(&self.holder);
            }
        }
    }
}

/// A transfer in which no byte moves for this long is given up.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(30);

/// How slow a client may be: after a beginning that is not looked at, so many bytes a second on average.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    beginning: Duration,
    bytes_per_second: u64,
}

impl Rate {
    /// 64 kbit/s after a minute: a phone at the edge of its network.
    pub(crate) const LEAST: Self = Self {
        beginning: Duration::from_secs(60),
        bytes_per_second: 8 * 1024,
    };

    /// The same where others wait: 512 kbit/s after ten seconds.
    pub(crate) const LEAST_WHEN_SHORT: Self = Self {
        beginning: Duration::from_secs(10),
        bytes_per_second: 64 * 1024,
    };

    /// How long so many bytes may take.
    pub(crate) fn time_for(self, bytes: u64) -> Duration {
        self.beginning + Duration::from_secs(bytes / self.bytes_per_second)
    }
}

/// How long a client has been waited for, and what it has brought.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Waits for what the client brings next. What we do with it meanwhile does not count as the client's time.
    ///
    /// `None` when it brings nothing for too long, or has been too slow.
    pub(crate) async fn wait<T>(&mut self, rate: Rate, next: impl Future<Output = T>) -> Option<T> {
        let left = rate.time_for(self.bytes).checked_sub(self.waited)?;
        let begun = Instant::now();
        let next = tokio::time::timeout(left.min(IDLE_MAX), next).await;
        self.waited += begun.elapsed();
        next.ok()
    }

    /// Counts what it has brought.
    pub(crate) fn bring(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use super::{Full, Pace, Places, Rate};

    #[test]
    fn one_holder_leaves_places_to_others() {
        let places = Places::new(3, 2);
        let first = places.take("a").expect("a place");
        let _second = places.take("a").expect("a place");
        assert_eq!(places.take("a").err(), Some(Full::Holder));
        let _other = places.take("b").expect("a place");
        assert_eq!(places.take("c").err(), Some(Full::All));
        drop(first);
        assert!(places.take("c").is_ok());
        assert!(places.take("a").is_ok());
        assert_eq!(places.taken.lock().by_holder.len(), 2, "who holds none is forgotten");
    }

    #[test]
    fn places_are_short_before_they_are_gone() {
        let places = Places::new(4, 4);
        let held: Vec<_> = (0..3).map(|_| places.take(()).expect("a place")).collect();
        assert!(places.is_short());
        drop(held);
        assert!(!places.is_short());
    }

    /// Whether a client that brings `bytes` in `seconds` may go on.
    async fn goes_on(rate: Rate, bytes: u64, seconds: u64) -> bool {
        let mut pace = Pace {
            waited: Duration::from_secs(seconds),
            bytes: 0,
        };
        pace.bring(bytes);
        pace.wait(rate, future::ready(())).await.is_some()
    }

    #[tokio::test]
    async fn who_is_slow_is_given_up_and_sooner_where_others_wait() {
        assert!(goes_on(Rate::LEAST, 0, 60).await);
        assert!(!goes_on(Rate::LEAST, 0, 61).await);
        assert!(goes_on(Rate::LEAST, 100 * 8 * 1024, 160).await);
        assert!(!goes_on(Rate::LEAST, 100 * 8 * 1024, 161).await);
        assert!(!goes_on(Rate::LEAST_WHEN_SHORT, 100 * 8 * 1024, 60).await);
        assert!(goes_on(Rate::LEAST_WHEN_SHORT, 100 * 64 * 1024, 110).await);
        // One byte every 25 s, as long as nobody looks at the whole.
        assert!(!goes_on(Rate::LEAST, 100, 2_500).await);
    }

    #[tokio::test]
    async fn who_brings_nothing_is_not_waited_for() {
        let rate = Rate {
            beginning: Duration::from_millis(20),
            bytes_per_second: 1,
        };
        let mut pace = Pace::default();
        let brought = pace.wait(rate, future::pending::<()>());
        let brought = tokio::time::timeout(Duration::from_secs(10), brought).await;
        assert!(brought.expect("it ends").is_none());
        assert!(pace.wait(rate, future::ready(())).await.is_none(), "its time is over");
    }
}
