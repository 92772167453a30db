//! Nobody is told what the message service does not decide by.

use std::sync::atomic::Ordering;

use tidings_proto_chat::v1::{
    AddMemberRequest, CreateGroupRequest, GetGroupRequest, LeaveGroupRequest, ListGroupsRequest, RemoveMemberRequest,
};
use tidings_proto_common::v1::ErrorReason;

use crate::world::{MEMBER, World, insist, reason, until};

#[tokio::test]
async fn a_retry_after_the_message_service_was_away_gets_the_first_outcome() {
    let world = World::begin().await;
    let alice = world.user().await;
    let request = CreateGroupRequest {
        display_name: "Crew".to_owned(),
        request_id: alice.request_id(),
        ..CreateGroupRequest::default()
    };
    world.message_service_is_down(true);
    for _ in 0..2 {
        let refused = alice.groups().create_group(alice.asks(request.clone())).await;
        assert_eq!(reason(refused), ErrorReason::DependencyUnavailable);
    }
    assert_eq!(world.outbox().await.len(), 1, "it is stored once");

    world.message_service_is_down(false);
    let group = alice
        .groups()
        .create_group(alice.asks(request))
        .await
        .expect("made")
        .into_inner()
        .group
        .expect("a group");
    world.outbox_is_tidied_up().await;
    assert_eq!(group.member_count, 1);
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn a_removal_is_ok_only_when_it_holds() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    let request = RemoveMemberRequest {
        group_id: group.group_id.clone(),
        user_id: bob.id.clone(),
        request_id: alice.request_id(),
    };
    let another = RemoveMemberRequest {
        request_id: alice.request_id(),
        ..request.clone()
    };

    world.message_service_is_down(true);
    for request in [&request, &another, &request] {
        let refused = alice.memberships().remove_member(alice.asks(request.clone())).await;
        assert_eq!(
            reason(refused),
            ErrorReason::DependencyUnavailable,
            "also for one who is a member no longer"
        );
        assert!(world.log.members(&group.group_id).await.contains_key(&bob.id));
    }

    world.message_service_is_down(false);
    alice
        .memberships()
        .remove_member(alice.asks(another))
        .await
        .expect("removed");
    assert!(!world.log.members(&group.group_id).await.contains_key(&bob.id));
    alice
        .memberships()
        .remove_member(alice.asks(request))
        .await
        .expect("removed");
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn who_is_a_member_already_is_one_for_the_message_service_too() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    world.message_service_is_down(true);
    assert_eq!(
        reason(alice.add(&group, &bob, MEMBER).await),
        ErrorReason::DependencyUnavailable
    );
    assert_eq!(
        reason(alice.add(&group, &bob, MEMBER).await),
        ErrorReason::DependencyUnavailable
    );
    world.message_service_is_down(false);
    alice.add(&group, &bob, MEMBER).await.expect("a member");
    assert!(world.log.members(&group.group_id).await.contains_key(&bob.id));
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn reads_state_nothing_that_is_undelivered() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    let quiet = alice.group().await;
    let chat = alice.chat_in(&group, "general").await.expect("made");
    world.message_service_is_down(true);
    assert_eq!(
        reason(alice.add(&group, &bob, MEMBER).await),
        ErrorReason::DependencyUnavailable
    );

    for actor in [&alice, &bob] {
        assert_eq!(reason(actor.members(&group).await), ErrorReason::DependencyUnavailable);
        assert_eq!(
            reason(actor.see(&chat.chat_id).await),
            ErrorReason::DependencyUnavailable
        );
        assert_eq!(
            reason(actor.chat_members(&chat.chat_id).await),
            ErrorReason::DependencyUnavailable
        );
        let list = actor
            .groups()
            .list_groups(actor.asks(ListGroupsRequest::default()))
            .await;
        assert_eq!(reason(list), ErrorReason::DependencyUnavailable);
        let request = GetGroupRequest {
            group_id: group.group_id.clone(),
        };
        let one = actor.groups().get_group(actor.asks(request)).await;
        assert_eq!(reason(one), ErrorReason::DependencyUnavailable);
    }
    // Other audiences are nobody's business here.
    assert_eq!(alice.members(&quiet).await.expect("seen").len(), 1);

    world.message_service_is_down(false);
    assert_eq!(bob.members(&group).await.expect("a read delivers").len(), 2);
    world.outbox_is_tidied_up().await;
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn an_answer_that_was_lost_costs_nothing_but_the_repetition() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    world.log.loses_answers.store(true, Ordering::SeqCst);
    assert_eq!(
        reason(alice.add(&group, &bob, MEMBER).await),
        ErrorReason::DependencyUnavailable
    );
    world.log.loses_answers.store(false, Ordering::SeqCst);
    alice.add(&group, &bob, MEMBER).await.expect("a member");
    assert_eq!(world.log.kinds(&group.group_id).await, ["member_put", "member_put"]);
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn the_sweeper_delivers_what_a_process_left_behind() {
    let mut world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    // The process dies between commit and delivery.
    world.message_service_is_down(true);
    assert_eq!(
        reason(alice.add(&group, &bob, MEMBER).await),
        ErrorReason::DependencyUnavailable
    );
    world.restart(true);
    world.message_service_is_down(false);

    world.outbox_is_tidied_up().await;
    assert!(world.log.members(&group.group_id).await.contains_key(&bob.id));
    world.assert_told(&group.group_id).await;
    let bob = world.again(&bob);
    assert_eq!(bob.members(&group).await.expect("seen").len(), 2);
}

#[tokio::test]
async fn the_sweeper_goes_on_trying_and_one_audience_holds_up_no_other() {
    let mut world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let (bad, good) = (alice.group().await, alice.group().await);
    world.message_service_is_down(true);
    for group in [&bad, &good] {
        assert_eq!(
            reason(alice.add(group, &bob, MEMBER).await),
            ErrorReason::DependencyUnavailable
        );
    }
    *world.log.poisoned.lock().await = Some(bad.group_id.clone());
    world.restart(true);
    let alice = world.again(&alice);
    until("an attempt while it is away", async || {
        world.log.calls.load(Ordering::SeqCst) >= 6
    })
    .await;
    world.message_service_is_down(false);

    until("the good one's delivery", async || {
        world.log.members(&good.group_id).await.len() == 2
    })
    .await;
    assert_eq!(alice.members(&good).await.expect("seen").len(), 2);
    assert_eq!(reason(alice.members(&bad).await), ErrorReason::DependencyUnavailable);
    until(
        "of the good one nothing to wait for, while the bad one is never given up",
        async || world.outbox().await == [(bad.group_id.clone(), 2)],
    )
    .await;

    *world.log.poisoned.lock().await = None;
    world.outbox_is_tidied_up().await;
    world.assert_told(&bad.group_id).await;
}

#[tokio::test]
async fn changes_that_wait_are_delivered_in_order() {
    let world = World::begin().await;
    let alice = world.user().await;
    let group = alice.group().await;
    let crowd = world.crowd(12).await;
    world.message_service_is_down(true);
    for user in &crowd {
        assert_eq!(
            reason(alice.add(&group, user, MEMBER).await),
            ErrorReason::DependencyUnavailable
        );
    }
    assert_eq!(world.outbox().await.len(), 12);
    world.message_service_is_down(false);
    alice.remove(&group, &crowd[0]).await.expect("removed");
    let changes = world.log.changes(&group.group_id).await;
    assert_eq!(changes.len(), 14);
    world.assert_told(&group.group_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audience_has_one_delivery_at_a_time() {
    let world = World::begin().await;
    let alice = world.user().await;
    let group = alice.group().await;
    world.outbox_is_tidied_up().await;
    // The fake panics when two meet. The first takes so long that others come meanwhile.
    world.log.slow.store(true, Ordering::SeqCst);
    world.log.held.store(true, Ordering::SeqCst);
    let before = world.log.calls.load(Ordering::SeqCst);
    let mut calls = Vec::new();
    for user in world.crowd(24).await {
        let (alice, group, log) = (alice.clone(), group.clone(), world.log.clone());
        calls.push(tokio::spawn(async move {
            insist(|| alice.add(&group, &user, MEMBER)).await.expect("added");
            // Also for one who came while a delivery was under way that had been read without them.
            assert!(
                log.members(&group.group_id).await.contains_key(&user.id),
                "told before the answer"
            );
        }));
    }
    until("several who wait", async || world.outbox().await.len() > 2).await;
    world.log.held.store(false, Ordering::SeqCst);
    for call in calls {
        call.await.expect("no panic");
    }
    let deliveries = world.log.calls.load(Ordering::SeqCst) - before;
    assert!(
        deliveries < 24,
        "those who wait share a delivery, but there were {deliveries}"
    );
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn a_large_backlog_is_cut_to_what_a_request_may_hold() {
    let world = World::begin().await;
    let alice = world.user().await;
    let group = alice.group().await;
    world.message_service_is_down(true);
    // The largest that a change can be: thousands of short keys.
    let metadata: std::collections::BTreeMap<String, String> =
        (0..1_365).map(|at| (format!("{at:03x}"), String::new())).collect();
    for at in 0..150 {
        let request = tidings_proto_chat::v1::CreateChatRequest {
            group_id: group.group_id.clone(),
            title: format!("chat {at}"),
            metadata: metadata.clone(),
            ..Default::default()
        };
        let refused = alice.chats().create_chat(alice.asks(request)).await;
        assert_eq!(reason(refused), ErrorReason::DependencyUnavailable);
    }
    world.message_service_is_down(false);
    assert_eq!(alice.members(&group).await.expect("seen").len(), 1);
    world.outbox_is_tidied_up().await;
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn leaving_is_ok_only_when_it_holds() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    let request = LeaveGroupRequest {
        group_id: group.group_id.clone(),
        request_id: bob.request_id(),
    };
    world.message_service_is_down(true);
    for _ in 0..2 {
        let refused = bob.memberships().leave_group(bob.asks(request.clone())).await;
        assert_eq!(reason(refused), ErrorReason::DependencyUnavailable);
    }
    world.message_service_is_down(false);
    bob.memberships().leave_group(bob.asks(request)).await.expect("left");
    assert!(!world.log.members(&group.group_id).await.contains_key(&bob.id));
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn numbers_that_a_restored_backup_gives_out_again_are_not_delivered() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let group = alice.group().await;
    let other = alice.group().await;
    // Here the last change is undone, there it is not.
    alice.add(&group, &bob, MEMBER).await.expect("added");
    world.outbox_is_tidied_up().await;
    sqlx::raw_sql(
        "delete from chats.members where role = 1;
         update chats.audiences set member_count = 1, last_number = last_number - 1 where member_count = 2",
    )
    .execute(&world.pool())
    .await
    .expect("as if restored");
    for _ in 0..2 {
        let refused = alice.add(&group, &carol, MEMBER).await;
        assert_eq!(reason(refused), ErrorReason::DependencyUnavailable);
    }
    assert_eq!(world.outbox().await.len(), 1, "what cannot be delivered is kept");
    let members = world.log.members(&group.group_id).await;
    assert!(members.contains_key(&bob.id) && !members.contains_key(&carol.id));
    alice.add(&other, &carol, MEMBER).await.expect("others go on");
}

#[tokio::test]
async fn a_backup_that_was_restored_is_noticed_and_not_papered_over() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    world.outbox_is_tidied_up().await;
    let request = AddMemberRequest {
        group_id: group.group_id.clone(),
        user_id: bob.id.clone(),
        ..AddMemberRequest::default()
    };
    // What was confirmed is gone there, and here.
    let world = {
        let mut world = world;
        world.log = crate::fakes::FakeLog::default();
        world.restart(false);
        world
    };
    let alice = world.again(&alice);
    let refused = alice.memberships().add_member(alice.asks(request)).await;
    assert_eq!(reason(refused), ErrorReason::DependencyUnavailable);
    assert_eq!(world.outbox().await, [(group.group_id.clone(), 2)]);
}
