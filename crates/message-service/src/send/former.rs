//! Which sends make the next batch, which are put off, and which wait: a state machine without time, randomness or input.
//!
//! A send whose chat's row another transaction holds is put off into the next batch. That needs a brake, or a shard would spin
//! on a held row; and an end, or another node's steady traffic could starve it: after [`SKIPS_MAX`] batches the sends of that
//! chat leave the batches and wait for their own row, delaying nobody else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidings_ids::ChatId;

/// Sends in a batch. Larger ones save nothing more and only take longer (`performance.md`, D4).
pub(crate) const BATCH_MAX: usize = 128;

/// Batches that a send is put off by before it waits. A batch takes about a millisecond, and so does the brake.
pub(crate) const SKIPS_MAX: u8 = 3;

/// What the former has to know of a send.
pub(crate) trait Sendable {
    /// The chat whose row it needs.
    fn chat_id(&self) -> ChatId;
    /// Whether a set-based batch can take it.
    fn is_plain(&self) -> bool;
}

/// A send and how often it was put off.
#[derive(Debug)]
pub(crate) struct Pending<J> {
    pub(crate) job: J,
    skips: u8,
}

/// The sends that are put off.
#[derive(Debug)]
pub(crate) struct Former<J> {
    deferred: VecDeque<Pending<J>>,
    /// Whether the last round stored or refused nothing at all.
    idle_round: bool,
}

/// What to hand to the store next. Each part is a call of its own.
#[derive(Debug)]
pub(crate) struct Round<J> {
    pub(crate) plain: Vec<Pending<J>>,
    pub(crate) rich: Vec<Pending<J>>,
}

impl<J: Sendable> Former<J> {
    /// Nothing is put off.
    pub(crate) fn new() -> Self {
        Self {
            deferred: VecDeque::new(),
            idle_round: false,
        }
    }

    /// How many sends the next round can take besides those put off.
    pub(crate) fn room(&self) -> usize {
        BATCH_MAX.saturating_sub(self.deferred.len())
    }

    /// Whether some sends are put off, so that the next round must not wait for others.
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Whether to pause before the next round, because the last one was put off whole.
    pub(crate) fn needs_brake(&self) -> bool {
        self.idle_round && self.has_deferred()
    }

    /// The next round: those put off first, then the new ones, in their order.
    pub(crate) fn form(&mut self, arrivals: Vec<J>) -> Round<J> {
        let deferred = self.deferred.drain(..);
        let arrivals = arrivals.into_iter().map(|job| Pending { job, skips: 0 });
        let (plain, rich) = deferred.chain(arrivals).partition(|pending| pending.job.is_plain());
        self.idle_round = true;
        Round { plain, rich }
    }

    /// Something of this round was stored or refused.
    pub(crate) fn progressed(&mut self) {
        self.idle_round = false;
    }

