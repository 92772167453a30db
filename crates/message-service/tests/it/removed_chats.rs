//! What becomes of the content of chats that were removed.

use std::{path::PathBuf, time::Duration};

use tidings_proto_common::v1::{ChatHistory, ErrorReason};
use tidings_proto_message::v1::{
    DeleteMessageRequest, DeleteScope, SendMessageRequest, UpdateMessageRequest, stream_changes_response::Frame,
};

use crate::{
    attachments::ready,
    sync::client::{Stream, after},
    world::{Actor, MEMBER, OWNER, World, reason, until},
};

/// Messages of a chat that take more than one portion to erase.
const MANY: i64 = 1_200;

/// A chat with everything that one can have, as the number of its rows tells.
async fn furnish(world: &World, actor: &Actor, chat_id: &str) -> String {
    let message = actor.send(chat_id, "first words").await.expect("sent");
    let edit = UpdateMessageRequest {
        chat_id: chat_id.to_owned(),
        message_id: message.message_id.clone(),
        text: "second words".to_owned(),
        ..UpdateMessageRequest::default()
    };
    actor.messages().update_message(actor.asks(edit)).await.expect("edited");
    let hide = DeleteMessageRequest {
        chat_id: chat_id.to_owned(),
        message_id: message.message_id,
        scope: DeleteScope::ForMe.into(),
        ..DeleteMessageRequest::default()
    };
    actor.messages().delete_message(actor.asks(hide)).await.expect("hidden");
    let file = ready(world, actor, chat_id, "image/png").await;
    let carry = SendMessageRequest {
        attachment_ids: vec![file.clone()],
        ..actor.message(chat_id, "look")
    };
    actor.send_as(carry).await.expect("sent");
    ready(world, actor, chat_id, "image/png").await;
    let sql = "
        with moved as (
            update messages.chats set last_sequence = last_sequence + $3 where chat_id = $1::uuid
            returning last_sequence - $3 as before
        )
        insert into messages.messages (chat_id, sequence, message_id, sender_id, type, body, create_time)
        select $1::uuid, before + n, gen_random_uuid(), $2::uuid, 1, 'words', now() from moved, generate_series(1, $3) n";
    let fill = sqlx::query(sql).bind(chat_id).bind(&actor.id).bind(MANY);
    fill.execute(&world.pool()).await.expect("filled");
    file
}

/// Messages, revisions, hidden messages, files, and the length of the title.
async fn content(world: &World, chat_id: &str) -> (i64, i64, i64, i64, i32) {
    sqlx::query_as(
        "select
             (select count(*) from messages.messages where chat_id = $1::uuid),
             (select count(*) from messages.message_revisions where chat_id = $1::uuid),
             (select count(*) from messages.hidden_messages where chat_id = $1::uuid),
             (select count(*) from messages.attachments where chat_id = $1::uuid),
             length(title)
         from messages.chat_facts
         where chat_id = $1::uuid",
    )
    .bind(chat_id)
    .fetch_one(&world.pool())
    .await
    .expect("counted")
}

/// As if the chat had been removed a while earlier.
async fn age(world: &World, chat_id: &str, hours: i32) {
    let sql = "update messages.chat_facts set remove_time = remove_time - make_interval(hours => $2) where chat_id = $1::uuid";
    let aged = sqlx::query(sql).bind(chat_id).bind(hours).execute(&world.pool()).await;
    aged.expect("aged");
}

#[tokio::test]
async fn the_content_of_a_removed_chat_is_erased_after_a_day() {
    let mut folder = PathBuf::new();
    let world = World::begin_with(|config| folder = config.media_dir.join("attachments")).await;
    let [alice, bob] = [world.user(), world.user()];
    let mut group = world.audience(&alice);
    group.put(&alice, OWNER).await;
    group.put(&bob, MEMBER).await;
    let mut chats = Vec::new();
    let mut files = Vec::new();
    for _ in 0..4 {
        let chat_id = group.add_chat(ChatHistory::Full).await;
        sqlx::query("update messages.chat_facts set title = 'a title' where chat_id = $1::uuid")
            .bind(&chat_id)
            .execute(&world.pool())
            .await
            .expect("named");
        files.push(furnish(&world, &alice, &chat_id).await);
        chats.push(chat_id);
    }
    let [old, young, ending, open] = [&chats[0], &chats[1], &chats[2], &chats[3]];
    let whole = content(&world, open).await;
    assert_eq!(whole, (MANY + 2, 1, 1, 2, 7));
    for chat_id in [old, young, ending] {
        group.remove_chat(chat_id).await;
    }
    age(&world, old, 25).await;
    age(&world, young, 23).await;
    age(&world, ending, 25).await;
    sqlx::query("update messages.chats set ending = true where chat_id = $1::uuid")
        .bind(ending)
        .execute(&world.pool())
        .await
        .expect("as if not all were told yet");
    let told = async || {
        let mut stream = Stream::open(&bob, Some(after(&[(old.as_str(), 1)]))).await;
        let frames = stream.catch_up().await;
        frames.into_iter().find_map(|frame| match frame {
            Frame::Left(left) => Some(left.last_visible_position),
            _ => None,
        })
    };
    let before = told().await;

    let _sweeper = world.elsewhere_with(&alice, |config| config.sweep_interval = Duration::from_millis(50));
    until("the sweep", async || content(&world, old).await == (0, 0, 0, 0, 0)).await;
    let path = |file: &String| folder.join(&file[file.len() - 2..]).join(file);
    assert!(!path(&files[0]).exists(), "the bytes went before their rows");
    for (chat_id, file) in [young, ending, open].into_iter().zip(&files[1..]) {
        assert_eq!(content(&world, chat_id).await, whole);
        assert!(path(file).exists());
    }
    assert_eq!(reason(alice.texts(old).await), ErrorReason::NotFound);
    assert_eq!(told().await, before, "the end is told as before");
    assert!(before.is_some());

    // Once all have been told, it is like the others.
    sqlx::query("update messages.chats set ending = false where chat_id = $1::uuid")
        .bind(ending)
        .execute(&world.pool())
        .await
        .expect("told");
    until("the next sweep", async || {
        content(&world, ending).await == (0, 0, 0, 0, 0)
    })
    .await;
    assert_eq!(content(&world, young).await, whole);
    assert_eq!(content(&world, open).await, whole);
}
