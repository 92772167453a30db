//! Direct chats of two users one of whom blocks the other.

use tidings_proto_common::v1::{ChatKind, ErrorReason, Permission};
use tidings_proto_message::v1::{
    ChatBlocked, CreateResponseRequest, CreateUploadRequest, DeleteMessageRequest, UpdateMessageRequest,
    audience_change::Kind,
};

use crate::world::{Actor, Audience, World, reason, wrong_fields};

fn block(chat_id: &str, blocked: bool) -> Kind {
    Kind::ChatBlocked(ChatBlocked {
        chat_id: chat_id.to_owned(),
        blocked,
    })
}

async fn direct(world: &World, pair: [&Actor; 2]) -> Audience {
    world
        .conversation_with(&pair, |facts| facts.kind = ChatKind::Direct.into())
        .await
}

#[tokio::test]
async fn neither_sends_while_one_blocks_the_other() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = direct(&world, [&alice, &bob]).await;
    let request = alice.message(&chat.id, "before");
    let message = alice.send_as(request.clone()).await.expect("sent");
    let log = world.changes(&chat.id).await;

    chat.tell(block(&chat.id, true)).await;
    for actor in [&alice, &bob] {
        assert_eq!(reason(actor.send(&chat.id, "after").await), ErrorReason::Blocked);
        assert_eq!(actor.texts(&chat.id).await.expect("still read"), ["before"]);
    }
    assert_eq!(alice.send_as(request).await.expect("the first outcome"), message);
    assert_eq!(world.changes(&chat.id).await, log, "no log tells of it");
    let stranger = world.user();
    assert_eq!(
        reason(stranger.send(&chat.id, "hello").await),
        ErrorReason::NotFound,
        "others learn nothing"
    );

    chat.tell(block(&chat.id, false)).await;
    bob.send(&chat.id, "again").await.expect("sent");
    world.assert_dense().await;
}

#[tokio::test]
async fn a_large_batch_is_refused_as_a_small_one_is() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user(), world.user(), world.user()];
    let mut blocked = direct(&world, [&alice, &bob]).await;
    let open = direct(&world, [&alice, &carol]).await;
    blocked.tell(block(&blocked.id, true)).await;
    let sends = (0..80).map(|at| {
        let chat_id = if at % 2 == 0 { &blocked.id } else { &open.id };
        alice.send(chat_id, "hello")
    });
    let outcomes = futures_util::future::join_all(sends).await;
    for (at, outcome) in outcomes.into_iter().enumerate() {
        if at % 2 == 0 {
            assert_eq!(reason(outcome), ErrorReason::Blocked);
        } else {
            outcome.expect("sent");
        }
    }
    assert!(bob.texts(&blocked.id).await.expect("seen").is_empty());
    assert_eq!(carol.texts(&open.id).await.expect("seen").len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_after_a_block_is_applied_is_refused_under_load() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = direct(&world, [&alice, &bob]).await;
    for round in 0..10 {
        let mut sends = Vec::new();
        for _ in 0..30 {
            let (actor, chat_id) = (alice.clone(), chat.id.clone());
            sends.push(tokio::spawn(async move { actor.send(&chat_id, "while").await }));
        }
        chat.tell(block(&chat.id, true)).await;
        assert_eq!(reason(bob.send(&chat.id, "after").await), ErrorReason::Blocked);
        let count = world.changes(&chat.id).await.len();
        for send in sends {
            match send.await.expect("no panic") {
                Ok(_) => {}
                refused => assert_eq!(reason(refused), ErrorReason::Blocked),
            }
        }
        assert_eq!(
            world.changes(&chat.id).await.len(),
            count,
            "nothing was stored after the block in round {round}"
        );
        chat.tell(block(&chat.id, false)).await;
    }
    world.assert_dense().await;
}

#[tokio::test]
async fn nothing_else_that_the_other_would_read_is_written() {
    let world = World::begin().await;
    let (alice, bot) = (world.user(), world.user_with(&[Permission::ResponsesCreate]));
    let mut chat = direct(&world, [&alice, &bot]).await;
    let message = alice.send(&chat.id, "before").await.expect("sent");
    chat.tell(block(&chat.id, true)).await;

    let edit = UpdateMessageRequest {
        chat_id: chat.id.clone(),
        message_id: message.message_id.clone(),
        text: "other".to_owned(),
        ..UpdateMessageRequest::default()
    };
    let edited = alice.messages().update_message(alice.asks(edit)).await;
    assert_eq!(reason(edited), ErrorReason::Blocked);

    let answer = CreateResponseRequest {
        chat_id: chat.id.clone(),
        message_id: message.message_id.clone(),
        text: "answer".to_owned(),
        ..CreateResponseRequest::default()
    };
    let answered = bot.responses().create_response(bot.asks(answer)).await;
    assert_eq!(reason(answered), ErrorReason::Blocked);

    let upload = CreateUploadRequest {
        chat_id: chat.id.clone(),
        media_type: "image/png".to_owned(),
        size_bytes: 4,
        sha256: "0".repeat(64),
        ..CreateUploadRequest::default()
    };
    let announced = alice.attachments().create_upload(alice.asks(upload)).await;
    assert_eq!(reason(announced), ErrorReason::Blocked);

    let delete = DeleteMessageRequest {
        chat_id: chat.id.clone(),
        message_id: message.message_id.clone(),
        ..DeleteMessageRequest::default()
    };
    let deleted = alice.messages().delete_message(alice.asks(delete)).await;
    deleted.expect("one's own words can still be taken back");
}

#[tokio::test]
async fn a_block_is_told_again_and_of_chats_that_are_not_there_without_harm() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = direct(&world, [&alice, &bob]).await;
    let told = chat.change(chat.number + 1, block(&chat.id, true));
    for _ in 0..2 {
        let applied = chat.deliver(vec![told.clone()]).await;
        assert_eq!(applied.expect("answered"), chat.number + 1);
    }
    chat.number += 1;
    assert_eq!(reason(alice.send(&chat.id, "after").await), ErrorReason::Blocked);
    chat.tell(block(&alice.nowhere(), false)).await;
    let other = direct(&world, [&alice, &bob]).await;
    chat.tell(block(&other.id, true)).await;
    alice.send(&other.id, "hello").await.expect("another audience's chat");
    let wrong = chat.change(chat.number + 1, block("x", true));
    assert_eq!(
        wrong_fields(chat.deliver(vec![wrong]).await),
        ["changes[0].chat_blocked.chat_id"]
    );
}
