//! Users whose deletion is final leave what they are in.

use tidings_proto_chat::v1::{Group, ListGroupsRequest};
use tidings_proto_common::v1::ChatRole;

use crate::world::{ADMIN, Actor, MEMBER, OWNER, World, until};

async fn following() -> World {
    let mut world = World::begin().await;
    world.restart(true);
    world
}

/// Waits until nobody is on the way out.
async fn all_gone(world: &World) {
    world.feed.is_applied(world).await;
    until("the departures", async || {
        let left: i64 = sqlx::query_scalar("select count(*) from chats.departures")
            .fetch_one(&world.pool())
            .await
            .expect("counted");
        left == 0
    })
    .await;
    world.outbox_is_tidied_up().await;
}

async fn role_of(viewer: &Actor, group: &Group, user: &Actor) -> Option<ChatRole> {
    let members = viewer.members(group).await.expect("seen");
    members
        .into_iter()
        .find(|(user_id, _)| *user_id == user.id)
        .map(|(_, role)| role)
}

#[tokio::test]
async fn a_deleted_user_leaves_groups_and_conversations_as_if_they_had_gone() {
    let world = following().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, ADMIN).await.expect("added");
    let chat = alice.conversation(&[&bob, &carol]).await;
    let direct = alice.direct(&bob).await.expect("opened");

    world.feed.touch(&bob);
    world.feed.delete(&bob);
    all_gone(&world).await;
    assert_eq!(role_of(&alice, &group, &bob).await, None);
    assert_eq!(alice.chat_members(&chat.chat_id).await.expect("seen").len(), 2);
    assert_eq!(
        alice.chat_members(&direct.chat_id).await.expect("still read").len(),
        2,
        "the members of a direct chat never change"
    );
    assert_eq!(world.log.kinds(&group.group_id).await.last(), Some(&"member_removed"));
    for audience_id in [&group.group_id, &chat.chat_id, &direct.chat_id] {
        world.assert_told(audience_id).await;
    }
}

#[tokio::test]
async fn the_place_of_the_only_owner_goes_to_who_has_been_there_longest() {
    let world = following().await;
    let crowd = world.crowd(5).await;
    let owner = &crowd[0];
    let with_admins = owner.group().await;
    let with_members = owner.group().await;
    let with_owner = owner.group().await;
    for (group, roles) in [
        (&with_admins, [MEMBER, MEMBER, ADMIN, ADMIN]),
        (&with_members, [MEMBER, MEMBER, MEMBER, MEMBER]),
        (&with_owner, [MEMBER, ADMIN, MEMBER, OWNER]),
    ] {
        for (user, role) in crowd[1..].iter().zip(roles) {
            owner.add(group, user, role).await.expect("added");
        }
    }
    world.feed.delete(owner);
    all_gone(&world).await;
    let viewer = &crowd[4];
    for (group, heir) in [(&with_admins, 3), (&with_members, 1), (&with_owner, 4)] {
        for (at, user) in crowd.iter().enumerate() {
            let role = role_of(viewer, group, user).await;
            assert_eq!(role == Some(OWNER), at == heir, "{at} of {heir}: {role:?}");
        }
        world.assert_told(&group.group_id).await;
    }
}

#[tokio::test]
async fn where_nobody_is_left_it_ends() {
    let world = following().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let alone = alice.group().await;
    let together = alice.group().await;
    alice.add(&together, &bob, MEMBER).await.expect("added");
    let chat = alice.conversation(&[&bob]).await;
    world.feed.delete(&alice);
    world.feed.delete(&bob);
    all_gone(&world).await;
    for audience_id in [&alone.group_id, &together.group_id, &chat.chat_id] {
        assert_eq!(world.log.kinds(audience_id).await.last(), Some(&"audience_removed"));
        assert!(world.log.members(audience_id).await.is_empty());
    }
    let groups = alice
        .groups()
        .list_groups(alice.asks(ListGroupsRequest::default()))
        .await;
    assert!(groups.expect("listed").into_inner().groups.is_empty());
}

#[tokio::test]
async fn a_departure_outlives_the_process_and_the_feed() {
    let mut world = following().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    alice.add(&group, &carol, MEMBER).await.expect("added");
    world.feed.touch(&alice);
    world.feed.is_applied(&world).await;

    world.restart(false);
    world.feed.delete(&bob);
    world.feed.forget();
    world.message_service_is_down(true);
    world.restart(true);
    until("the departure to be noted", async || !world.outbox().await.is_empty()).await;
    assert!(world.log.members(&group.group_id).await.contains_key(&bob.id));
    world.restart(true);
    world.message_service_is_down(false);
    all_gone(&world).await;
    assert!(!world.log.members(&group.group_id).await.contains_key(&bob.id));
    assert_eq!(world.log.members(&group.group_id).await.len(), 2);
    world.assert_told(&group.group_id).await;
}
