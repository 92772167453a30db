use tidings_proto_message::v1::{
    After, ChatPosition, DeleteScope, GetSyncStateRequest, ListMessagesRequest, SkipReason, change::Kind,
    stream_changes_response::Frame,
};

use super::client::{Stream, after, delete, edit, id_of, message_in, message_of, skipped, snapshots, sync, texts};
use crate::world::{Actor, Audience, World, wrong_fields};

async fn scene(world: &World) -> (Actor, Actor, Audience) {
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    (alice, bob, chat)
}

#[tokio::test]
async fn a_stream_begins_with_snapshots_and_goes_on_live() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    for text in ["one", "two", "three"] {
        alice.send(&chat.id, text).await.expect("sent");
    }
    let mut stream = Stream::open(&bob, None).await;
    let Frame::Opened(opened) = stream.next().await else {
        panic!("`opened` comes first")
    };
    assert!(!opened.reset);
    assert_eq!(opened.user_position, 1);
    let frames = stream.catch_up().await;
    let Some(Frame::Change(joined)) = frames.last() else {
        panic!("the user log comes last")
    };
    let Some(Kind::ChatJoined(joined)) = &joined.kind else {
        panic!("it begins with joining")
    };
    assert_eq!(
        joined.chat.as_ref().map(|chat| chat.chat_id.as_str()),
        Some(chat.id.as_str())
    );
    assert_eq!(
        joined.member.as_ref().map(|member| member.user_id.as_str()),
        Some(bob.id.as_str())
    );
    let [snapshot] = snapshots(&frames)[..] else {
        panic!("one chat")
    };
    let head = world.changes(&chat.id).await.len() as i64;
    assert_eq!(
        (id_of(snapshot), snapshot.position, snapshot.first_position),
        (chat.id.as_str(), head, 1)
    );
    assert_eq!((snapshot.last_sequence, snapshot.first_sequence), (3, 1));
    assert_eq!(
        (
            snapshot.unread_count,
            snapshot.unread_count_capped,
            snapshot.member_count
        ),
        (3, false, 2)
    );
    let listed: Vec<&str> = snapshot.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(listed, ["one", "two", "three"]);

    let sent = alice.send(&chat.id, "four").await.expect("sent");
    let change = stream.next_change().await;
    assert_eq!(
        (change.position, change.actor_id.as_str()),
        (head + 1, alice.id.as_str())
    );
    assert_eq!(message_in(&change), Some(&sent), "the message is as the sender got it");
}

#[tokio::test]
async fn a_resumed_stream_goes_on_at_the_next_position() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    let mut expected = Vec::new();
    for round in 0..5 {
        let text = format!("live {round}");
        alice.send(&chat.id, &text).await.expect("sent");
        stream.until_text(&text).await;
        let have = stream.after();
        drop(stream);
        for missed in 0..round {
            expected.push(format!("missed {round} {missed}"));
            alice
                .send(&chat.id, expected.last().expect("pushed"))
                .await
                .expect("sent");
        }
        stream = Stream::open(&bob, Some(have)).await;
        let frames = stream.catch_up().await;
        assert!(snapshots(&frames).is_empty(), "the client has something");
        assert_eq!(texts(&frames), expected);
        expected.clear();
    }
}

#[tokio::test]
async fn nothing_is_lost_between_catching_up_and_living() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    let sending = tokio::spawn({
        let (alice, chat_id) = (alice.clone(), chat.id.clone());
        async move {
            for number in 0..300 {
                alice.send(&chat_id, &format!("number {number}")).await.expect("sent");
            }
        }
    });
    let mut told = Vec::new();
    let mut have = after(&[(&chat.id, 0)]);
    while told.last().is_none_or(|last| last != "number 299") {
        let mut stream = Stream::open(&bob, Some(have)).await;
        for _ in 0..40 {
            let frame = stream.next_news().await;
            told.extend(message_of(&frame).map(|message| message.text.clone()));
            if told.last().is_some_and(|last| last == "number 299") {
                break;
            }
        }
        have = stream.after();
    }
    sending.await.expect("sent");
    let expected: Vec<String> = (0..300).map(|number| format!("number {number}")).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_list_and_a_stream_from_its_position_have_everything() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    for number in 0..20 {
        alice.send(&chat.id, &format!("before {number}")).await.expect("sent");
    }
    let state = sync(&bob)
        .get_sync_state(bob.asks(GetSyncStateRequest::default()))
        .await
        .expect("told")
        .into_inner();
    let place = state.chats.first().expect("one chat").clone();
    let list = ListMessagesRequest {
        chat_id: chat.id.clone(),
        page_size: 200,
        ..ListMessagesRequest::default()
    };
    alice.send(&chat.id, "between").await.expect("sent");
    let listed = bob.list(list).await.expect("listed").messages;
    let have = After {
        log_id: state.log_id,
        user_position: state.user_position,
        chats: vec![ChatPosition {
            chat_id: place.chat_id,
            position: place.position,
        }],
    };
    let mut stream = Stream::open(&bob, Some(have)).await;
    alice.send(&chat.id, "after").await.expect("sent");
    let mut sequences: Vec<i64> = listed.iter().map(|message| message.sequence).collect();
    let frames = stream.until_text("after").await;
    sequences.extend(frames.iter().filter_map(message_of).map(|message| message.sequence));
    sequences.dedup();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences, (1..=22).collect::<Vec<i64>>());
    assert_eq!(texts(&frames), ["between", "after"]);
}

