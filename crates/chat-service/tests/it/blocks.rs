//! What users who block each other mean for chats.

use tidings_proto_chat::v1::CreateConversationRequest;
use tidings_proto_common::v1::ErrorReason as R;
use tidings_testkit::until_waiting;
use tonic::Status;

use crate::world::{Actor, MEMBER, OWNER, World, reason};

async fn following() -> World {
    let mut world = World::begin().await;
    world.restart(true);
    // Before its first entry, which else might be read with all others at once.
    world.feed.is_applied(&world).await;
    world
}

async fn converse(caller: &Actor, others: &[&Actor]) -> Result<(), Status> {
    let request = CreateConversationRequest {
        user_ids: others.iter().map(|other| other.id.clone()).collect(),
        ..CreateConversationRequest::default()
    };
    caller.chats().create_conversation(caller.asks(request)).await.map(drop)
}

#[tokio::test]
async fn a_block_reaches_the_direct_chat_and_its_removal_too() {
    let world = following().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let chat = alice.direct(&bob).await.expect("opened");
    let other = alice.direct(&carol).await.expect("opened");

    world.feed.block(&bob, &alice);
    world.feed.is_applied(&world).await;
    assert!(world.log.blocked(&chat.chat_id).await);
    assert!(!world.log.blocked(&other.chat_id).await, "nobody else's");

    world.feed.block(&alice, &bob);
    world.feed.unblock(&bob, &alice);
    world.feed.is_applied(&world).await;
    assert!(world.log.blocked(&chat.chat_id).await, "one of the two still blocks");

    world.feed.unblock(&alice, &bob);
    world.feed.unblock(&alice, &bob);
    world.feed.is_applied(&world).await;
    assert!(!world.log.blocked(&chat.chat_id).await);
    assert_eq!(
        world.log.kinds(&chat.chat_id).await,
        ["chat_added", "member_put", "member_put", "chat_blocked", "chat_blocked"],
        "only what decides otherwise is told"
    );
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test]
async fn neither_opens_a_new_direct_chat_but_an_old_one_is_found() {
    let world = following().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let old = alice.direct(&carol).await.expect("opened");
    world.feed.block(&alice, &bob);
    world.feed.block(&alice, &carol);
    world.feed.is_applied(&world).await;
    assert_eq!(reason(alice.direct(&bob).await), R::Blocked);
    assert_eq!(reason(bob.direct(&alice).await), R::Blocked);
    assert_eq!(carol.direct(&alice).await.expect("found").chat_id, old.chat_id);
    bob.direct(&carol).await.expect("nothing between these two");

    world.feed.unblock(&alice, &bob);
    world.feed.is_applied(&world).await;
    bob.direct(&alice).await.expect("opened");
}

#[tokio::test]
async fn neither_puts_the_other_into_anything() {
    let world = following().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let groups = [alice.group().await, bob.group().await];
    let chats = [alice.conversation(&[&carol]).await, bob.conversation(&[&carol]).await];
    let common = carol.conversation(&[&alice]).await;
    world.feed.block(&alice, &bob);
    world.feed.is_applied(&world).await;

    for (index, (caller, other)) in [(&alice, &bob), (&bob, &alice)].into_iter().enumerate() {
        assert_eq!(reason(converse(caller, &[other]).await), R::Blocked);
        assert_eq!(reason(converse(caller, &[&carol, other]).await), R::Blocked);
        assert_eq!(
            reason(caller.add_to_chat(&chats[index], other, MEMBER).await),
            R::Blocked
        );
        assert_eq!(reason(caller.add(&groups[index], other, MEMBER).await), R::Blocked);
        converse(caller, &[&carol]).await.expect("others are as they were");
        caller.add(&groups[index], &carol, MEMBER).await.expect("added");
        assert_eq!(caller.chat_members(&chats[index].chat_id).await.expect("seen").len(), 2);
    }
    // Who has nothing to do with it may put both into one.
    carol.add_to_chat(&common, &bob, MEMBER).await.expect("added");
    converse(&carol, &[&alice, &bob]).await.expect("made");

    world.feed.unblock(&alice, &bob);
    world.feed.is_applied(&world).await;
    bob.add(&groups[1], &alice, MEMBER).await.expect("added");
}

#[tokio::test]
async fn who_is_in_already_stays_in() {
    let world = following().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, OWNER).await.expect("added");
    world.feed.block(&bob, &alice);
    world.feed.is_applied(&world).await;
    alice.add(&group, &bob, OWNER).await.expect("a member already");
    assert_eq!(bob.members(&group).await.expect("seen").len(), 2);
}

