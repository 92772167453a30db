use std::collections::BTreeMap;

use prost_types::FieldMask;
use tidings_proto_chat::v1::{
    CreateGroupRequest, DeleteGroupRequest, GetGroupRequest, Group, ListGroupsRequest, UpdateGroupRequest,
};
use tidings_proto_common::v1::ErrorReason;
use tonic::Status;

use crate::world::{ADMIN, Actor, MEMBER, OWNER, World, reason};

async fn get(actor: &Actor, group: &Group) -> Result<Group, Status> {
    let request = GetGroupRequest {
        group_id: group.group_id.clone(),
    };
    Ok(actor
        .groups()
        .get_group(actor.asks(request))
        .await?
        .into_inner()
        .group
        .expect("a group"))
}

async fn update(actor: &Actor, request: UpdateGroupRequest) -> Result<Group, Status> {
    Ok(actor
        .groups()
        .update_group(actor.asks(request))
        .await?
        .into_inner()
        .group
        .expect("a group"))
}

async fn delete(actor: &Actor, group: &Group, etag: &str) -> Result<(), Status> {
    let request = DeleteGroupRequest {
        group_id: group.group_id.clone(),
        etag: etag.to_owned(),
        request_id: actor.request_id(),
    };
    actor.groups().delete_group(actor.asks(request)).await.map(drop)
}

#[tokio::test]
async fn who_makes_a_group_owns_it() {
    let world = World::begin().await;
    let alice = world.user().await;
    let request = CreateGroupRequest {
        display_name: "Crew".to_owned(),
        description: "two\nlines".to_owned(),
        metadata: BTreeMap::from([("colour".to_owned(), "blue".to_owned())]),
        ..CreateGroupRequest::default()
    };
    let group = alice
        .groups()
        .create_group(alice.asks(request))
        .await
        .expect("made")
        .into_inner()
        .group
        .expect("a group");

    assert_eq!(group.display_name, "Crew");
    assert_eq!(group.description, "two\nlines");
    assert_eq!(group.metadata["colour"], "blue");
    assert_eq!(group.member_count, 1);
    assert_eq!(get(&alice, &group).await.expect("seen"), group);
    assert_eq!(alice.members(&group).await.expect("seen"), [(alice.id.clone(), OWNER)]);
    assert_eq!(world.log.kinds(&group.group_id).await, ["member_put"]);
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn making_groups_takes_a_permission() {
    let world = World::begin().await;
    let bot = world.user_with(&[]).await;
    let request = CreateGroupRequest {
        display_name: "Crew".to_owned(),
        ..CreateGroupRequest::default()
    };
    let refused = bot.groups().create_group(bot.asks(request)).await;
    assert_eq!(reason(refused), ErrorReason::PermissionMissing);
}

#[tokio::test]
async fn admins_and_owners_change_a_group_and_members_do_not() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, ADMIN).await.expect("added");
    alice.add(&group, &carol, MEMBER).await.expect("added");
    let named = |display_name: &str| UpdateGroupRequest {
        group_id: group.group_id.clone(),
        display_name: display_name.to_owned(),
        ..UpdateGroupRequest::default()
    };

    let changed = update(&bob, named("Fleet")).await.expect("changed");
    assert_eq!(changed.display_name, "Fleet");
    assert_eq!(changed.member_count, 3);
    assert_ne!(changed.etag, group.etag);
    assert_eq!(
        reason(update(&carol, named("Ship")).await),
        ErrorReason::PermissionMissing
    );
    assert_eq!(get(&carol, &group).await.expect("seen").display_name, "Fleet");
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let world = World::begin().await;
    let alice = world.user().await;
    let request = CreateGroupRequest {
        display_name: "Crew".to_owned(),
        description: "old".to_owned(),
        ..CreateGroupRequest::default()
    };
    let group = alice
        .groups()
        .create_group(alice.asks(request))
        .await
        .expect("made")
        .into_inner()
        .group
        .expect("a group");
    let masked = |paths: &[&str]| UpdateGroupRequest {
        group_id: group.group_id.clone(),
        display_name: "ignored".to_owned(),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(ToString::to_string).collect(),
        }),
        ..UpdateGroupRequest::default()
    };

    let changed = update(&alice, masked(&["description"])).await.expect("changed");
    assert_eq!(
        (changed.display_name.as_str(), changed.description.as_str()),
        ("Crew", "")
    );
    for path in ["group_id", "displayName", "member_count", "*", ""] {
        assert_eq!(
            reason(update(&alice, masked(&[path])).await),
            ErrorReason::FieldInvalid,
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_old_etag_is_refused() {
    let world = World::begin().await;
    let alice = world.user().await;
    let group = alice.group().await;
    let request = |etag: &str| UpdateGroupRequest {
        group_id: group.group_id.clone(),
        description: "new".to_owned(),
        etag: etag.to_owned(),
        ..UpdateGroupRequest::default()
    };

    let changed = update(&alice, request(&group.etag)).await.expect("changed");
    assert_eq!(
        reason(update(&alice, request(&group.etag)).await),
        ErrorReason::EtagMismatch
    );
    assert_eq!(
        reason(delete(&alice, &group, &group.etag).await),
        ErrorReason::EtagMismatch
    );
    update(&alice, request(&changed.etag)).await.expect("changed");
    assert_eq!(get(&alice, &group).await.expect("seen").description, "new");
}

#[tokio::test]
async fn members_do_not_change_a_groups_etag() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    assert_eq!(get(&alice, &group).await.expect("seen").etag, group.etag);
}

#[tokio::test]
async fn only_owners_delete_a_group_and_with_it_everything_in_it() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, ADMIN).await.expect("added");
    let chat = alice.chat_in(&group, "general").await.expect("made");

    assert_eq!(reason(delete(&bob, &group, "").await), ErrorReason::PermissionMissing);
    delete(&alice, &group, "").await.expect("deleted");

    for actor in [&alice, &bob] {
        assert_eq!(reason(get(actor, &group).await), ErrorReason::NotFound);
        assert_eq!(reason(actor.see(&chat.chat_id).await), ErrorReason::NotFound);
        let groups = actor
            .groups()
            .list_groups(actor.asks(ListGroupsRequest::default()))
            .await
            .expect("listed");
        assert_eq!(groups.into_inner().groups, []);
    }
    assert_eq!(reason(delete(&alice, &group, "").await), ErrorReason::NotFound);
    assert_eq!(world.log.kinds(&group.group_id).await.last(), Some(&"audience_removed"));
    world.assert_told(&group.group_id).await;
}
