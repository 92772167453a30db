//! Removal is immediate (`reliability.md` G14): from its return on the removed member's calls fail, and no stream of theirs carries
//! anything above its position; also when the message service was away, and when sends race with it.

mod listener;
mod log;
mod stage;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tidings_testkit::{Actor, Process, Shape, Suite, assert_contract, request_id, until};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};

use self::{
    listener::Listener,
    log::log_of,
    stage::{Kin, Stage, assert_absent},
};

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(60);

/// Removals that race with sends.
const RACES: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_refused_at_once_in_one_process() {
    every_way_out(&Suite::start(Shape::One).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_refused_at_once_in_five_processes() {
    every_way_out(&Suite::start(Shape::Five).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_finds_the_message_service_down_holds_once_its_retry_has_returned() {
    let mut suite = Suite::start(Shape::Five).await;
    let stage = Stage::set(&suite, Kin::Group).await;
    suite.kill(Process::Message).await;

    let request_id = request_id();
    for attempt in 0..2 {
        let status = stage.remove(&request_id).await.expect_err("nobody can be told");
        assert_contract(&status);
        assert_eq!(status.code(), Code::Unavailable, "attempt {attempt}: {status:?}");
    }

    suite.spawn(Process::Message);
    let begun = Instant::now();
    // As a client does: the same request id, until it is answered.
    while let Err(status) = stage.remove(&request_id).await {
        let may_retry = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
        assert!(may_retry && begun.elapsed() < SOON, "the retry: {status:?}");
        sleep(Duration::from_millis(50)).await;
    }
    // A service that has just started trusts no token for a moment. Nothing of the removed member's goes in that moment either.
    until("the message service answers its users", SOON, || async {
        let sent = stage.member.send(&stage.chat.chat_id, "too late").await;
        assert!(sent.is_err(), "a send after the removal is answered with OK");
        stage.owner.list(&stage.chat.chat_id).await.is_ok()
    })
    .await;
    stage.nothing_goes().await;
    stage.nothing_streams().await;
    // The owner's side is whole: the removal stands in the log once, and the chat goes on.
    stage
        .owner
        .send(&stage.chat.chat_id, "after the removal")
        .await
        .expect("the owner sends");
    assert_eq!(removals_of(&stage).await, 1, "removals in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_that_race_with_sends_end_the_removed_members_view_exactly_there() {
    let suite = Suite::start(Shape::Five).await;
    let stage = Arc::new(Stage::set(&suite, Kin::Group).await);
    for round in 0..RACES {
        race(&stage, round).await;
    }
}

/// One removal while two members send as fast as they can, and the removed one listens.
async fn race(stage: &Arc<Stage>, round: usize) {
    let Stage {
        owner, member, second, ..
    } = &**stage;
    let chat = owner.group_chat(&[member, second]).await;
    let listener = Listener::open(member, None).await;
    listener.until(|heard| heard.caught_up).await;

    let (stop, stopped) = watch::channel(false);
    let sent = [(); 2].map(|()| watch::Sender::new(0));
    let counted = sent.each_ref().map(watch::Sender::subscribe);
    let mut counts = sent.into_iter();
    let senders = [member, second].map(|sender| {
        let (sender, chat_id, stopped) = (sender.clone(), chat.chat_id.clone(), stopped.clone());
        let sent = counts.next().expect("one for each");
        tokio::spawn(async move { send_until(&sender, &chat_id, &stopped, &sent).await })
    });
    // In the middle of the sends of both, at another moment of the batches in each round.
    for mut counted in counted {
        let underway = counted.wait_for(|sent| *sent > 5 + round % 4);
        timeout(SOON, underway)
            .await
            .expect("the race begins")
            .expect("the senders live");
    }
    let removed = owner.remove(&chat.group_id, member).await;
    removed.unwrap_or_else(|status| panic!("round {round}: {status:?}"));
    let late = join_all((0..5).map(|_| member.send(&chat.chat_id, "too late"))).await;
    for late in late {
        assert_absent(late, "a send after the removal");
    }
    // Others go on for a while, so that there is something to leak.
    for number in 0..5 {
        owner
            .send(&chat.chat_id, &format!("secret {number}"))
            .await
            .expect("the owner sends");
    }
    stop.send_replace(true);
    let [own, others] = join_all(senders).await.try_into().expect("two senders");
    let (own, others) = (own.expect("sends"), others.expect("sends"));
    assert!(
        others.refused.is_none(),
        "round {round}: a member was refused: {:?}",
        others.refused
    );

    assert!(!own.sent.is_empty(), "round {round}: nothing raced");
    assert_absent(own.refused.map_or(Ok(()), Err), "the racing send after the removal");
    let heard = listener.until(|heard| heard.is_done_with(&chat.chat_id)).await;
    let last = heard.left[&chat.chat_id];
    let log = log_of(owner, &chat.chat_id).await;
    let removal = log
        .iter()
        .find(|entry| entry.removes.as_deref() == Some(member.user_id.as_str()));
    let removal = removal.expect("the removal stands in the log").position;
    assert_eq!(last, removal, "round {round}: the last visible position");
    let positions = &heard.positions[&chat.chat_id];
    assert_eq!(
        positions.last(),
        Some(&removal),
        "round {round}: where the removed member's stream ends"
    );
    let first = heard.snapshots.get(&chat.chat_id).map_or(1, |position| position + 1);
    let expected: Vec<i64> = (first..=removal).collect();
    assert_eq!(positions, &expected, "round {round}: what the stream carried");
    // What was answered with OK to the removed member stands before the removal.
    for message_id in &own.sent {
        let entry = log.iter().find(|entry| entry.creates.as_ref() == Some(message_id));
        assert!(
            entry.expect("what was acknowledged is there").position < removal,
            "round {round}"
        );
    }
    // Nothing comes later either: the stream has lived on past the chat's newest change.
    owner
        .send(&chat.chat_id, "the last secret")
        .await
        .expect("the owner sends");
    let other = owner.direct_chat(member).await;
    let marker = owner.send(&other.chat_id, "the end").await.expect("the owner sends");
    let heard = listener
        .until(|heard| heard.messages.contains(&marker.message_id))
        .await;
    assert_eq!(
        heard.positions[&chat.chat_id].last(),
        Some(&removal),
        "round {round}: something leaked later"
    );
    assert!(
        !heard.texts.iter().any(|text| text.contains("secret")),
        "round {round}: a secret leaked"
    );
}

/// What a sender of the race was told.
#[derive(Debug, Default)]
struct Told {
    sent: Vec<String>,
    refused: Option<Status>,
}

async fn send_until(
    sender: &Actor,
    chat_id: &str,
    stopped: &watch::Receiver<bool>,
    sent: &watch::Sender<usize>,
) -> Told {
    let mut told = Told::default();
    while !*stopped.borrow() {
        match sender.send(chat_id, "in the race").await {
            Ok(message) => {
                told.sent.push(message.message_id);
                sent.send_modify(|sent| *sent += 1);
            }
            Err(status) => {
                assert_contract(&status);
                told.refused = Some(status);
                break;
            }
        }
    }
    told
}

/// Each way in which a membership ends.
async fn every_way_out(suite: &Suite) {
    for (kin, itself) in [
        (Kin::Group, false),
        (Kin::Conversation, false),
        (Kin::Group, true),
        (Kin::Conversation, true),
    ] {
        let stage = Stage::set(suite, kin).await;
        let listener = Listener::open(&stage.member, None).await;
        listener
            .until(|heard| heard.caught_up && heard.snapshots.contains_key(&stage.chat.chat_id))
            .await;
        let before = stage
            .owner
            .send(&stage.chat.chat_id, "before")
            .await
            .expect("the owner sends");
        let ended = if itself {
            stage.leave().await
        } else {
            stage.remove(&request_id()).await
        };
        ended.unwrap_or_else(|status| panic!("{kin:?}, itself {itself}: {status:?}"));

        stage.nothing_goes().await;
        stage
            .owner
            .send(&stage.chat.chat_id, "a secret")
            .await
            .expect("the owner sends");
        stage.nothing_streams().await;
        let heard = listener.until(|heard| heard.is_done_with(&stage.chat.chat_id)).await;
        let last = heard.left[&stage.chat.chat_id];
        assert!(
            heard.messages.contains(&before.message_id),
            "{kin:?}: what came before is heard"
        );
        assert!(
            !heard.texts.iter().any(|text| text == "a secret"),
            "{kin:?}: what came after is not"
        );
        let positions = &heard.positions[&stage.chat.chat_id];
        assert_eq!(
            positions.last(),
            Some(&last),
            "{kin:?}, itself {itself}: where the stream ends"
        );
        let log = log_of(&stage.owner, &stage.chat.chat_id).await;
        let removal = log
            .iter()
            .find(|entry| entry.removes.as_deref() == Some(stage.member.user_id.as_str()));
        assert_eq!(
            removal.expect("it stands in the log").position,
            last,
            "{kin:?}, itself {itself}"
        );
    }
}

async fn removals_of(stage: &Stage) -> usize {
    let log = log_of(&stage.owner, &stage.chat.chat_id).await;
    let removals = log
        .iter()
        .filter(|entry| entry.removes.as_deref() == Some(stage.member.user_id.as_str()));
    removals.count()
}
