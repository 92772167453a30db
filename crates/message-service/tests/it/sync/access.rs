use std::time::Duration;

use tidings_proto_common::v1::{ChatHistory, RemovalReason};
use tidings_proto_message::v1::{
    Left, SkipReason,
    change::{Kind, Scope},
    stream_changes_response::Frame,
};

use super::client::{Stream, after, edit, message_of, pull_all, skipped, snapshots, texts};
use crate::world::{MEMBER, World};

#[tokio::test]
async fn a_removal_ends_a_chat_exactly_there() {
    // Hints come in the order of what they tell of, which polls do not keep between two logs.
    let world = World::begin_with(|config| config.sync.poll_interval = Duration::from_secs(600)).await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice, &bob]).await;
    let other = world.conversation(&[&alice, &bob]).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    alice.send(&chat.id, "the last that bob sees").await.expect("sent");
    chat.remove(&bob).await;
    alice.send(&chat.id, "not for bob").await.expect("sent");
    alice.send(&other.id, "elsewhere").await.expect("sent");

    stream.until_text("the last that bob sees").await;
    let frames = stream.until_text("elsewhere").await;
    let end = world
        .changes(&chat.id)
        .await
        .iter()
        .find(|change| change.1 == 18)
        .expect("a removal")
        .0;
    let mut of_chat = frames.iter().filter_map(|frame| match frame {
        Frame::Change(change) => Some(change),
        _ => None,
    });
    let removal = of_chat.next().expect("the removal");
    assert_eq!(
        (removal.position, &removal.scope),
        (end, &Some(Scope::ChatId(chat.id.clone())))
    );
    let Some(Kind::MemberRemoved(removed)) = &removal.kind else {
        panic!("{removal:?}")
    };
    assert_eq!(
        (removed.user_id.as_str(), removed.reason()),
        (bob.id.as_str(), RemovalReason::Removed)
    );
    let left = of_chat.find_map(|change| match &change.kind {
        Some(Kind::ChatLeft(left)) => Some(left),
        _ => None,
    });
    assert_eq!(
        left.map(|left| (left.chat_id.as_str(), left.last_visible_position)),
        Some((chat.id.as_str(), end))
    );
    assert_eq!(texts(&frames), ["elsewhere"]);
    assert!(!stream.have.contains_key(&chat.id));
}

