//! Repeated calls: the same `request_id` has the same outcome.

use tidings_proto_chat::v1::{
    AddMemberRequest, CreateChatRequest, CreateChatSessionRequest, CreateConversationRequest, CreateGroupRequest,
    DeleteChatRequest, DeleteGroupRequest, GetGroupRequest, Group, LeaveGroupRequest, RemoveMemberRequest,
    UpdateGroupRequest,
};
use tidings_proto_common::v1::ErrorReason;

use crate::world::{ADMIN, MEMBER, OWNER, World, insist, reason, wrong_fields};

#[tokio::test]
async fn creations_are_made_once() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.bot().await];
    let request_id = alice.request_id();

    let request = CreateGroupRequest {
        display_name: "Crew".to_owned(),
        request_id: request_id.clone(),
        ..CreateGroupRequest::default()
    };
    let mut groups = alice.groups();
    let first = groups
        .create_group(alice.asks(request.clone()))
        .await
        .expect("made")
        .into_inner();
    let second = groups
        .create_group(alice.asks(request))
        .await
        .expect("made")
        .into_inner();
    assert_eq!(first, second);

    let group_id = first.group.expect("a group").group_id;
    let request = CreateChatRequest {
        group_id,
        title: "general".to_owned(),
        request_id: request_id.clone(),
        ..CreateChatRequest::default()
    };
    let mut chats = alice.chats();
    let first = chats
        .create_chat(alice.asks(request.clone()))
        .await
        .expect("made")
        .into_inner();
    assert_eq!(
        first,
        chats.create_chat(alice.asks(request)).await.expect("made").into_inner()
    );

    let request = CreateConversationRequest {
        user_ids: vec![bob.id.clone()],
        request_id: request_id.clone(),
        ..CreateConversationRequest::default()
    };
    let first = chats
        .create_conversation(alice.asks(request.clone()))
        .await
        .expect("made")
        .into_inner();
    assert_eq!(
        first,
        chats
            .create_conversation(alice.asks(request))
            .await
            .expect("made")
            .into_inner()
    );

    let request = CreateChatSessionRequest {
        assistant_user_id: bob.id.clone(),
        request_id,
        ..CreateChatSessionRequest::default()
    };
    let mut sessions = alice.sessions();
    let first = sessions
        .create_chat_session(alice.asks(request.clone()))
        .await
        .expect("begun")
        .into_inner();
    assert_eq!(
        first,
        sessions
            .create_chat_session(alice.asks(request))
            .await
            .expect("begun")
            .into_inner()
    );
    assert_eq!(alice.session(&bob).await.expect("begun").session_number, 2);
}

#[tokio::test]
async fn other_content_under_the_same_id_is_refused_and_changes_nothing() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let request = |display_name: &str| CreateGroupRequest {
        display_name: display_name.to_owned(),
        request_id: "018f4c3e-7b1a-7c3d-8e9f-0a1b2c3d4e5f".to_owned(),
        ..CreateGroupRequest::default()
    };
    alice
        .groups()
        .create_group(alice.asks(request("Crew")))
        .await
        .expect("made");
    assert_eq!(
        reason(alice.groups().create_group(alice.asks(request("Fleet"))).await),
        ErrorReason::RequestIdReused
    );
    // Another account's ids are its own.
    bob.groups()
        .create_group(bob.asks(request("Fleet")))
        .await
        .expect("made");
    let groups: i64 = sqlx::query_scalar("select count(*) from chats.groups")
        .fetch_one(&world.pool())
        .await
        .expect("counted");
    assert_eq!(groups, 2);
}

#[tokio::test]
async fn ids_are_scoped_to_the_chat_that_is_named() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let (one, two) = (alice.conversation(&[&bob]).await, alice.conversation(&[&bob]).await);
    let request_id = alice.request_id();
    for chat in [&one, &two] {
        let request = tidings_proto_chat::v1::AddChatMemberRequest {
            chat_id: chat.chat_id.clone(),
            user_id: carol.id.clone(),
            request_id: request_id.clone(),
            ..Default::default()
        };
        alice.chats().add_chat_member(alice.asks(request)).await.expect("added");
        carol.see(&chat.chat_id).await.expect("a member");
    }
}

#[tokio::test]
async fn an_id_must_be_a_uuid() {
    let world = World::begin().await;
    let alice = world.user().await;
    for request_id in ["1", "not-a-uuid", &"a".repeat(10_000)] {
        let request = CreateGroupRequest {
            display_name: "Crew".to_owned(),
            request_id: request_id.to_owned(),
            ..CreateGroupRequest::default()
        };
        assert_eq!(
            wrong_fields(alice.groups().create_group(alice.asks(request)).await),
            ["request_id"]
        );
    }
}

