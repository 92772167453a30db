//! Connections that break while messages are sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidings_proto_common::v1::ErrorReason;

use crate::world::{World, reason, until};

/// How often all connections are cut, and how many sends are stored between two cuts.
const ROUNDS: usize = 8;
const SENDS_A_ROUND: usize = 50;

/// Ends every connection of the service to the test's database.
async fn kill_connections(world: &World) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&world.pool())
    .await
    .expect("killed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_retried_after_lost_connections_is_stored_exactly_once() {
    let world = Arc::new(World::begin().await);
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let (stored, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));

    let mut callers = Vec::new();
    for caller in 0..8 {
        let (alice, chat_id) = (alice.clone(), chat.id.clone());
        let (stored, done) = (Arc::clone(&stored), Arc::clone(&done));
        callers.push(tokio::spawn(async move {
            let (mut acknowledged, mut failures, mut number) = (Vec::new(), 0, 0);
            while !done.load(Ordering::Relaxed) {
                number += 1;
                let text = format!("{caller} {number}");
                let request = alice.message(&chat_id, &text);
                loop {
                    match alice.send_as(request.clone()).await {
                        Ok(message) => {
                            acknowledged.push((message.message_id, message.sequence, text));
                            stored.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        Err(status) => {
                            failures += 1;
                            let reason = reason::<()>(Err(status));
                            assert!(
                                matches!(
                                    reason,
                                    ErrorReason::CommitUnknown
                                        | ErrorReason::DependencyUnavailable
                                        | ErrorReason::Conflict
                                        | ErrorReason::Overloaded
                                ),
                                "{reason:?}"
                            );
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            }
            (acknowledged, failures)
        }));
    }
    for round in 1..=ROUNDS {
        until("some sends between two cuts", || {
            std::future::ready(stored.load(Ordering::Relaxed) >= round * SENDS_A_ROUND)
        })
        .await;
        kill_connections(&world).await;
    }
    done.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut failures) = (Vec::new(), 0);
    for caller in callers {
        let (messages, failed) = caller.await.expect("no panic");
        acknowledged.extend(messages);
        failures += failed;
    }
    assert!(failures > 0, "no call met a lost connection");

    let mut stored: Vec<(String, i64, String)> =
        sqlx::query_as("select message_id::text, sequence, body from messages.messages order by sequence")
            .fetch_all(&world.pool())
            .await
            .expect("readable");
    acknowledged.sort_by_key(|message| message.1);
    stored.sort_by_key(|message| message.1);
    assert_eq!(stored, acknowledged, "none lost, none twice");
    world.assert_dense().await;
}

#[tokio::test]
async fn a_message_that_a_batch_cannot_take_fails_alone() {
    let world = World::begin_with(|config| config.send_shards = 1).await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    // Something that only the database finds out.
    sqlx::raw_sql("alter table messages.messages add constraint no_poison check (body <> 'poison')")
        .execute(&world.pool())
        .await
        .expect("altered");
    let texts: Vec<String> = (0..30)
        .map(|number| {
            if number == 17 {
                "poison".to_owned()
            } else {
                number.to_string()
            }
        })
        .collect();
    let sends = futures_util::future::join_all(texts.iter().map(|text| alice.send(&chat.id, text))).await;
    for (text, sent) in texts.iter().zip(sends) {
        match text.as_str() {
            "poison" => assert_eq!(reason(sent), ErrorReason::Internal),
            _ => assert_eq!(sent.expect("sent").text, *text),
        }
    }
    world.assert_dense().await;
}