#[tokio::test]
async fn no_stream_carries_anything_from_after_a_removal_under_load() {
    let world = World::begin().await;
    let alice = world.user();
    let mut chat = world.conversation(&[&alice]).await;
    let followers: Vec<_> = (0..8).map(|_| world.user()).collect();
    let mut streams = Vec::new();
    for follower in &followers {
        chat.put(follower, MEMBER).await;
        let mut stream = Stream::open(follower, None).await;
        stream.catch_up().await;
        streams.push(stream);
    }
    let sending = tokio::spawn({
        let (alice, chat_id) = (alice.clone(), chat.id.clone());
        async move {
            let mut last = None;
            for number in 0..200 {
                let message = alice.send(&chat_id, &format!("number {number}")).await.expect("sent");
                if number % 3 == 0 {
                    edit(&alice, &message, &format!("number {number}, edited")).await;
                }
                last = Some(message);
            }
            last
        }
    });
    for (follower, stream) in followers.iter().zip(&mut streams) {
        chat.remove(follower).await;
        let end = loop {
            let frame = stream.next_news().await;
            if let Frame::Change(change) = frame
                && let Some(Kind::ChatLeft(left)) = change.kind
            {
                break left.last_visible_position;
            }
        };
        let removal = world
            .changes(&chat.id)
            .await
            .into_iter()
            .find(|change| change.1 == 18 && change.2.as_deref() == Some(follower.id.as_str()));
        assert_eq!(removal.map(|change| change.0), Some(end));
    }
    sending.await.expect("sent");
    for (follower, stream) in followers.iter().zip(&mut streams) {
        // Whatever else were told would be told before this.
        let marker = world.conversation(&[&alice, follower]).await;
        alice.send(&marker.id, "the end").await.expect("sent");
        loop {
            let frame = stream.next_news().await;
            if let Frame::Change(change) = &frame {
                assert_ne!(
                    change.scope,
                    Some(Scope::ChatId(chat.id.clone())),
                    "nothing of the chat after its end"
                );
            }
            let in_snapshot = snapshots(std::slice::from_ref(&frame))
                .iter()
                .any(|snapshot| !snapshot.messages.is_empty());
            if in_snapshot || message_of(&frame).is_some_and(|message| message.text == "the end") {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_chat_that_one_joins_appears_in_an_open_stream() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    let mut chat = world.conversation(&[&alice]).await;
    alice.send(&chat.id, "before").await.expect("sent");
    chat.put(&bob, MEMBER).await;
    let joined = stream.next_change().await;
    assert!(matches!(joined.kind, Some(Kind::ChatJoined(_))), "{joined:?}");
    let Frame::Snapshot(snapshot) = stream.next_news().await else {
        panic!("a snapshot follows")
    };
    assert_eq!(snapshot.messages.len(), 1, "the history is open");
    alice.send(&chat.id, "after").await.expect("sent");
    assert_eq!(texts(&stream.until_text("after").await), ["after"]);

    chat.remove(&bob).await;
    let removed = stream.next_change().await;
    assert!(matches!(removed.kind, Some(Kind::MemberRemoved(_))), "{removed:?}");
    assert!(matches!(stream.next_change().await.kind, Some(Kind::ChatLeft(_))));
    chat.put(&bob, MEMBER).await;
    assert!(matches!(stream.next_change().await.kind, Some(Kind::ChatJoined(_))));
    assert!(matches!(stream.next_news().await, Frame::Snapshot(snapshot) if !snapshot.reset));
    alice.send(&chat.id, "again").await.expect("sent");
    stream.until_text("again").await;
}

#[tokio::test]
async fn a_group_s_chats_come_and_go_with_the_membership() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut group = world.audience(&alice);
    group.put(&alice, MEMBER).await;
    let first = group.add_chat(ChatHistory::Full).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    group.put(&bob, MEMBER).await;
    let second = group.add_chat(ChatHistory::Full).await;
    let mut begun = Vec::new();
    while begun.len() < 2 {
        if let Frame::Snapshot(snapshot) = stream.next_news().await {
            begun.push(snapshot.chat.expect("a chat").chat_id);
        }
    }
    assert_eq!(begun, [first.clone(), second.clone()]);
    group.remove_chat(&first).await;
    let deleted = stream.next_change().await;
    assert_eq!(
        (deleted.scope, deleted.kind.is_some()),
        (Some(Scope::ChatId(first.clone())), true)
    );
    let Some(Kind::ChatLeft(left)) = stream.next_change().await.kind else {
        panic!("the chat is left")
    };
    assert_eq!(
        (left.chat_id.as_str(), left.reason()),
        (first.as_str(), RemovalReason::Deleted)
    );
    group.end().await;
    assert!(matches!(stream.next_change().await.kind, Some(Kind::ChatDeleted(_))));
    assert!(matches!(stream.next_change().await.kind, Some(Kind::ChatLeft(_))));
    assert!(stream.have.is_empty());
}

#[tokio::test]
async fn a_chat_that_one_may_not_see_is_left_and_no_error() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user(), world.user(), world.user()];
    let mut former = world.conversation(&[&alice, &bob]).await;
    former.remove(&bob).await;
    alice.send(&former.id, "not for bob").await.expect("sent");
    let foreign = world.conversation(&[&alice, &carol]).await;
    let mut own = world.conversation(&[&alice, &bob]).await;
    let nowhere = bob.nowhere();
    let end = world
        .changes(&former.id)
        .await
        .iter()
        .find(|change| change.1 == 18)
        .expect("a removal")
        .0;
    let have = after(&[(&former.id, 2), (&foreign.id, 3), (&nowhere, 3), (&own.id, 0)]);
    let mut stream = Stream::open(&bob, Some(have.clone())).await;
    let frames = stream.catch_up().await;
    let mut lefts: Vec<(String, i64)> = frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Left(left) => Some((left.chat_id.clone(), left.last_visible_position)),
            _ => None,
        })
        .collect();
    let mut expected = vec![(former.id.clone(), end), (foreign.id.clone(), 0), (nowhere, 0)];
    lefts.sort();
    expected.sort();
    assert_eq!(lefts, expected);
    assert!(snapshots(&frames).is_empty());
    assert!(texts(&frames).is_empty());

    let pages = pull_all(&bob, Some(have), 0).await;
    let mut lefts: Vec<(String, i64)> = pages
        .iter()
        .flat_map(|page| &page.left)
        .map(
            |Left {
                 chat_id,
                 last_visible_position,
             }| (chat_id.clone(), *last_visible_position),
        )
        .collect();
    lefts.sort();
    assert_eq!(lefts, expected);

    own.remove(&bob).await;
    let mut stream = Stream::open(&bob, Some(after(&[(&own.id, 1)]))).await;
    let frames = stream.catch_up().await;
    assert!(
        frames
            .iter()
            .any(|frame| matches!(frame, Frame::Left(left) if left.last_visible_position == 4))
    );
}