    /// Puts sends off whose rows were held. `may_wait` says whether the sends of one more chat can wait for their row now; where it
    /// says no, they stay among those put off. Returns the sends that wait, by chat.
    pub(crate) fn defer(
        &mut self,
        skipped: Vec<Pending<J>>,
        mut may_wait: impl FnMut() -> bool,
    ) -> BTreeMap<ChatId, Vec<J>> {
        let skipped: Vec<Pending<J>> = skipped
            .into_iter()
            .map(|pending| Pending {
                skips: pending.skips.saturating_add(1),
                ..pending
            })
            .collect();
        let exhausted: BTreeSet<ChatId> = skipped
            .iter()
            .filter(|pending| pending.skips >= SKIPS_MAX)
            .map(|pending| pending.job.chat_id())
            .collect();
        let waiting: BTreeSet<ChatId> = exhausted.into_iter().take_while(|_| may_wait()).collect();
        let mut groups: BTreeMap<ChatId, Vec<J>> = BTreeMap::new();
        for pending in skipped {
            let chat_id = pending.job.chat_id();
            if waiting.contains(&chat_id) {
                groups.entry(chat_id).or_default().push(pending.job);
            } else {
                self.deferred.push_back(pending);
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_ids::{ChatId, Id};
    use uuid::Uuid;

    use super::{BATCH_MAX, Former, SKIPS_MAX, Sendable};

    #[derive(Debug, Clone, PartialEq)]
    struct Send {
        chat: u8,
        number: usize,
        plain: bool,
    }

    impl Sendable for Send {
        fn chat_id(&self) -> ChatId {
            Id::from_uuid(Uuid::from_u128(self.chat.into()))
        }
        fn is_plain(&self) -> bool {
            self.plain
        }
    }

    fn send(chat: u8, number: usize) -> Send {
        Send {
            chat,
            number,
            plain: true,
        }
    }

    #[test]
    fn a_send_is_put_off_into_the_next_batch_before_new_ones() {
        let mut former = Former::new();
        let round = former.form(vec![send(1, 0)]);
        assert!(former.defer(round.plain, || true).is_empty());
        assert!(former.needs_brake());
        let numbers: Vec<usize> = former
            .form(vec![send(2, 1)])
            .plain
            .iter()
            .map(|pending| pending.job.number)
            .collect();
        assert_eq!(numbers, [0, 1]);
    }

    #[test]
    fn after_a_few_skips_all_sends_of_the_chat_wait_together() {
        let mut former = Former::new();
        let mut arrivals = vec![send(1, 0), send(2, 1)];
        for skip in 1..SKIPS_MAX {
            let round = former.form(std::mem::take(&mut arrivals));
            assert!(former.defer(round.plain, || true).is_empty(), "skip {skip}");
            arrivals = vec![send(1, 10 + usize::from(skip))];
        }
        let round = former.form(arrivals);
        let groups = former.defer(round.plain, || true);
        let chats: Vec<usize> = groups.values().map(Vec::len).collect();
        assert_eq!(chats, [3, 1], "three of the first chat, one of the second");
        assert!(!former.has_deferred());
    }

    #[test]
    fn who_cannot_wait_now_stays_in_the_batches() {
        let mut former = Former::new();
        let mut arrivals = vec![send(1, 0)];
        for _ in 0..SKIPS_MAX + 2 {
            let round = former.form(std::mem::take(&mut arrivals));
            assert!(former.defer(round.plain, || false).is_empty());
            assert!(former.has_deferred());
        }
    }

    #[test]
    fn a_round_with_any_result_needs_no_brake() {
        let mut former = Former::new();
        let mut round = former.form(vec![send(1, 0), send(2, 1)]);
        round.plain.pop();
        former.progressed();
        former.defer(round.plain, || true);
        assert!(former.has_deferred() && !former.needs_brake());
    }

    #[test]
    fn what_carries_more_than_text_goes_apart() {
        let mut former = Former::new();
        let round = former.form(vec![
            send(1, 0),
            Send {
                plain: false,
                ..send(1, 1)
            },
        ]);
        assert_eq!((round.plain.len(), round.rich.len()), (1, 1));
    }

    proptest! {
        /// Whatever is held and however long: no send is lost, none is there twice, and no round is larger than it may be.
        #[test]
        fn no_send_is_lost_or_doubled(script in prop::collection::vec((0_usize..200, any::<u8>(), any::<bool>()), 1..40)) {
            let mut former = Former::new();
            let (mut sent, mut settled) = (0, Vec::new());
            for (arriving, held, may_wait) in script {
                let take = arriving.min(former.room());
                let arrivals = (0..take).map(|offset| {
                    let number = sent + offset;
                    Send { chat: u8::try_from(number % 8).expect("small"), number, plain: !number.is_multiple_of(5) }
                }).collect();
                sent += take;
                let round = former.form(arrivals);
                prop_assert!(round.plain.len() + round.rich.len() <= BATCH_MAX);
                for part in [round.plain, round.rich] {
                    let (skipped, done): (Vec<_>, Vec<_>) =
                        part.into_iter().partition(|pending| held & (1 << pending.job.chat) != 0);
                    if !done.is_empty() {
                        former.progressed();
                    }
                    settled.extend(done.into_iter().map(|pending| pending.job.number));
                    let waiting = former.defer(skipped, || may_wait);
                    settled.extend(waiting.into_values().flatten().map(|send| send.number));
                }
            }
            let rest = former.form(Vec::new());
            settled.extend(rest.plain.into_iter().chain(rest.rich).map(|pending| pending.job.number));
            settled.sort_unstable();
            prop_assert_eq!(settled, (0..sent).collect::<Vec<_>>());
        }
    }
}
