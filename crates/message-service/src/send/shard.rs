//! One shard: takes what has come, makes a batch, hands it to the store, answers, and goes on.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use tidings_db::Error;
use tidings_ids::ChatId;
use tidings_rpc::Drain;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    former::{Former, Pending, Sendable},
    item::{Item, Outcome, SendError},
};
use crate::bus::Bus;

/// The pause after a round in which every row was held by somebody else (`performance.md`, D6.5).
const BRAKE: Duration = Duration::from_millis(1);

/// What the batcher needs of a database.
pub(crate) trait Store: Send + 'static {
    /// Stores the items in one transaction, passing over chats that are held. The outcomes stand in the items' order.
    fn send(&mut self, items: &[Arc<Item>]) -> impl Future<Output = Result<Vec<Outcome>, Failure>> + Send;

    /// What waits for held rows, apart from `send`.
    type Patient: Patient;

    /// See [`Patient`].
    fn patient(&self) -> Self::Patient;
}

/// The part of a store that waits for the row of one chat.
pub(crate) trait Patient: Send + Sync + 'static {
    /// Stores items of one chat in one transaction, waiting for its row.
    fn send_waiting(&self, items: &[Arc<Item>]) -> impl Future<Output = Result<Vec<Outcome>, Failure>> + Send;
}

/// Why there are no outcomes.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no connection; nothing was sent on its way.
    Unavailable,
    /// The connection broke: stored or not.
    Unknown,
    /// The database refused the transaction, perhaps because of one of its items.
    Refused(Error),
}

/// A send and who waits for its answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) item: Arc<Item>,
    pub(crate) reply: oneshot::Sender<Result<Outcome, SendError>>,
    pub(crate) deadline: Option<Instant>,
}

