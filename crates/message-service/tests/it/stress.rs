//! Sixteen callers that send, and the chat service that adds and removes four of them all the while.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidings_proto_common::v1::ErrorReason;
use tokio::{sync::Notify, time::Instant};

use crate::world::{MEMBER, World, reason};

/// How long it goes on at least.
const FOR: Duration = Duration::from_secs(4);

/// And at most, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Changes of each chat that there are to race with, and sends that are taken, before it ends.
const CHANGES_MIN: i64 = 50;
const STORED_MIN: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_send_stands_after_its_senders_removal_and_the_logs_have_no_holes() {
    let world = Arc::new(World::begin().await);
    let owner = world.user();
    let users: Vec<_> = (0..4).map(|_| world.user()).collect();
    let mut chats = [world.conversation(&[&owner]).await, world.conversation(&[&owner]).await];
    for chat in &mut chats {
        for user in &users {
            chat.put(user, MEMBER).await;
        }
    }
    let chat_ids = [chats[0].id.clone(), chats[1].id.clone()];
    let (end, limit) = (Instant::now() + FOR, Instant::now() + PATIENCE);
    let (changing, taken) = (
        Arc::new(AtomicUsize::new(chat_ids.len())),
        Arc::new(AtomicUsize::new(0)),
    );
    let answered = Arc::new(Notify::new());

    let mut callers = Vec::new();
    for caller in 0..16_usize {
        let (user, chat_ids, answered) = (users[caller % 4].clone(), chat_ids.clone(), answered.clone());
        let (changing, taken) = (changing.clone(), taken.clone());
        callers.push(tokio::spawn(async move {
            let mut stored = Vec::new();
            let mut turn = caller;
            while changing.load(Ordering::SeqCst) > 0 && Instant::now() < limit {
                turn += 1;
                let request = user.message(&chat_ids[turn % 2], "text");
                match user.send_as(request.clone()).await {
                    Ok(message) => {
                        taken.fetch_add(1, Ordering::SeqCst);
                        stored.push((request.request_id, message));
                    }
                    Err(status) => assert_eq!(reason::<()>(Err(status)), ErrorReason::NotFound),
                }
                answered.notify_waiters();
            }
            stored
        }));
    }
    let removers = chats.into_iter().enumerate().map(|(index, mut chat)| {
        let (users, answered) = (users.clone(), answered.clone());
        let (changing, taken) = (changing.clone(), taken.clone());
        tokio::spawn(async move {
            let mut turn = index;
            let is_too_little = |number| number <= CHANGES_MIN || taken.load(Ordering::SeqCst) <= STORED_MIN;
            while Instant::now() < end || (is_too_little(chat.number) && Instant::now() < limit) {
                turn += 1;
                let user = &users[turn % 4];
                chat.remove(user).await;
                // Somebody has met the removal, or sends elsewhere, before it is undone.
                let _ = tokio::time::timeout(Duration::from_secs(1), answered.notified()).await;
                chat.put(user, MEMBER).await;
            }
            changing.fetch_sub(1, Ordering::SeqCst);
            chat.number
        })
    });
    let removers: Vec<_> = removers.collect();
    let mut stored = 0;
    for caller in callers {
        stored += caller.await.expect("no panic").len();
    }
    for remover in removers {
        assert!(
            remover.await.expect("no panic") > CHANGES_MIN,
            "there were enough changes to race with"
        );
    }
    assert!(stored > STORED_MIN, "{stored} sends were taken");

    world.assert_dense().await;
    for chat_id in &chat_ids {
        assert_eq!(after_removal(&world, chat_id).await, 0);
    }
    let rows: (i64, i64) = sqlx::query_as(
        "select (select count(*) from messages.messages), (select count(distinct request_id) from messages.requests)",
    )
    .fetch_one(&world.pool())
    .await
    .expect("counted");
    assert_eq!(
        rows,
        (stored as i64, stored as i64),
        "a message and a request for each answer"
    );
}

/// Replays a chat's log by position: how many sends stand after their sender's removal.
async fn after_removal(world: &World, chat_id: &str) -> usize {
    let log: Vec<(i16, String, Option<String>)> = sqlx::query_as(
        "select kind, actor_id::text, user_id::text from messages.changes where chat_id = $1::uuid order by position",
    )
    .bind(chat_id)
    .fetch_all(&world.pool())
    .await
    .expect("readable");
    let mut member: HashMap<String, bool> = HashMap::new();
    let mut late = 0;
    for (kind, actor, user) in log {
        match (kind, user) {
            (16, Some(user)) => drop(member.insert(user, true)),
            (18, Some(user)) => drop(member.insert(user, false)),
            (10, _) if !member.get(&actor).copied().unwrap_or(false) => late += 1,
            _ => {}
        }
    }
    late
}
