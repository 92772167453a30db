//! How many denials of one caller the trail takes, which keeps them for ever: nobody fills it by being refused.

use std::{collections::HashMap, time::Duration};

use tidings_authn::Service;
use tidings_ids::UserId;
use tidings_rpc::Origin;
use tokio::time::Instant;

/// So many of one caller are written at once: more than a client makes by mistake, which may try every RPC there is.
pub(crate) const BURST: u32 = 600;

/// And one more in so long: 8,640 a day, some 4 MiB.
const EACH: Duration = Duration::from_secs(10);

/// So many callers are told apart at once, about 1 MiB; those who come on top have one budget together.
const CALLERS_MAX: usize = 10_000;

/// Who is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    User(UserId),
    Service(Service),
    Others,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    since: Instant,
    left_out: u64,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
            left_out: 0,
        }
    }

    fn refill(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.since).as_secs() / EACH.as_secs();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned >= BURST - self.left {
            (self.left, self.since) = (BURST, now);
        } else {
            self.left += earned;
            self.since += EACH * earned;
        }
    }
}

/// What is left of the budgets of those who were refused lately.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    buckets: HashMap<Who, Bucket>,
}

impl Budget {
    /// Whether a denial is written, and if so how many of the same caller's were left out since the last that was.
    pub(crate) fn take(&mut self, origin: &Origin, now: Instant) -> Option<u64> {
        let who = match (&origin.caller, origin.service) {
            (Some(caller), _) => Who::User(caller.user_id),
            (None, Some(service)) => Who::Service(service),
            (None, None) => Who::Others,
        };
        self.take_of(who, now)
    }

    fn take_of(&mut self, who: Who, now: Instant) -> Option<u64> {
        if self.buckets.len() >= CALLERS_MAX && !self.buckets.contains_key(&who) {
            self.buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.left < BURST
            });
        }
        let is_new = !self.buckets.contains_key(&who);
        let who = if is_new && self.buckets.len() >= CALLERS_MAX {
            Who::Others
        } else {
            who
        };
        let bucket = self.buckets.entry(who).or_insert_with(|| Bucket::full(now));
        bucket.refill(now);
        if bucket.left == 0 {
            if bucket.left_out == 0 {
                tracing::warn!(
                    ?who,
                    "further denied calls are not written into the audit trail one by one; the log has them"
                );
            }
            bucket.left_out += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_ids::Source;
    use tokio::time::Instant;

    use super::{BURST, Budget, CALLERS_MAX, EACH, Who};

    #[test]
    fn who_is_refused_without_end_is_written_down_now_and_then_and_counted() {
        let (mut budget, source, now) = (Budget::default(), Source::seeded(1), Instant::now());
        let (greedy, modest) = (Who::User(source.new_id()), Who::User(source.new_id()));
        for _ in 0..BURST {
            assert_eq!(budget.take_of(greedy, now), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(budget.take_of(greedy, now), None);
        }
        assert_eq!(budget.take_of(modest, now), Some(0), "another's is their own");
        assert_eq!(budget.take_of(greedy, now + EACH - Duration::from_secs(1)), None);
        assert_eq!(budget.take_of(greedy, now + EACH), Some(8));
        assert_eq!(budget.take_of(greedy, now + EACH), None);
        let later = now + EACH * (3 * BURST);
        for index in 0..BURST {
            assert_eq!(budget.take_of(greedy, later), Some(u64::from(index == 0)));
        }
        assert_eq!(budget.take_of(greedy, later), None);
    }

    #[test]
    fn however_many_are_refused_the_memory_is_bounded() {
        let (mut budget, source, now) = (Budget::default(), Source::seeded(1), Instant::now());
        for _ in 0..CALLERS_MAX + 500 {
            assert_eq!(budget.take_of(Who::User(source.new_id()), now), Some(0));
        }
        assert!(budget.buckets.len() <= CALLERS_MAX + 1);
        assert_eq!(budget.buckets[&Who::Others].left, BURST - 500);
        // Those who were refused long ago are forgotten.
        budget.take_of(Who::User(source.new_id()), now + EACH);
        assert!(budget.buckets.len() < 10, "{}", budget.buckets.len());
    }
}
