use tidings_proto_chat::v1::{CreateConversationRequest, LeaveChatRequest, UpdateChatRequest};
use tidings_proto_common::v1::{ChatKind, ErrorReason};

use crate::{
    chats::{delete, update},
    world::{ADMIN, MEMBER, OWNER, World, reason, wrong_fields},
};

#[tokio::test]
async fn who_makes_a_conversation_owns_it_and_the_others_are_members() {
    let world = World::begin().await;
    let crowd = world.crowd(3).await;
    let [alice, bob, carol] = &crowd[..] else {
        unreachable!("three were made")
    };
    // Naming the caller, or somebody twice, changes nothing.
    let chat = alice.conversation(&[bob, alice, carol, bob]).await;
    assert_eq!(chat.kind(), ChatKind::Conversation);
    let members = carol.chat_members(&chat.chat_id).await.expect("seen");
    let mut expected = vec![
        (alice.id.clone(), OWNER),
        (bob.id.clone(), MEMBER),
        (carol.id.clone(), MEMBER),
    ];
    expected.sort();
    let members: Vec<_> = members
        .iter()
        .map(|member| (member.user_id.clone(), member.role()))
        .collect();
    assert_eq!(members, expected);
    assert_eq!(
        world.log.kinds(&chat.chat_id).await,
        ["chat_added", "member_put", "member_put", "member_put"]
    );
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test]
async fn a_conversation_needs_somebody_else_and_not_too_many() {
    let world = World::begin().await;
    let alice = world.user().await;
    let call = async |user_ids: Vec<String>| {
        let request = CreateConversationRequest {
            user_ids,
            ..CreateConversationRequest::default()
        };
        alice.chats().create_conversation(alice.asks(request)).await
    };
    assert_eq!(wrong_fields(call(vec![]).await), ["user_ids"]);
    assert_eq!(wrong_fields(call(vec![alice.id.clone(); 3]).await), ["user_ids"]);
    let many = world.crowd(200).await;
    let ids: Vec<String> = many.iter().map(|user| user.id.clone()).collect();
    assert_eq!(wrong_fields(call(ids.clone()).await), ["user_ids"]);
    let chat = call(ids[..199].to_vec())
        .await
        .expect("made")
        .into_inner()
        .chat
        .expect("a chat");
    assert_eq!(
        reason(alice.add_to_chat(&chat, &many[199], MEMBER).await),
        ErrorReason::QuotaExceeded
    );
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test]
async fn a_conversation_with_somebody_who_does_not_exist_is_refused_whole() {
    let world = World::begin().await;
    let [alice, bob, absent] = [world.user().await, world.user().await, world.user().await];
    world.users.users.lock().await.remove(&absent.id);
    let request = CreateConversationRequest {
        user_ids: vec![bob.id.clone(), absent.id.clone()],
        ..CreateConversationRequest::default()
    };
    assert_eq!(
        reason(alice.chats().create_conversation(alice.asks(request)).await),
        ErrorReason::NotFound
    );
    let chats: i64 = sqlx::query_scalar("select count(*) from chats.chats")
        .fetch_one(&world.pool())
        .await
        .expect("counted");
    assert_eq!(chats, 0);
}

#[tokio::test]
async fn members_come_and_go_by_rank() {
    let world = World::begin().await;
    let crowd = world.crowd(5).await;
    let [alice, bob, carol, dave, erin] = &crowd[..] else {
        unreachable!("five were made")
    };
    let chat = alice.conversation(&[carol]).await;
    alice.add_to_chat(&chat, bob, ADMIN).await.expect("added");
    bob.add_to_chat(&chat, dave, MEMBER).await.expect("added");
    assert_eq!(
        reason(bob.add_to_chat(&chat, erin, ADMIN).await),
        ErrorReason::RankTooLow
    );
    assert_eq!(
        reason(carol.add_to_chat(&chat, erin, MEMBER).await),
        ErrorReason::PermissionMissing
    );
    assert_eq!(
        reason(bob.remove_from_chat(&chat, alice).await),
        ErrorReason::RankTooLow
    );
    assert_eq!(
        reason(carol.remove_from_chat(&chat, dave).await),
        ErrorReason::PermissionMissing
    );
    bob.remove_from_chat(&chat, dave).await.expect("removed");
    assert_eq!(reason(dave.see(&chat.chat_id).await), ErrorReason::NotFound);
    assert_eq!(
        reason(erin.add_to_chat(&chat, erin, MEMBER).await),
        ErrorReason::NotFound
    );
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test]
async fn members_leave_but_not_the_last_owner() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.conversation(&[&bob]).await;
    let leave = |actor: &crate::world::Actor| {
        let request = LeaveChatRequest {
            chat_id: chat.chat_id.clone(),
            request_id: actor.request_id(),
        };
        (actor.chats(), actor.asks(request))
    };
    let (mut chats, request) = leave(&alice);
    assert_eq!(reason(chats.leave_chat(request).await), ErrorReason::LastOwner);
    let (mut chats, request) = leave(&bob);
    chats.leave_chat(request).await.expect("left");
    let (mut chats, request) = leave(&bob);
    assert_eq!(reason(chats.leave_chat(request).await), ErrorReason::NotFound);
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test]
async fn only_owners_delete_a_conversation() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.conversation(&[&bob]).await;
    alice
        .add_to_chat(&chat, &world.user().await, ADMIN)
        .await
        .expect("added");
    assert_eq!(
        reason(delete(&bob, &chat.chat_id).await),
        ErrorReason::PermissionMissing
    );
    delete(&alice, &chat.chat_id).await.expect("deleted");
    assert_eq!(reason(bob.see(&chat.chat_id).await), ErrorReason::NotFound);
    assert_eq!(world.log.kinds(&chat.chat_id).await.last(), Some(&"audience_removed"));
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test]
async fn members_come_and_go_in_conversations_only() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user().await, world.bot().await, world.user().await];
    let group = alice.group().await;
    let in_group = alice.chat_in(&group, "general").await.expect("made");
    let direct = alice.direct(&bob).await.expect("opened");
    let session = alice
        .see(&alice.session(&bob).await.expect("begun").chat_id)
        .await
        .expect("seen");
    for chat in [in_group, direct.clone(), session.clone()] {
        assert_eq!(
            reason(alice.add_to_chat(&chat, &carol, MEMBER).await),
            ErrorReason::KindUnsuitable
        );
        assert_eq!(
            reason(alice.remove_from_chat(&chat, &bob).await),
            ErrorReason::KindUnsuitable
        );
        let request = LeaveChatRequest {
            chat_id: chat.chat_id.clone(),
            ..LeaveChatRequest::default()
        };
        assert_eq!(
            reason(alice.chats().leave_chat(alice.asks(request)).await),
            ErrorReason::KindUnsuitable
        );
        // To a stranger they are not there, whatever their kind.
        assert_eq!(
            reason(carol.add_to_chat(&chat, &carol, MEMBER).await),
            ErrorReason::NotFound
        );
    }
    for chat in [direct, session] {
        assert_eq!(reason(delete(&alice, &chat.chat_id).await), ErrorReason::KindUnsuitable);
        let request = UpdateChatRequest {
            chat_id: chat.chat_id,
            title: "new".to_owned(),
            ..UpdateChatRequest::default()
        };
        assert_eq!(reason(update(&alice, request).await), ErrorReason::KindUnsuitable);
    }
}
