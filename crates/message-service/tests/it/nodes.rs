//! Two processes of the service on one database.

use std::time::Duration;

use tidings_proto_common::v1::ErrorReason;

use crate::{
    sync::client::Stream,
    world::{World, reason},
};

#[tokio::test]
async fn what_moves_on_one_node_is_heard_on_another_before_it_polls() {
    let world = World::begin_with(|config| config.sync.poll_interval = Duration::from_secs(60)).await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let bob = world.elsewhere(&bob);
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    // The listener of a node that begins is told to look once it listens, so the first may come a little later.
    for round in 0..5 {
        let text = format!("from the other node {round}");
        alice.send(&chat.id, &text).await.expect("sent");
        let told = tokio::time::timeout(Duration::from_secs(20), stream.until_text(&text)).await;
        told.expect("told long before the polling bound");
    }
}

#[tokio::test]
async fn a_repetition_on_another_node_has_the_first_outcome() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let again = world.elsewhere(&alice);
    for _ in 0..20 {
        let request = alice.message(&chat.id, "once");
        let (one, two) = tokio::join!(alice.send_as(request.clone()), again.send_as(request.clone()));
        assert_eq!(one.expect("sent"), two.expect("sent"));
        let other = tidings_proto_message::v1::SendMessageRequest {
            text: "other".to_owned(),
            ..request
        };
        assert_eq!(reason(again.send_as(other).await), ErrorReason::RequestIdReused);
    }
    assert_eq!(alice.texts(&chat.id).await.expect("seen").len(), 20);
    world.assert_dense().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_write_one_chat_without_holes() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let nodes = [alice.clone(), world.elsewhere(&alice)];
    let callers: Vec<_> = (0..16_usize)
        .map(|caller| {
            let (actor, chat_id) = (nodes[caller % 2].clone(), chat.id.clone());
            tokio::spawn(async move {
                for number in 0..30 {
                    actor.send(&chat_id, &format!("{caller} {number}")).await.expect("sent");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    world.assert_dense().await;
    let stored: i64 = sqlx::query_scalar("select last_sequence from messages.chats")
        .fetch_one(&world.pool())
        .await
        .expect("a row");
    assert_eq!(stored, 480);
}
