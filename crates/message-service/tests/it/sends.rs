use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tidings_proto_common::v1::{ChatHistory, ErrorReason};
use tidings_proto_message::v1::{DeleteMessageRequest, DeleteScope, MessageType, SendMessageRequest};
use tonic_types::StatusExt as _;

use crate::world::{MEMBER, World, reason, wrong_fields};

#[tokio::test]
async fn a_sent_message_is_answered_as_it_is_stored() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let first = alice.send(&chat.id, "one").await.expect("sent");
    let request = SendMessageRequest {
        reply_to_message_id: first.message_id.clone(),
        metadata: BTreeMap::from([("key".to_owned(), "välue".to_owned())]),
        ..bob.message(&chat.id, "  two\n\t😀 \u{202E}")
    };
    let second = bob.send_as(request).await.expect("sent");
    assert_eq!((first.sequence, second.sequence), (1, 2));
    assert_eq!(
        (second.sender_id.as_str(), second.chat_id.as_str()),
        (bob.id.as_str(), chat.id.as_str())
    );
    assert_eq!(second.text, "  two\n\t😀 \u{202E}");
    assert_eq!((second.revision, second.etag.as_str()), (1, "1"));
    assert_eq!(second.r#type(), MessageType::Text);
    for actor in [&alice, &bob] {
        assert_eq!(actor.get(&chat.id, &first.message_id).await.expect("seen"), first);
        assert_eq!(actor.get(&chat.id, &second.message_id).await.expect("seen"), second);
    }
    let kinds: Vec<i16> = world
        .changes(&chat.id)
        .await
        .into_iter()
        .map(|(_, kind, _)| kind)
        .collect();
    assert_eq!(kinds, [13, 16, 16, 10, 10]);
    world.assert_dense().await;
}

#[tokio::test]
async fn a_repetition_has_the_first_outcome_and_stores_nothing() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let request = alice.message(&chat.id, "once");
    let first = alice.send_as(request.clone()).await.expect("sent");
    assert_eq!(alice.send_as(request.clone()).await.expect("sent"), first);
    let other = SendMessageRequest {
        text: "twice".to_owned(),
        ..request.clone()
    };
    assert_eq!(reason(alice.send_as(other).await), ErrorReason::RequestIdReused);
    assert_eq!(alice.texts(&chat.id).await.expect("seen"), ["once"]);

    // The scope is the caller and the chat: the same id is another request elsewhere.
    let bob = world.user();
    let second = world.conversation(&[&bob, &alice]).await;
    let there = SendMessageRequest {
        chat_id: second.id.clone(),
        ..request
    };
    assert_ne!(
        alice.send_as(there.clone()).await.expect("sent").message_id,
        first.message_id
    );
    bob.send_as(there).await.expect("sent");
    world.assert_dense().await;
}

#[tokio::test]
async fn concurrent_repetitions_store_one_message() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let request = alice.message(&chat.id, "once");
    let calls = (0..20).map(|_| alice.send_as(request.clone()));
    let ids: Vec<String> = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .map(|message| message.expect("sent").message_id)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(alice.texts(&chat.id).await.expect("seen"), ["once"]);
    world.assert_dense().await;
}

#[tokio::test]
async fn a_stranger_cannot_tell_a_chat_from_none() {
    let world = World::begin().await;
    let [alice, eve] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice]).await;
    let real = eve.send(&chat.id, "hello").await.expect_err("refused");
    let none = eve.send(&eve.nowhere(), "hello").await.expect_err("refused");
    assert_eq!(reason::<()>(Err(real.clone())), ErrorReason::NotFound);
    assert_eq!(
        (real.code(), real.message(), real.details()),
        (none.code(), none.message(), none.details())
    );
}

#[tokio::test]
async fn nothing_is_sent_into_an_archived_chat_but_repetitions_are_answered() {
    let world = World::begin().await;
    let alice = world.user();
    let mut chat = world.conversation(&[&alice]).await;
    let request = alice.message(&chat.id, "before");
    let message = alice.send_as(request.clone()).await.expect("sent");
    chat.update(|facts| facts.archived = true).await;
    assert_eq!(reason(alice.send(&chat.id, "after").await), ErrorReason::ChatArchived);
    assert_eq!(alice.send_as(request).await.expect("the first outcome"), message);
    chat.update(|facts| facts.archived = false).await;
    alice.send(&chat.id, "again").await.expect("sent");
}