#[tokio::test]
async fn content_is_told_as_it_is_when_it_is_read() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    let secret = alice.send(&chat.id, "a secret").await.expect("sent");
    let typo = alice.send(&chat.id, "a tyop").await.expect("sent");
    edit(&alice, &secret, "another secret").await;
    edit(&alice, &typo, "a typo").await;
    delete(&alice, &secret, DeleteScope::ForAll).await;
    let mut stream = Stream::open(&bob, Some(after(&[(&chat.id, 0)]))).await;
    let frames = stream.catch_up().await;
    assert_eq!(texts(&frames), ["", "a typo", "", "a typo", ""]);
    let kinds: Vec<&'static str> = frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Change(change) => change.kind.as_ref(),
            _ => None,
        })
        .map(|kind| match kind {
            Kind::ChatJoined(_) => "joined",
            Kind::ChatCreated(_) => "chat",
            Kind::MemberJoined(_) => "member",
            Kind::MessageCreated(_) => "created",
            Kind::MessageUpdated(_) => "updated",
            Kind::MessageDeleted(_) => "deleted",
            _ => "other",
        })
        .collect();
    let expected = [
        "chat", "member", "member", "created", "created", "updated", "updated", "deleted", "joined",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn a_live_change_after_another_of_the_same_message_replaces_it_for_late_followers() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    let mut early = Stream::open(&bob, None).await;
    early.catch_up().await;
    let late = early.after();
    let message = alice.send(&chat.id, "a secret").await.expect("sent");
    early.until_text("a secret").await;
    delete(&alice, &message, DeleteScope::ForAll).await;
    assert!(message_of(&early.next_news().await).is_some_and(|message| message.text.is_empty()));
    let mut late = Stream::open(&bob, Some(late)).await;
    assert_eq!(texts(&late.catch_up().await), ["", ""]);
}

#[tokio::test]
async fn what_one_hides_is_left_out_and_told_to_ones_other_devices() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    let mut phone = Stream::open(&bob, None).await;
    phone.catch_up().await;
    let resumed = phone.after();
    let hidden = alice.send(&chat.id, "not for me").await.expect("sent");
    phone.until_text("not for me").await;
    delete(&bob, &hidden, DeleteScope::ForMe).await;
    let change = phone.next_change().await;
    let Some(Kind::MessageHidden(told)) = change.kind else {
        panic!("{change:?}")
    };
    assert_eq!(
        (told.message_id, told.sequence),
        (hidden.message_id.clone(), hidden.sequence)
    );
    edit(&alice, &hidden, "still not").await;
    alice.send(&chat.id, "for all").await.expect("sent");
    let live = phone.until_text("for all").await;
    assert_eq!(texts(&live), ["for all"]);
    assert_eq!(
        skipped(&live).first().map(|range| range.2),
        Some(SkipReason::Hidden.into())
    );

    let mut laptop = Stream::open(&bob, Some(resumed)).await;
    let frames = laptop.catch_up().await;
    assert_eq!(texts(&frames), ["for all"]);
    assert!(
        skipped(&frames)
            .iter()
            .all(|range| range.2 == i32::from(SkipReason::Hidden))
    );
    let mut fresh = Stream::open(&bob, None).await;
    let frames = fresh.catch_up().await;
    let messages: Vec<&str> = snapshots(&frames)[0]
        .messages
        .iter()
        .map(|message| message.text.as_str())
        .collect();
    assert_eq!(messages, ["for all"]);
}

#[tokio::test]
async fn numbers_of_other_logs_are_answered_by_a_reset() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    alice.send(&chat.id, "one").await.expect("sent");
    let foreign = After {
        log_id: bob.nowhere(),
        user_position: 1,
        ..after(&[(&chat.id, 2)])
    };
    let beyond = After {
        user_position: 99,
        ..after(&[(&chat.id, 2)])
    };
    for have in [foreign, beyond] {
        let mut stream = Stream::open(&bob, Some(have)).await;
        assert!(matches!(stream.next().await, Frame::Opened(opened) if opened.reset));
        assert_eq!(snapshots(&stream.catch_up().await).len(), 1);
    }
    let mut stream = Stream::open(&bob, Some(after(&[(&chat.id, 99)]))).await;
    assert!(matches!(stream.next().await, Frame::Opened(opened) if !opened.reset));
    let frames = stream.catch_up().await;
    assert!(snapshots(&frames)[0].reset, "one chat only");
}