#[tokio::test]
async fn a_process_goes_on_where_the_one_before_was() {
    let mut world = following().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.direct(&bob).await.expect("opened");
    world.feed.touch(&alice);
    world.feed.block(&alice, &bob);
    world.feed.is_applied(&world).await;

    world.restart(false);
    world.feed.unblock(&alice, &bob);
    world.feed.touch(&bob);
    world.feed.block(&bob, &alice);
    world.feed.unblock(&bob, &alice);
    assert!(world.log.blocked(&chat.chat_id).await, "nobody follows");
    world.restart(true);
    world.feed.is_applied(&world).await;
    assert!(!world.log.blocked(&chat.chat_id).await);
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test]
async fn several_processes_apply_each_entry_once() {
    let world = following().await;
    world.begin_beside();
    world.begin_beside();
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.direct(&bob).await.expect("opened");
    for _ in 0..20 {
        world.feed.block(&alice, &bob);
        world.feed.touch(&bob);
        world.feed.unblock(&alice, &bob);
    }
    world.feed.is_applied(&world).await;
    let kinds = world.log.kinds(&chat.chat_id).await;
    assert_eq!(kinds.iter().filter(|kind| **kind == "chat_blocked").count(), 40);
    assert!(!world.log.blocked(&chat.chat_id).await);
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test]
async fn what_the_feed_has_forgotten_is_read_anew() {
    let mut world = following().await;
    let crowd = world.crowd(6).await;
    let mut chats = Vec::new();
    for other in &crowd[1..] {
        chats.push(crowd[0].direct(other).await.expect("opened").chat_id);
    }
    world.feed.block(&crowd[0], &crowd[1]);
    world.feed.block(&crowd[0], &crowd[2]);
    world.feed.block(&crowd[2], &crowd[0]);
    world.feed.is_applied(&world).await;

    world.restart(false);
    world.feed.unblock(&crowd[0], &crowd[1]);
    world.feed.unblock(&crowd[0], &crowd[2]);
    for blocker in &crowd[3..] {
        world.feed.block(blocker, &crowd[0]);
    }
    world.feed.forget();
    world.restart(true);
    world.begin_beside();
    world.feed.is_applied(&world).await;
    let mut blocked = Vec::new();
    for chat_id in &chats {
        blocked.push(world.log.blocked(chat_id).await);
        world.assert_told(chat_id).await;
    }
    assert_eq!(blocked, [false, true, true, true, true]);

    // And the feed goes on from there.
    world.feed.unblock(&crowd[3], &crowd[0]);
    world.feed.is_applied(&world).await;
    assert!(!world.log.blocked(&chats[2]).await);
}

#[tokio::test]
async fn after_a_restored_backup_what_it_has_counts() {
    let world = following().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let (one, other) = (
        alice.direct(&bob).await.expect("opened"),
        alice.direct(&carol).await.expect("opened"),
    );
    world.feed.touch(&alice);
    world.feed.block(&alice, &bob);
    world.feed.is_applied(&world).await;
    let mut world = world;
    world.restart(false);
    world.feed.restore(&alice, &carol);
    world.restart(true);
    world.feed.is_applied(&world).await;
    assert!(!world.log.blocked(&one.chat_id).await);
    assert!(world.log.blocked(&other.chat_id).await);
}

#[tokio::test]
async fn what_the_message_service_misses_it_gets_when_it_is_back() {
    let world = following().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.direct(&bob).await.expect("opened");
    world.outbox_is_tidied_up().await;
    world.message_service_is_down(true);
    world.feed.block(&alice, &bob);
    crate::world::until("the entry in the outbox", async || !world.outbox().await.is_empty()).await;
    assert!(!world.log.blocked(&chat.chat_id).await);
    assert_eq!(
        reason(alice.see(&chat.chat_id).await),
        R::DependencyUnavailable,
        "nothing is told of an audience that is undelivered"
    );
    world.message_service_is_down(false);
    world.feed.is_applied(&world).await;
    assert!(world.log.blocked(&chat.chat_id).await);
}

/// Both wait for the pair's row, in this order or in the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_that_is_opened_while_the_block_comes_is_refused_or_blocked() {
    let world = following().await;
    for round in 0..20 {
        let opens_first = round % 2 == 0;
        let [alice, bob] = [world.user().await, world.user().await];
        let pool = world.pool();
        let make = "insert into chats.user_pairs (user_low, user_high)
                    values (least($1::uuid, $2::uuid), greatest($1::uuid, $2::uuid))";
        let made = sqlx::query(make).bind(&alice.id).bind(&bob.id).execute(&pool).await;
        made.expect("made");
        let mut holding = pool.begin().await.expect("begun");
        let hold = "select from chats.user_pairs where $1::uuid in (user_low, user_high) for update";
        let held = sqlx::query(hold).bind(&alice.id).execute(&mut *holding).await;
        held.expect("held");
        let open = || {
            let (alice, bob) = (alice.clone(), bob.clone());
            tokio::spawn(async move { alice.direct(&bob).await })
        };
        let opening = if opens_first {
            let opening = open();
            until_waiting(&pool, 1).await;
            world.feed.block(&bob, &alice);
            until_waiting(&pool, 2).await;
            opening
        } else {
            world.feed.block(&bob, &alice);
            until_waiting(&pool, 1).await;
            let opening = open();
            until_waiting(&pool, 2).await;
            opening
        };
        holding.commit().await.expect("let go");

        let outcome = opening.await.expect("no panic");
        world.feed.is_applied(&world).await;
        if opens_first {
            let chat = outcome.expect("opened before the block");
            assert!(world.log.blocked(&chat.chat_id).await, "round {round}");
            world.assert_told(&chat.chat_id).await;
        } else {
            assert_eq!(reason(outcome), R::Blocked, "round {round}");
        }
    }
}
