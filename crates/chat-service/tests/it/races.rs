//! What happens at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidings_proto_chat::v1::{AddMemberRequest, LeaveGroupRequest, RemoveMemberRequest};
use tidings_proto_common::v1::ErrorReason;
use tokio::task::JoinSet;

use crate::world::{ADMIN, MEMBER, OWNER, World, insist, reason, until};

/// Races of two owners of one group, each for the last place; with the others below a thousand.
const DUELS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_who_remove_each_other_leave_one() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, OWNER).await.expect("added");
    for duel in 0..DUELS {
        let (alices, bobs) = tokio::join!(alice.remove(&group, &bob), bob.remove(&group, &alice));
        let (winner, loser, refused) = match (alices, bobs) {
            (Ok(()), refused @ Err(_)) => (&alice, &bob, refused),
            (refused @ Err(_), Ok(())) => (&bob, &alice, refused),
            both => panic!("duel {duel}: one of them wins: {both:?}"),
        };
        assert_eq!(reason(refused), ErrorReason::NotFound);
        let members = world.log.members(&group.group_id).await;
        assert_eq!(Vec::from_iter(members.keys()), [&winner.id], "duel {duel}");
        let again = winner.add(&group, loser, OWNER).await;
        again.expect("who has stayed is an owner");
    }
    world.assert_told(&group.group_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_who_leave_at_once_leave_one() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, OWNER).await.expect("added");
    let leave = async |actor: &crate::world::Actor| {
        let request = LeaveGroupRequest {
            group_id: group.group_id.clone(),
            request_id: actor.request_id(),
        };
        actor.memberships().leave_group(actor.asks(request)).await.map(drop)
    };
    for duel in 0..DUELS {
        let (alices, bobs) = tokio::join!(leave(&alice), leave(&bob));
        let (left, stays, refused) = match (alices, bobs) {
            (Ok(()), refused @ Err(_)) => (&alice, &bob, refused),
            (refused @ Err(_), Ok(())) => (&bob, &alice, refused),
            both => panic!("duel {duel}: one of them stays: {both:?}"),
        };
        assert_eq!(reason(refused), ErrorReason::LastOwner);
        let again = stays.add(&group, left, OWNER).await;
        again.expect("who has stayed is an owner");
    }
    world.assert_told(&group.group_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_at_once_keep_the_numbers_dense() {
    let world = World::begin().await;
    let alice = world.user().await;
    let groups = [alice.group().await, alice.group().await];
    let done = std::sync::Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for (at, user) in world.crowd(500).await.into_iter().enumerate() {
        let (alice, group, done) = (alice.clone(), groups[at % 2].clone(), done.clone());
        calls.spawn(async move {
            let request = AddMemberRequest {
                group_id: group.group_id.clone(),
                user_id: user.id.clone(),
                request_id: alice.request_id(),
                ..AddMemberRequest::default()
            };
            let added = insist(async || alice.memberships().add_member(alice.asks(request.clone())).await).await;
            added.expect("added");
            let request = RemoveMemberRequest {
                group_id: group.group_id.clone(),
                user_id: user.id.clone(),
                request_id: alice.request_id(),
            };
            let removed = insist(async || alice.memberships().remove_member(alice.asks(request.clone())).await).await;
            removed.expect("removed");
            done.fetch_add(2, Ordering::SeqCst);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.expect("no panic");
    }
    assert_eq!(done.load(Ordering::SeqCst), 1_000);
    for group in &groups {
        world.assert_told(&group.group_id).await;
        assert_eq!(world.log.changes(&group.group_id).await.len(), 501);
        assert_eq!(world.log.members(&group.group_id).await.len(), 1);
    }
    world.outbox_is_tidied_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_place_is_given_once() {
    let config = tidings_chat_service::Config {
        group_members_max: 5,
        ..Default::default()
    };
    let world = World::begin_with(config).await;
    let alice = world.user().await;
    let group = alice.group().await;
    let mut calls = JoinSet::new();
    for user in world.crowd(20).await {
        let (alice, group) = (alice.clone(), group.clone());
        calls.spawn(async move { insist(|| alice.add(&group, &user, MEMBER)).await });
    }
    let mut added = 0;
    while let Some(call) = calls.join_next().await {
        match call.expect("no panic") {
            Ok(_) => added += 1,
            refused => assert_eq!(reason(refused), ErrorReason::QuotaExceeded),
        }
    }
    assert_eq!(added, 4);
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn a_right_that_goes_while_a_call_waits_for_its_turn_is_gone() {
    let world = World::begin().await;
    let [alice, bob, carol, dave] = [
        world.user().await,
        world.user().await,
        world.user().await,
        world.user().await,
    ];
    let group = alice.group().await;
    alice.add(&group, &bob, ADMIN).await.expect("added");
    alice.add(&group, &carol, MEMBER).await.expect("added");

    // Another change has the audience's row when the admin's calls come to it, and takes the admin's membership.
    let pool = world.pool();
    let mut tx = pool.begin().await.expect("begun");
    sqlx::query("select from chats.audiences where audience_id = $1::uuid for update")
        .bind(&group.group_id)
        .execute(&mut *tx)
        .await
        .expect("locked");
    let calls = [
        tokio::spawn({
            let (bob, group, dave) = (bob.clone(), group.clone(), dave.clone());
            async move { bob.add(&group, &dave, MEMBER).await.map(drop) }
        }),
        tokio::spawn({
            let (bob, group, carol) = (bob.clone(), group.clone(), carol.clone());
            async move { bob.remove(&group, &carol).await }
        }),
        tokio::spawn({
            let (bob, group) = (bob.clone(), group.clone());
            async move { bob.chat_in(&group, "general").await.map(drop) }
        }),
    ];
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    until("all of them wait", async || {
        sqlx::query_scalar::<_, i64>(waiting)
            .fetch_one(&pool)
            .await
            .expect("counted")
            == 3
    })
    .await;
    sqlx::query("delete from chats.members where audience_id = $1::uuid and user_id = $2::uuid")
        .bind(&group.group_id)
        .bind(&bob.id)
        .execute(&mut *tx)
        .await
        .expect("removed");
    tx.commit().await.expect("committed");

    for call in calls {
        assert_eq!(reason(call.await.expect("no panic")), ErrorReason::NotFound);
    }
    let roles = alice.members(&group).await.expect("seen");
    assert_eq!(roles.len(), 2, "{roles:?}");
}