#[tokio::test]
async fn a_restored_database_is_another_log() {
    let (world, copy) = tokio::join!(World::begin(), World::begin());
    let deployment = async |world: &World| -> uuid::Uuid {
        sqlx::query_scalar("select deployment_id from messages.deployment")
            .fetch_one(&world.pool())
            .await
            .expect("asked")
    };
    assert_eq!(
        deployment(&world).await,
        deployment(&copy).await,
        "they were one database"
    );

    let (alice, bob, chat) = scene(&world).await;
    alice.send(&chat.id, "one").await.expect("sent");
    let (_, stranger, _) = scene(&copy).await;
    let log_id = log_of(&bob).await;
    assert_eq!(log_of(&bob).await, log_id);
    assert_ne!(log_of(&stranger).await, log_id, "a copy's positions are its own");

    let have = After {
        log_id: log_id.clone(),
        ..after(&[(&chat.id, 1)])
    };
    let mut stream = Stream::open(&bob, Some(have.clone())).await;
    assert!(matches!(stream.next().await, Frame::Opened(opened) if !opened.reset));
    // As the run-book says for a copy of the files, which looks like what it was taken of.
    sqlx::query("update messages.deployment set deployment_id = gen_random_uuid()")
        .execute(&world.pool())
        .await
        .expect("renewed");
    assert_ne!(log_of(&bob).await, log_id);
    let mut stream = Stream::open(&bob, Some(have)).await;
    assert!(matches!(stream.next().await, Frame::Opened(opened) if opened.reset));
}

async fn log_of(who: &Actor) -> String {
    let state = sync(who).get_sync_state(who.asks(GetSyncStateRequest::default())).await;
    state.expect("told").into_inner().log_id
}

#[tokio::test]
async fn what_is_no_longer_kept_is_said() {
    let world = World::begin().await;
    let (alice, bob, chat) = scene(&world).await;
    for number in 0..5 {
        alice.send(&chat.id, &format!("number {number}")).await.expect("sent");
    }
    let have = after(&[(&chat.id, 1)]);
    sqlx::query("update messages.chats set first_position = 6, first_sequence = 4 where chat_id = $1::uuid")
        .bind(&chat.id)
        .execute(&world.pool())
        .await
        .expect("the floor is moved");
    sqlx::query("delete from messages.changes where chat_id = $1::uuid and position < 6")
        .bind(&chat.id)
        .execute(&world.pool())
        .await
        .expect("what is below is dropped");
    let mut stream = Stream::open(&bob, Some(have)).await;
    let frames = stream.catch_up().await;
    // The third message's entry is kept, but not the message.
    assert_eq!(skipped(&frames), [(2, 6, i32::from(SkipReason::Retention))]);
    assert_eq!(texts(&frames), ["number 3", "number 4"]);
}

#[tokio::test]
async fn what_is_wrong_in_a_request_is_told_all_at_once() {
    let world = World::begin().await;
    let bob = world.user();
    let chat_id = bob.nowhere();
    let mut bad = after(&[(&chat_id, -1), (&chat_id, 1), ("nobody", 1)]);
    bad.log_id = "x".to_owned();
    bad.user_position = -1;
    let refused = Stream::try_open(&bob, Some(bad)).await.map(|_| ());
    assert_eq!(
        wrong_fields(refused),
        [
            "after.chats[0].position",
            "after.chats[1].chat_id",
            "after.chats[2].chat_id",
            "after.log_id",
            "after.user_position",
        ]
    );
}

#[tokio::test]
async fn many_followers_of_one_chat_are_told_the_same() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let mut streams = Vec::new();
    let mut chat = chat;
    for _ in 0..40 {
        let follower = world.user();
        chat.put(&follower, crate::world::MEMBER).await;
        let mut stream = Stream::open(&follower, None).await;
        stream.catch_up().await;
        streams.push(stream);
    }
    let sends = (0..50).map(|number| {
        let (alice, chat_id) = (alice.clone(), chat.id.clone());
        async move { alice.send(&chat_id, &format!("number {number}")).await.expect("sent") }
    });
    let sent = futures_util::future::join_all(sends).await;
    let mut expected: Vec<(i64, String)> = sent
        .into_iter()
        .map(|message| (message.sequence, message.text))
        .collect();
    expected.sort();
    for stream in &mut streams {
        let mut told = Vec::new();
        while told.len() < expected.len() {
            let frame = stream.next_news().await;
            told.extend(message_of(&frame).map(|message| (message.sequence, message.text.clone())));
        }
        assert_eq!(told, expected);
    }
}
