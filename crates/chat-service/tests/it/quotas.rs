use tidings_chat_service::Config;
use tidings_proto_chat::v1::{CreateConversationRequest, CreateGroupRequest, LeaveChatRequest};
use tidings_proto_common::v1::ErrorReason;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::{
    chats::delete,
    world::{ADMIN, Actor, MEMBER, OWNER, World, insist, reason},
};

/// The quota that was exceeded, and its limit.
fn exceeded<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (String, String) {
    let refused = outcome.expect_err("full");
    let info = refused.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(reason(Err::<T, _>(refused)), ErrorReason::QuotaExceeded);
    (info.metadata["quota"].clone(), info.metadata["limit"].clone())
}

fn named(quota: &str, limit: &str) -> (String, String) {
    (quota.to_owned(), limit.to_owned())
}

async fn converse(caller: &Actor, others: &[&Actor]) -> Result<(), Status> {
    let request = CreateConversationRequest {
        user_ids: others.iter().map(|other| other.id.clone()).collect(),
        request_id: caller.request_id(),
        ..CreateConversationRequest::default()
    };
    let made = insist(async || caller.chats().create_conversation(caller.asks(request.clone())).await).await;
    made.map(drop)
}

async fn leave(actor: &Actor, chat_id: &str) {
    let request = LeaveChatRequest {
        chat_id: chat_id.to_owned(),
        request_id: actor.request_id(),
    };
    actor.chats().leave_chat(actor.asks(request)).await.expect("left");
}

#[tokio::test]
async fn each_countable_thing_has_its_bound() {
    let world = World::begin_with(Config {
        group_members_max: 2,
        group_chats_max: 1,
        groups_per_user_max: 2,
        chats_per_user_max: 3,
        ..Config::default()
    })
    .await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let bot = world.bot().await;

    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("the last place");
    assert_eq!(
        reason(alice.add(&group, &carol, MEMBER).await),
        ErrorReason::QuotaExceeded
    );
    alice.remove(&group, &bob).await.expect("removed");
    alice
        .add(&group, &carol, MEMBER)
        .await
        .expect("the place is free again");

    let chat = alice.chat_in(&group, "one").await.expect("the last place");
    assert_eq!(exceeded(alice.chat_in(&group, "two").await), named("group_chats", "1"));
    delete(&alice, &chat.chat_id).await.expect("deleted");
    alice.chat_in(&group, "two").await.expect("the place is free again");

    let empty = alice.group().await;
    let request = CreateGroupRequest {
        display_name: "Crew".to_owned(),
        ..CreateGroupRequest::default()
    };
    assert_eq!(
        reason(alice.groups().create_group(alice.asks(request)).await),
        ErrorReason::QuotaExceeded
    );
    // It counts for who made them, not for who was added.
    bob.group().await;

    // The chat of the group is one of three.
    alice.session(&bot).await.expect("two");
    alice.conversation(&[&bob]).await;
    assert_eq!(exceeded(alice.session(&bot).await), named("chats_per_user", "3"));
    assert_eq!(exceeded(converse(&alice, &[&bob]).await), named("chats_per_user", "3"));
    assert_eq!(
        exceeded(alice.chat_in(&empty, "four").await),
        named("chats_per_user", "3")
    );
    alice.direct(&bob).await.expect("direct chats count for nobody");
}

#[tokio::test]
async fn who_adds_takes_up_a_room_that_is_not_the_users_own() {
    let world = World::begin_with(Config {
        joined_chats_max: 2,
        groups_per_user_max: 1,
        chats_per_user_max: 2,
        ..Config::default()
    })
    .await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let [one, other, third] = [
        alice.conversation(&[&bob]).await,
        carol.conversation(&[&bob]).await,
        carol.conversation(&[&alice]).await,
    ];
    let full = named("joined_chats", "2");
    let group = alice.group().await;
    assert_eq!(exceeded(carol.add_to_chat(&third, &bob, MEMBER).await), full);
    assert_eq!(exceeded(alice.add(&group, &bob, OWNER).await), full);
    let dora = world.user().await;
    assert_eq!(exceeded(converse(&dora, &[&carol, &bob]).await), full);
    carol
        .add_to_chat(&other, &bob, MEMBER)
        .await
        .expect("who is in already needs no room");
    assert_eq!(alice.members(&group).await.expect("seen").len(), 1);
    assert_eq!(carol.chat_members(&third.chat_id).await.expect("seen").len(), 2);

    // Of what Bob makes nothing is taken, though others have made him an owner.
    leave(&bob, &one.chat_id).await;
    alice.add(&group, &bob, OWNER).await.expect("there is room again");
    bob.group().await;
    bob.conversation(&[&dora]).await;
    bob.session(&world.bot().await).await.expect("begun");
    alice.direct(&bob).await.expect("direct chats count for nobody");
    assert_eq!(exceeded(alice.add_to_chat(&one, &bob, MEMBER).await), full);
}

#[tokio::test]
async fn a_group_counts_with_its_chats() {
    let world = World::begin_with(Config {
        joined_chats_max: 3,
        ..Config::default()
    })
    .await;
    let [alice, bob] = [world.user().await, world.user().await];
    let full = named("joined_chats", "3");
    let (large, empty) = (alice.group().await, alice.group().await);
    for title in ["one", "two", "three"] {
        alice.chat_in(&large, title).await.expect("made");
    }
    alice.add(&empty, &bob, ADMIN).await.expect("added");
    assert_eq!(exceeded(alice.add(&large, &bob, MEMBER).await), full);

    // Nobody is asked whether a group may grow. Who was put into it cannot let it grow beyond what one can be put into.
    bob.chat_in(&empty, "one").await.expect("made");
    bob.chat_in(&empty, "two").await.expect("made");
    bob.chat_in(&empty, "three").await.expect("made");
    assert_eq!(exceeded(bob.chat_in(&empty, "four").await), full);
    alice.chat_in(&empty, "four").await.expect("made");
    assert_eq!(exceeded(converse(&alice, &[&bob]).await), full);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_places_are_given_once_by_however_many_at_once() {
    let world = World::begin_with(Config {
        joined_chats_max: 5,
        ..Config::default()
    })
    .await;
    let (bob, crowd) = (world.user().await, world.crowd(12).await);
    let mut calls = Vec::new();
    for (index, actor) in crowd.iter().cloned().enumerate() {
        let (bob, next) = (bob.clone(), crowd[(index + 1) % crowd.len()].clone());
        let group = if index % 3 == 2 {
            Some(actor.group().await)
        } else {
            None
        };
        calls.push(tokio::spawn(async move {
            match (index % 3, group) {
                (_, Some(group)) => insist(|| actor.add(&group, &bob, MEMBER)).await.map(drop),
                // In either order, so that they would wait for each other if rows were not locked by id.
                (0, None) => converse(&actor, &[&bob, &next]).await,
                (_, None) => converse(&actor, &[&next, &bob]).await,
            }
        }));
    }
    let mut added = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(()) => added += 1,
            refused => assert_eq!(exceeded(refused), named("joined_chats", "5")),
        }
    }
    assert_eq!(added, 5);
}
