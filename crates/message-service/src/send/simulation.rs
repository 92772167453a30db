//! The batcher over a database in memory, with a clock that only moves when nothing else can: what Postgres does, and what it can do
//! wrong, is scripted.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use proptest::prelude::*;
use tidings_ids::{ChatId, Source};
use time::OffsetDateTime;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use super::{
    item::{Item, Outcome, SendError},
    shard::{Failure, Job, Patient, Shard, Store},
};
use crate::{bus::Bus, requests::Method};

/// A database of chats, shared by a shard's connection and those that wait.
#[derive(Clone, Default)]
struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The texts of each chat, by sequence.
    stored: HashMap<ChatId, Vec<Arc<Item>>>,
    /// Chats whose rows somebody holds, and until when.
    held: HashMap<ChatId, Instant>,
    /// What the next calls meet instead of an answer.
    failures: Vec<Trouble>,
    calls: usize,
    waits: usize,
    largest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// There is no connection.
    Unavailable,
    /// The connection breaks, before or after the commit.
    Broken { committed: bool },
}

impl Memory {
    fn hold(&self, chat_id: ChatId, time: Duration) {
        self.state.lock().held.insert(chat_id, Instant::now() + time);
    }

    fn is_held(&self, chat_id: ChatId) -> bool {
        self.state
            .lock()
            .held
            .get(&chat_id)
            .is_some_and(|until| Instant::now() < *until)
    }

    /// One transaction over the items that are not held.
    fn commit(&self, items: &[Arc<Item>]) -> Result<Vec<Outcome>, Failure> {
        let held: HashSet<ChatId> = items
            .iter()
            .map(|item| item.chat_id)
            .filter(|chat_id| self.is_held(*chat_id))
            .collect();
        let mut state = self.state.lock();
        state.calls += 1;
        state.largest = state.largest.max(items.len());
        let trouble = state.failures.pop();
        if trouble == Some(Trouble::Unavailable) {
            return Err(Failure::Unavailable);
        }
        if items.iter().any(|item| item.text == "poison") {
            return Err(Failure::Refused(tidings_db::Error::Bug(sqlx::Error::RowNotFound)));
        }
        let mut outcomes = Vec::new();
        if trouble != Some(Trouble::Broken { committed: false }) {
            for item in items {
                outcomes.push(if held.contains(&item.chat_id) {
                    Outcome::Deferred
                } else {
                    state.store(item)
                });
            }
        }
        if trouble.is_some() {
            Err(Failure::Unknown)
        } else {
            Ok(outcomes)
        }
    }
}

impl State {
    fn store(&mut self, item: &Arc<Item>) -> Outcome {
        let chat = self.stored.entry(item.chat_id).or_default();
        if let Some(place) = chat.iter().position(|stored| stored.request_id == item.request_id) {
            return Outcome::Repeated {
                message_id: chat[place].message_id,
                sequence: i64::try_from(place + 1).expect("small"),
            };
        }
        chat.push(Arc::clone(item));
        let sequence = i64::try_from(chat.len()).expect("small");
        Outcome::Stored {
            sequence,
            create_time: OffsetDateTime::UNIX_EPOCH,
        }
    }
}

impl Store for Memory {
    type Patient = Self;

    async fn send(&mut self, items: &[Arc<Item>]) -> Result<Vec<Outcome>, Failure> {
        sleep(Duration::from_millis(1)).await;
        self.commit(items)
    }

    fn patient(&self) -> Self {
        self.clone()
    }
}

impl Patient for Memory {
    async fn send_waiting(&self, items: &[Arc<Item>]) -> Result<Vec<Outcome>, Failure> {
        self.state.lock().waits += 1;
        assert!(
            items.iter().all(|item| item.chat_id == items[0].chat_id),
            "one chat is waited for"
        );
        let until = self.state.lock().held.get(&items[0].chat_id).copied();
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        self.commit(items)
    }
}

/// A shard over a memory, and who sends to it.
struct Scene {
    source: Source,
    memory: Memory,
    bus: Bus,
    sender: mpsc::Sender<Job>,
}