#[tokio::test]
async fn a_muted_member_is_told_until_when() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice, &bob]).await;
    let mut mute = chat.now();
    mute.seconds += 3_600;
    let put = |mute| tidings_proto_message::v1::MemberPut {
        user_id: bob.id.clone(),
        role: MEMBER.into(),
        mute_end_time: mute,
        create_time: Some(chat.now()),
    };
    let (muted, free) = (put(Some(mute)), put(None));
    chat.tell(tidings_proto_message::v1::audience_change::Kind::MemberPut(muted))
        .await;
    let refused = bob.send(&chat.id, "hello").await.expect_err("muted");
    let until = refused
        .get_error_details()
        .error_info()
        .and_then(|info| info.metadata.get("mute_end_time").cloned());
    assert!(until.is_some_and(|until| until.ends_with('Z')), "{refused:?}");
    assert_eq!(reason::<()>(Err(refused)), ErrorReason::MemberMuted);
    alice.send(&chat.id, "hello").await.expect("others are not");
    chat.tell(tidings_proto_message::v1::audience_change::Kind::MemberPut(free))
        .await;
    bob.send(&chat.id, "hello").await.expect("sent");
}

#[tokio::test]
async fn slow_mode_says_when_the_next_message_may_come() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world
        .conversation_with(&[&alice, &bob], |facts| facts.slow_mode_interval_secs = 60)
        .await;
    let begun = Instant::now();
    alice.send(&chat.id, "one").await.expect("sent");
    let refused = alice.send(&chat.id, "two").await.expect_err("too soon");
    let passed = begun.elapsed();
    let wait = refused
        .get_error_details()
        .retry_info()
        .and_then(|info| info.retry_delay)
        .expect("a delay");
    let interval = Duration::from_secs(60);
    let least = interval.saturating_sub(passed + Duration::from_secs(1));
    assert!((least..=interval).contains(&wait), "{wait:?}");
    assert_eq!(reason::<()>(Err(refused)), ErrorReason::SlowMode);
    bob.send(&chat.id, "one").await.expect("another member may");

    // Many at once: one is taken, whatever batch they are in.
    let carol = world.user();
    let slow = world
        .conversation_with(&[&carol], |facts| facts.slow_mode_interval_secs = 60)
        .await;
    let texts: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let sends = futures_util::future::join_all(texts.iter().map(|text| carol.send(&slow.id, text))).await;
    assert_eq!(sends.iter().filter(|send| send.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_reply_is_to_a_message_that_the_sender_may_see() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user(), world.user(), world.user()];
    let mut chat = world
        .conversation_with(&[&alice, &bob], |facts| facts.history = ChatHistory::FromJoining.into())
        .await;
    let other = world.conversation(&[&alice, &bob]).await;
    let here = alice.send(&chat.id, "here").await.expect("sent");
    let there = alice.send(&other.id, "there").await.expect("sent");
    chat.put(&carol, MEMBER).await;
    let reply = |actor: &crate::world::Actor, to: &str| {
        let request = SendMessageRequest {
            reply_to_message_id: to.to_owned(),
            ..actor.message(&chat.id, "a reply")
        };
        let actor = actor.clone();
        async move { actor.send_as(request).await }
    };
    assert_eq!(
        reply(&bob, &here.message_id).await.expect("sent").reply_to_message_id,
        here.message_id
    );
    assert_eq!(reason(reply(&bob, &there.message_id).await), ErrorReason::NotFound);
    assert_eq!(reason(reply(&bob, &bob.nowhere()).await), ErrorReason::NotFound);
    assert_eq!(
        reason(reply(&carol, &here.message_id).await),
        ErrorReason::NotFound,
        "it is from before she joined"
    );
    let hide = DeleteMessageRequest {
        chat_id: chat.id.clone(),
        message_id: here.message_id.clone(),
        scope: DeleteScope::ForMe.into(),
        ..DeleteMessageRequest::default()
    };
    bob.messages().delete_message(bob.asks(hide)).await.expect("hidden");
    assert_eq!(
        reason(reply(&bob, &here.message_id).await),
        ErrorReason::NotFound,
        "he has hidden it"
    );
    reply(&alice, &here.message_id).await.expect("sent");
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let good = alice.message(&chat.id, "text");
    let id = alice.nowhere();
    let wrong: Vec<(&str, SendMessageRequest)> = vec![
        (
            "chat_id",
            SendMessageRequest {
                chat_id: "nonsense".to_owned(),
                ..good.clone()
            },
        ),
        (
            "chat_id",
            SendMessageRequest {
                chat_id: chat.id.to_uppercase(),
                ..good.clone()
            },
        ),
        (
            "text",
            SendMessageRequest {
                text: String::new(),
                ..good.clone()
            },
        ),
        (
            "text",
            SendMessageRequest {
                text: " \n\u{200B}".to_owned(),
                ..good.clone()
            },
        ),
        (
            "text",
            SendMessageRequest {
                text: "a\0b".to_owned(),
                ..good.clone()
            },
        ),
        (
            "text",
            SendMessageRequest {
                text: "a".repeat(8_001),
                ..good.clone()
            },
        ),
        (
            "attachment_ids[0]",
            SendMessageRequest {
                attachment_ids: vec!["x".to_owned()],
                ..good.clone()
            },
        ),
        (
            "attachment_ids",
            SendMessageRequest {
                attachment_ids: vec![id.clone(); 2],
                ..good.clone()
            },
        ),
        (
            "attachment_ids",
            SendMessageRequest {
                attachment_ids: (0..11).map(|_| alice.nowhere()).collect(),
                ..good.clone()
            },
        ),
        (
            "reply_to_message_id",
            SendMessageRequest {
                reply_to_message_id: "x".to_owned(),
                ..good.clone()
            },
        ),
        (
            "request_id",
            SendMessageRequest {
                request_id: "x".to_owned(),
                ..good.clone()
            },
        ),
        (
            "metadata",
            SendMessageRequest {
                metadata: [("k".to_owned(), "v".repeat(4_096))].into(),
                ..good.clone()
            },
        ),
        (
            "metadata",
            SendMessageRequest {
                metadata: [("k\0".to_owned(), "v".to_owned())].into(),
                ..good.clone()
            },
        ),
    ];
    for (field, request) in wrong {
        assert_eq!(wrong_fields(alice.send_as(request).await), [field]);
    }
    let both = SendMessageRequest {
        text: String::new(),
        request_id: "x".to_owned(),
        ..good
    };
    assert_eq!(wrong_fields(alice.send_as(both).await), ["request_id", "text"]);
    assert_eq!(alice.texts(&chat.id).await.expect("seen"), Vec::<String>::new());
}

#[tokio::test]
async fn a_send_without_a_request_id_is_stored_each_time() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    for _ in 0..2 {
        let request = SendMessageRequest {
            request_id: String::new(),
            ..alice.message(&chat.id, "again")
        };
        alice.send_as(request).await.expect("sent");
    }
    assert_eq!(alice.texts(&chat.id).await.expect("seen"), ["again", "again"]);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_hand_and_ends() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let sends: Vec<_> = (0..50)
        .map(|number| {
            let (alice, chat_id) = (alice.clone(), chat.id.clone());
            tokio::spawn(async move { alice.send(&chat_id, &number.to_string()).await })
        })
        .collect();
    alice.send(&chat.id, "first").await.expect("sent");
    assert!(world.drain.finish().await, "everything ends by itself");
    let mut acknowledged = 1;
    for send in sends {
        match send.await.expect("no panic") {
            Ok(_) => acknowledged += 1,
            Err(status) => assert_eq!(reason::<()>(Err(status)), ErrorReason::Draining),
        }
    }
    let stored: i64 = sqlx::query_scalar("select count(*) from messages.messages")
        .fetch_one(&world.pool())
        .await
        .expect("counted");
    assert_eq!(stored, acknowledged);
}