#[tokio::test]
async fn a_replayed_addition_does_not_add_again_who_was_removed() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    let request = AddMemberRequest {
        group_id: group.group_id.clone(),
        user_id: bob.id.clone(),
        request_id: alice.request_id(),
        ..AddMemberRequest::default()
    };
    let mut memberships = alice.memberships();
    memberships
        .add_member(alice.asks(request.clone()))
        .await
        .expect("added");
    alice.remove(&group, &bob).await.expect("removed");
    let replayed = memberships
        .add_member(alice.asks(request))
        .await
        .expect("the first outcome")
        .into_inner();
    assert_eq!(replayed.membership, None);
    assert_eq!(alice.members(&group).await.expect("seen").len(), 1);
}

#[tokio::test]
async fn a_replayed_removal_does_not_remove_again_who_came_back() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    let request = RemoveMemberRequest {
        group_id: group.group_id.clone(),
        user_id: bob.id.clone(),
        request_id: alice.request_id(),
    };
    alice
        .memberships()
        .remove_member(alice.asks(request.clone()))
        .await
        .expect("removed");
    alice.add(&group, &bob, ADMIN).await.expect("added");
    alice
        .memberships()
        .remove_member(alice.asks(request))
        .await
        .expect("the first outcome");
    assert_eq!(bob.members(&group).await.expect("seen").len(), 2);
}

#[tokio::test]
async fn who_may_no_longer_read_gets_the_first_id_and_no_content() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let request = CreateGroupRequest {
        display_name: "Crew".to_owned(),
        request_id: alice.request_id(),
        ..CreateGroupRequest::default()
    };
    let create = async |request: &CreateGroupRequest| {
        alice
            .groups()
            .create_group(alice.asks(request.clone()))
            .await
            .expect("made")
            .into_inner()
            .group
            .expect("a group")
    };
    let group = create(&request).await;
    alice.add(&group, &bob, OWNER).await.expect("added");
    bob.remove(&group, &alice).await.expect("removed");
    assert_eq!(
        create(&request).await,
        Group {
            group_id: group.group_id.clone(),
            ..Group::default()
        }
    );
}

#[tokio::test]
async fn a_replay_shows_the_resource_as_it_is_now() {
    let world = World::begin().await;
    let alice = world.user().await;
    let group = alice.group().await;
    let update = async |description: &str, request_id: &str| {
        let request = UpdateGroupRequest {
            group_id: group.group_id.clone(),
            description: description.to_owned(),
            request_id: request_id.to_owned(),
            ..UpdateGroupRequest::default()
        };
        alice
            .groups()
            .update_group(alice.asks(request))
            .await
            .expect("changed")
            .into_inner()
            .group
            .expect("a group")
    };
    let first = alice.request_id();
    update("one", &first).await;
    let second = update("two", &alice.request_id()).await;
    assert_eq!(update("one", &first).await, second);
}

#[tokio::test]
async fn endings_are_repeatable() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    let chat = alice.chat_in(&group, "general").await.expect("made");
    for _ in 0..2 {
        let request = LeaveGroupRequest {
            group_id: group.group_id.clone(),
            request_id: "018f4c3e-7b1a-7c3d-8e9f-0a1b2c3d4e5f".to_owned(),
        };
        bob.memberships().leave_group(bob.asks(request)).await.expect("left");
    }
    for _ in 0..2 {
        let request = DeleteChatRequest {
            chat_id: chat.chat_id.clone(),
            request_id: "018f4c3e-7b1a-7c3d-8e9f-0a1b2c3d4e5f".to_owned(),
            ..DeleteChatRequest::default()
        };
        alice.chats().delete_chat(alice.asks(request)).await.expect("deleted");
    }
    for _ in 0..2 {
        let request = DeleteGroupRequest {
            group_id: group.group_id.clone(),
            request_id: "018f4c3e-7b1a-7c3d-8e9f-0a1b2c3d4e5f".to_owned(),
            ..DeleteGroupRequest::default()
        };
        alice.groups().delete_group(alice.asks(request)).await.expect("deleted");
    }
    let request = GetGroupRequest {
        group_id: group.group_id.clone(),
    };
    assert_eq!(
        reason(alice.groups().get_group(alice.asks(request)).await),
        ErrorReason::NotFound
    );
    world.assert_told(&group.group_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_at_the_same_time_have_one_outcome() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    let (create, leave) = (alice.request_id(), bob.request_id());
    let mut calls = Vec::new();
    for _ in 0..20 {
        let (alice, bob) = (alice.clone(), bob.clone());
        let request = CreateGroupRequest {
            display_name: "Crew".to_owned(),
            request_id: create.clone(),
            ..CreateGroupRequest::default()
        };
        let going = LeaveGroupRequest {
            group_id: group.group_id.clone(),
            request_id: leave.clone(),
        };
        calls.push(tokio::spawn(async move {
            let left = insist(async || bob.memberships().leave_group(bob.asks(going.clone())).await).await;
            left.expect("left");
            let made = insist(async || alice.groups().create_group(alice.asks(request.clone())).await).await;
            made.expect("made").into_inner().group.expect("a group").group_id
        }));
    }
    let mut ids = std::collections::HashSet::new();
    for call in calls {
        ids.insert(call.await.expect("no panic"));
    }
    assert_eq!(ids.len(), 1);
    world.assert_told(&group.group_id).await;
}