type Answer = oneshot::Receiver<Result<Outcome, SendError>>;

impl Scene {
    fn begin() -> Self {
        let (memory, bus) = (Memory::default(), Bus::new(false));
        let (sender, receiver) = mpsc::channel(10_000);
        let shard = Shard::new(memory.clone(), bus.clone(), Arc::new(tokio::sync::Semaphore::new(3)));
        tokio::spawn(shard.run(receiver, tidings_rpc::Drain::new(), Duration::from_millis(1)));
        Self {
            source: Source::seeded(1),
            memory,
            bus,
            sender,
        }
    }

    fn item(&self, chat_id: ChatId, text: &str) -> Arc<Item> {
        Arc::new(Item {
            chat_id,
            caller_id: self.source.new_id(),
            method: Method::SendMessage,
            request_id: self.source.new_id(),
            request_hash: 0,
            message_id: self.source.new_id(),
            text: text.to_owned(),
            metadata: std::collections::BTreeMap::new(),
            reply_to: None,
            attachment_ids: Vec::new(),
            response_to: None,
        })
    }

    fn send(&self, item: &Arc<Item>, deadline: Option<Instant>) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.sender
            .try_send(Job {
                item: Arc::clone(item),
                reply,
                deadline,
            })
            .expect("there is room");
        answer
    }

    fn texts(&self, chat_id: ChatId) -> Vec<String> {
        let state = self.memory.state.lock();
        state
            .stored
            .get(&chat_id)
            .into_iter()
            .flatten()
            .map(|item| item.text.clone())
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_batch_commits_shares_the_next_one() {
    let scene = Scene::begin();
    let chat_id = scene.source.new_id();
    let answers: Vec<Answer> = (0..300)
        .map(|number| scene.send(&scene.item(chat_id, &number.to_string()), None))
        .collect();
    for answer in answers {
        assert!(matches!(answer.await, Ok(Ok(Outcome::Stored { .. }))));
    }
    let state = scene.memory.state.lock();
    assert_eq!((state.calls, state.largest), (3, 128));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_fails_alone() {
    let scene = Scene::begin();
    let chat_id = scene.source.new_id();
    let [good, poison, better] = ["good", "poison", "better"].map(|text| scene.send(&scene.item(chat_id, text), None));
    assert!(matches!(good.await, Ok(Ok(Outcome::Stored { sequence: 1, .. }))));
    assert!(matches!(poison.await, Ok(Err(SendError::Database(_)))));
    assert!(matches!(better.await, Ok(Ok(Outcome::Stored { sequence: 2, .. }))));
}

#[tokio::test(start_paused = true)]
async fn what_grows_late_while_a_refused_batch_is_tried_singly_is_not_tried() {
    let scene = Scene::begin();
    let chat_id = scene.source.new_id();
    let [good, poison] = ["good", "poison"].map(|text| scene.send(&scene.item(chat_id, text), None));
    let soon = Instant::now() + Duration::from_millis(2);
    let late = scene.send(&scene.item(chat_id, "late"), Some(soon));
    assert!(matches!(good.await, Ok(Ok(Outcome::Stored { .. }))));
    assert!(matches!(poison.await, Ok(Err(SendError::Database(_)))));
    assert!(matches!(late.await, Ok(Err(SendError::DeadlineExceeded))));
    assert_eq!(scene.texts(chat_id), ["good"]);
}

#[tokio::test(start_paused = true)]
async fn a_held_chat_is_waited_for_apart() {
    let scene = Scene::begin();
    let [held, free] = [scene.source.new_id(), scene.source.new_id()];
    scene.memory.hold(held, Duration::from_secs(1));
    let begun = Instant::now();
    let waiting: Vec<Answer> = (0..5).map(|_| scene.send(&scene.item(held, "held"), None)).collect();
    for _ in 0..20 {
        assert!(matches!(scene.send(&scene.item(free, "free"), None).await, Ok(Ok(_))));
    }
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    for answer in waiting {
        assert!(matches!(answer.await, Ok(Ok(Outcome::Stored { .. }))));
    }
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(scene.memory.state.lock().waits, 1, "all of a chat wait together");
}

#[tokio::test(start_paused = true)]
async fn what_is_late_is_not_tried() {
    let scene = Scene::begin();
    let chat_id = scene.source.new_id();
    let late = scene.send(&scene.item(chat_id, "late"), Some(Instant::now()));
    assert!(matches!(late.await, Ok(Err(SendError::DeadlineExceeded))));
    let in_time = scene.send(
        &scene.item(chat_id, "in time"),
        Some(Instant::now() + Duration::from_secs(1)),
    );
    assert!(matches!(in_time.await, Ok(Ok(_))));
    assert_eq!(scene.texts(chat_id), ["in time"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_leaves_the_outcome_open_and_a_repetition_finds_it() {
    for committed in [false, true] {
        let scene = Scene::begin();
        let chat_id = scene.source.new_id();
        let item = scene.item(chat_id, "once");
        scene.memory.state.lock().failures = vec![Trouble::Broken { committed }];
        assert!(matches!(
            scene.send(&item, None).await,
            Ok(Err(SendError::CommitUnknown))
        ));
        let again = scene.send(&item, None).await.expect("answered").expect("stored");
        assert_eq!(matches!(again, Outcome::Repeated { .. }), committed);
        assert_eq!(scene.texts(chat_id), ["once"]);
    }
}

#[tokio::test(start_paused = true)]
async fn followers_are_woken_by_what_was_stored() {
    let scene = Scene::begin();
    let chat_id: ChatId = scene.source.new_id();
    let mut follower = scene.bus.subscribe();
    scene
        .send(&scene.item(chat_id, "hello"), None)
        .await
        .expect("answered")
        .expect("stored");
    assert_eq!(
        follower.recv().await,
        crate::bus::Moved::Logs {
            chats: [chat_id].into(),
            users: [].into()
        }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is held and whatever breaks: every send is answered; what is answered as stored is stored once, what is answered as
    /// not done is not; and with repetitions everything is stored exactly once.
    #[test]
    fn every_send_is_answered_truly(
        script in prop::collection::vec((0_u8..6, 0_u64..40, 0_u8..5), 1..80),
        failures in prop::collection::vec(prop_oneof![
            8 => Just(None),
            1 => Just(Some(Trouble::Unavailable)),
            1 => Just(Some(Trouble::Broken { committed: false })),
            1 => Just(Some(Trouble::Broken { committed: true })),
        ], 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let scene = Scene::begin();
            let chats: Vec<ChatId> = (0..6).map(|_| scene.source.new_id()).collect();
            let mut sends = Vec::new();
            let mut failures = failures.into_iter();
            for (number, (chat, hold, pause)) in script.into_iter().enumerate() {
                let chat_id = chats[usize::from(chat)];
                if hold > 30 {
                    scene.memory.hold(chat_id, Duration::from_millis(hold));
                }
                if let Some(Some(trouble)) = failures.next() {
                    scene.memory.state.lock().failures.push(trouble);
                }
                let item = scene.item(chat_id, &number.to_string());
                sends.push((scene.send(&item, None), item));
                sleep(Duration::from_millis(pause.into())).await;
            }
            let mut again = Vec::new();
            for (answer, item) in sends {
                let stored = || scene.texts(item.chat_id).iter().filter(|text| **text == item.text).count();
                match answer.await.expect("every send is answered") {
                    Ok(Outcome::Stored { .. }) => prop_assert_eq!(stored(), 1),
                    Err(SendError::Unavailable) => { prop_assert_eq!(stored(), 0); again.push(item); }
                    Err(SendError::CommitUnknown) => again.push(item),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            scene.memory.state.lock().failures.clear();
            for item in again {
                scene.send(&item, None).await.expect("answered").expect("stored, now or before");
            }
            let mut texts: Vec<String> = chats.iter().flat_map(|chat_id| scene.texts(*chat_id)).collect();
            let count = texts.len();
            texts.sort();
            texts.dedup();
            prop_assert_eq!(texts.len(), count, "none twice");
            Ok(())
        })?;
    }
}