#[tokio::test]
async fn a_history_from_joining_shows_nothing_from_before() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world
        .conversation_with(&[&alice], |facts| facts.history = ChatHistory::FromJoining.into())
        .await;
    let old = alice.send(&chat.id, "before").await.expect("sent");
    chat.put(&bob, MEMBER).await;
    let joined = world.changes(&chat.id).await.len() as i64;
    let not_visible = i32::from(SkipReason::NotVisible);

    let mut live = Stream::open(&bob, None).await;
    let frames = live.catch_up().await;
    let snapshot = snapshots(&frames)[0];
    assert!(snapshot.messages.is_empty());
    assert_eq!(
        (snapshot.first_position, snapshot.first_sequence, snapshot.unread_count),
        (joined, 2, 0)
    );

    alice.send(&chat.id, "after").await.expect("sent");
    live.until_text("after").await;
    edit(&alice, &old, "before, edited").await;
    alice.send(&chat.id, "last").await.expect("sent");
    let frames = live.until_text("last").await;
    assert_eq!(texts(&frames), ["last"]);
    assert_eq!(skipped(&frames), [(joined + 2, joined + 2, not_visible)]);

    let mut resumed = Stream::open(&bob, Some(after(&[(&chat.id, 0)]))).await;
    let frames = resumed.catch_up().await;
    assert_eq!(
        skipped(&frames),
        [(1, joined - 1, not_visible), (joined + 2, joined + 2, not_visible)]
    );
    assert_eq!(texts(&frames), ["after", "last"]);

    // Joining again does not show the time between.
    let have = resumed.after();
    chat.remove(&bob).await;
    alice.send(&chat.id, "between").await.expect("sent");
    chat.put(&bob, MEMBER).await;
    alice.send(&chat.id, "again").await.expect("sent");
    let mut resumed = Stream::open(&bob, Some(have)).await;
    let frames = resumed.catch_up().await;
    assert_eq!(texts(&frames), ["again"]);
    assert_eq!(skipped(&frames), [(joined + 4, joined + 5, not_visible)]);
}

#[tokio::test]
async fn closing_the_history_closes_it_in_open_streams() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice]).await;
    let old = alice.send(&chat.id, "before").await.expect("sent");
    chat.put(&bob, MEMBER).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    edit(&alice, &old, "before, edited").await;
    stream.until_text("before, edited").await;
    chat.update(|facts| facts.history = ChatHistory::FromJoining.into())
        .await;
    edit(&alice, &old, "before, edited again").await;
    alice.send(&chat.id, "last").await.expect("sent");
    let frames = stream.until_text("last").await;
    assert_eq!(texts(&frames), ["last"]);
    assert_eq!(skipped(&frames).len(), 1);
}
