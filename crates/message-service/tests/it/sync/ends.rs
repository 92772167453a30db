use std::time::{Duration, Instant};

use tidings_ids::LoginSessionId;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::stream_changes_response::Frame;

use super::client::{Stream, message_of, texts};
use crate::world::{Actor, World, reason};

/// What takes a moment may take so long on a busy machine. Shorter than the heartbeat's interval, by which everything is noticed.
const BUSY: Duration = Duration::from_secs(10);

/// Stores a message as another node would whose hint is lost.
async fn send_silently(world: &World, sender: &Actor, chat_id: &str, text: &str) {
    sqlx::query(
        "select messages.send_batch(
             array[$1::uuid], array[$2::uuid], array[gen_random_uuid()], array[1::bigint], array[gen_random_uuid()],
             array[$3], array[null::text], array[null::uuid], true)",
    )
    .bind(chat_id)
    .bind(&sender.id)
    .bind(text)
    .execute(&world.pool())
    .await
    .expect("sent");
}

#[tokio::test]
async fn a_change_without_a_hint_is_told_within_the_polling_bound() {
    let world = World::begin_with(|config| config.sync.poll_interval = Duration::from_millis(300)).await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    for round in 0..3 {
        let text = format!("silent {round}");
        let begun = Instant::now();
        send_silently(&world, &alice, &chat.id, &text).await;
        assert_eq!(texts(&stream.until_text(&text).await), [&text]);
        assert!(begun.elapsed() < BUSY, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_hint_is_told_long_before_the_polling_bound() {
    let world = World::begin_with(|config| config.sync.poll_interval = Duration::from_secs(60)).await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    for round in 0..5 {
        let text = format!("hinted {round}");
        alice.send(&chat.id, &text).await.expect("sent");
        stream.until_text(&text).await;
    }
    let other = world.conversation(&[&alice, &bob]).await;
    alice.send(&other.id, "in a new chat").await.expect("sent");
    loop {
        let frame = stream.next_news().await;
        let in_snapshot = matches!(&frame, Frame::Snapshot(snapshot) if !snapshot.messages.is_empty());
        if in_snapshot || message_of(&frame).is_some_and(|message| message.text == "in a new chat") {
            break;
        }
    }
}

#[tokio::test]
async fn an_idle_stream_says_that_it_lives_and_how_far_it_is() {
    let world = World::begin_with(|config| config.sync.heartbeat_interval = Duration::from_millis(200)).await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    alice.send(&chat.id, "one").await.expect("sent");
    stream.until_text("one").await;
    let mut named = Vec::new();
    while named.len() < 3 {
        if let Frame::Heartbeat(heartbeat) = stream.next().await {
            named.push(heartbeat.chats.len());
        }
    }
    assert!(named[0] == 1 || named[1] == 1, "the chat has moved: {named:?}");
    assert_eq!(named[2], 0, "and not again");
}

#[tokio::test]
async fn a_drain_closes_streams_with_their_positions() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    alice.send(&chat.id, "one").await.expect("sent");
    stream.until_text("one").await;
    world.drain.begin();
    let (closing, status) = stream.end().await;
    let closing = closing.expect("the client still reads");
    assert_eq!(closing.reason(), ErrorReason::Draining);
    let positions = closing.positions.expect("positions");
    assert_eq!(positions.log_id, stream.log_id);
    assert_eq!(positions.user_position, stream.user_position);
    assert_eq!(
        positions.chats.first().map(|chat| chat.position),
        stream.have.get(&chat.id).copied()
    );
    assert_eq!(reason::<()>(Err(status)), ErrorReason::Draining);
}

#[tokio::test]
async fn a_revoked_login_session_ends_its_streams_within_a_second() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    let begun = Instant::now();
    world
        .revocations
        .session_revoked(LoginSessionId::parse(&bob.login_session_id).expect("an id"));
    alice.send(&chat.id, "not for a thief").await.expect("sent");
    let (closing, status) = stream.end().await;
    assert!(begun.elapsed() < BUSY, "it waits for nothing else that would end it");
    assert_eq!(
        closing.map(|closing| closing.reason()),
        Some(ErrorReason::LoginSessionRevoked)
    );
    assert_eq!(reason::<()>(Err(status)), ErrorReason::LoginSessionRevoked);
    let refused = Stream::try_open(&bob, None).await.map(|_| ());
    assert_eq!(reason(refused), ErrorReason::LoginSessionRevoked);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended_and_delays_nobody() {
    let world = World::begin_with(|config| {
        config.sync.slow_after = Duration::from_millis(400);
        config.sync.heartbeat_interval = Duration::from_millis(300);
    })
    .await;
    let [alice, bob, carol] = [world.user(), world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob, &carol]).await;
    let mut slow = Stream::open(&bob, None).await;
    slow.catch_up().await;
    let mut quick = Stream::open(&carol, None).await;
    quick.catch_up().await;
    let padding = "x".repeat(4_000);
    for number in 0..200 {
        alice
            .send(&chat.id, &format!("{number} {padding}"))
            .await
            .expect("sent");
        let begun = Instant::now();
        quick.until_text(&format!("{number} {padding}")).await;
        assert!(begun.elapsed() < BUSY, "nobody waits for bob");
    }
    // The node's own clock says when bob was slow for long enough: three of its heartbeats are longer than `slow_after`.
    for _ in 0..3 {
        while !matches!(quick.next().await, Frame::Heartbeat(_)) {}
    }
    let (closing, status) = slow.end().await;
    assert_eq!(reason::<()>(Err(status)), ErrorReason::SlowConsumer);
    let positions = closing.expect("a closing").positions.expect("positions");
    assert_eq!(
        positions.chats.first().map(|chat| chat.position),
        slow.have.get(&chat.id).copied()
    );

    // It goes on where it was.
    let mut resumed = Stream::open(&bob, Some(slow.after())).await;
    resumed.until_text(&format!("199 {padding}")).await;
    assert_eq!(resumed.have, quick.have);
}

#[tokio::test]
async fn a_stream_outlives_a_database_that_drops_its_connections() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.catch_up().await;
    for round in 0..3 {
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
        )
        .execute(&world.pool())
        .await
        .expect("terminated");
        let text = format!("round {round}");
        crate::world::until("a send", || async { alice.send(&chat.id, &text).await.is_ok() }).await;
        stream.until_text(&text).await;
    }
}