impl Job {
    fn answer(self, answer: Result<Outcome, SendError>) {
        // Whoever gave up waiting learns it by repeating the call.
        let _ = self.reply.send(answer);
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Sendable for Job {
    fn chat_id(&self) -> ChatId {
        self.item.chat_id
    }

    fn is_plain(&self) -> bool {
        self.item.is_plain()
    }
}

/// The loop's state.
pub(crate) struct Shard<S> {
    store: S,
    bus: Bus,
    former: Former<Job>,
    waits: Arc<Semaphore>,
    waiting: JoinSet<()>,
}

impl<S: Store> Shard<S> {
    /// `waits` bounds the chats that are waited for at once, each on a connection of the pool.
    pub(crate) fn new(store: S, bus: Bus, waits: Arc<Semaphore>) -> Self {
        Self {
            store,
            bus,
            former: Former::new(),
            waits,
            waiting: JoinSet::new(),
        }
    }

    /// Works until the process drains and nothing has come for `quiet`; what is queued by then is finished.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Job>, drain: Drain, quiet: Duration) {
        while let Some(arrivals) = self.take(&mut queue, &drain, quiet).await {
            self.round(arrivals).await;
            while self.waiting.try_join_next().is_some() {}
        }
        while self.waiting.join_next().await.is_some() {}
    }

    /// What the next round begins with; `None` when there is nothing left to do.
    async fn take(&mut self, queue: &mut mpsc::Receiver<Job>, drain: &Drain, quiet: Duration) -> Option<Vec<Job>> {
        let room = self.former.room();
        let mut arrivals = Vec::new();
        if self.former.has_deferred() {
            if self.former.needs_brake() {
                sleep(BRAKE).await;
            }
            while arrivals.len() < room
                && let Ok(job) = queue.try_recv()
            {
                arrivals.push(job);
            }
            return Some(arrivals);
        }
        let received = if drain.has_begun() {
            timeout(quiet, queue.recv_many(&mut arrivals, room))
                .await
                .unwrap_or_else(|_| {
                    // From now on sends are refused as draining; those that slipped in before are still taken.
                    queue.close();
                    0
                })
        } else {
            tokio::select! {
                received = queue.recv_many(&mut arrivals, room) => received,
                () = drain.begun() => return Some(Vec::new()),
            }
        };
        if received == 0 {
            while let Ok(job) = queue.try_recv() {
                arrivals.push(job);
            }
        }
        (!arrivals.is_empty()).then_some(arrivals)
    }

    /// One round: everything put off before, and the arrivals.
    pub(crate) async fn round(&mut self, arrivals: Vec<Job>) {
        let round = self.former.form(arrivals);
        for part in [round.plain, round.rich] {
            let (late, part): (Vec<_>, Vec<_>) = part.into_iter().partition(|pending| pending.job.is_late());
            for pending in late {
                pending.job.answer(Err(SendError::DeadlineExceeded));
            }
            if !part.is_empty() {
                self.batch(part).await;
            }
        }
    }

    async fn batch(&mut self, part: Vec<Pending<Job>>) {
        let items: Vec<Arc<Item>> = part.iter().map(|pending| Arc::clone(&pending.job.item)).collect();
        match self.store.send(&items).await {
            Ok(outcomes) => self.settle(part, outcomes),
            Err(Failure::Refused(error)) if part.len() > 1 => {
                // One of them may be at fault; the others should not pay for it.
                tracing::warn!(%error, items = part.len(), "a batch was refused; its members are tried singly");
                for pending in part {
                    // Where each try takes long, the shard's other chats should not wait for answers that nobody waits for.
                    if pending.job.is_late() {
                        pending.job.answer(Err(SendError::DeadlineExceeded));
                        continue;
                    }
                    let outcome = self.store.send(&[Arc::clone(&pending.job.item)]).await;
                    match outcome {
                        Ok(outcomes) => self.settle(vec![pending], outcomes),
                        Err(failure) => self.fail(vec![pending.job], failure),
                    }
                }
            }
            Err(failure) => self.fail(part.into_iter().map(|pending| pending.job).collect(), failure),
        }
    }

    fn settle(&mut self, part: Vec<Pending<Job>>, outcomes: Vec<Outcome>) {
        let (skipped, done): (Vec<_>, Vec<_>) = part
            .into_iter()
            .zip(outcomes)
            .partition(|(_, outcome)| *outcome == Outcome::Deferred);
        if !done.is_empty() {
            self.former.progressed();
        }
        let done = done.into_iter().map(|(pending, outcome)| (pending.job, outcome));
        tell(&self.bus, done.collect());

        let skipped: Vec<Pending<Job>> = skipped.into_iter().map(|(pending, _)| pending).collect();
        if skipped.is_empty() {
            return;
        }
        let mut permits = Vec::new();
        let groups = self.former.defer(skipped, || {
            let permit = Arc::clone(&self.waits).try_acquire_owned();
            permit.map(|permit| permits.push(permit)).is_ok()
        });
        for (group, permit) in groups.into_values().zip(permits) {
            let (patient, bus) = (self.store.patient(), self.bus.clone());
            self.waiting.spawn(async move {
                wait(&patient, &bus, group).await;
                drop(permit);
            });
        }
    }

    fn fail(&mut self, jobs: Vec<Job>, failure: Failure) {
        self.former.progressed();
        answer_all(jobs, failure);
    }
}

/// Sends of one chat that wait for its row. In slow mode one of each sender is decided at a time, so some may be put off again.
async fn wait<P: Patient>(patient: &P, bus: &Bus, mut group: Vec<Job>) {
    while !group.is_empty() {
        let (late, due): (Vec<_>, Vec<_>) = group.into_iter().partition(Job::is_late);
        late.into_iter()
            .for_each(|job| job.answer(Err(SendError::DeadlineExceeded)));
        if due.is_empty() {
            return;
        }
        let items: Vec<Arc<Item>> = due.iter().map(|job| Arc::clone(&job.item)).collect();
        group = match patient.send_waiting(&items).await {
            Ok(outcomes) => tell_done(bus, due, outcomes),
            // Not the fault of one of them, which waiting again would show.
            Err(Failure::Refused(error)) if due.len() > 1 && !matches!(error, Error::Conflict(_)) => {
                tracing::warn!(%error, items = due.len(), "a batch was refused; its members are tried singly");
                let mut rest = Vec::new();
                for job in due {
                    if job.is_late() {
                        job.answer(Err(SendError::DeadlineExceeded));
                        continue;
                    }
                    match patient.send_waiting(&[Arc::clone(&job.item)]).await {
                        Ok(outcomes) => rest.extend(tell_done(bus, vec![job], outcomes)),
                        Err(failure) => answer_all(vec![job], failure),
                    }
                }
                rest
            }
            Err(failure) => return answer_all(due, failure),
        };
    }
}

/// Answers what is decided, and returns what is put off.
fn tell_done(bus: &Bus, jobs: Vec<Job>, outcomes: Vec<Outcome>) -> Vec<Job> {
    let (deferred, done): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .zip(outcomes)
        .partition(|(_, outcome)| *outcome == Outcome::Deferred);
    tell(bus, done);
    deferred.into_iter().map(|(job, _)| job).collect()
}

/// Wakes the followers of what was stored, and answers.
fn tell(bus: &Bus, done: Vec<(Job, Outcome)>) {
    let moved: BTreeSet<ChatId> = done
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Stored { .. }))
        .map(|(job, _)| job.item.chat_id)
        .collect();
    bus.moved(moved, []);
    for (job, outcome) in done {
        job.answer(Ok(outcome));
    }
}

fn answer_all(jobs: Vec<Job>, failure: Failure) {
    let mut error = match failure {
        Failure::Refused(error) => Some(error),
        Failure::Unavailable => return jobs.into_iter().for_each(|job| job.answer(Err(SendError::Unavailable))),
        Failure::Unknown => {
            return jobs
                .into_iter()
                .for_each(|job| job.answer(Err(SendError::CommitUnknown)));
        }
    };
    for job in jobs {
        // An error cannot be cloned: the first gets it whole, and it is logged once.
        job.answer(Err(error.take().map_or(SendError::Contended, SendError::Database)));
    }
}
