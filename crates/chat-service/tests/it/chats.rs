use prost_types::FieldMask;
use tidings_proto_chat::v1::{Chat, CreateChatRequest, DeleteChatRequest, ListChatsRequest, UpdateChatRequest};
use tidings_proto_common::v1::{ChatHistory, ChatKind, ErrorReason};
use tidings_proto_message::v1::audience_change::Kind;
use tonic::Status;

use crate::world::{ADMIN, Actor, MEMBER, World, reason, wrong_fields};

pub async fn update(actor: &Actor, request: UpdateChatRequest) -> Result<Chat, Status> {
    Ok(actor
        .chats()
        .update_chat(actor.asks(request))
        .await?
        .into_inner()
        .chat
        .expect("a chat"))
}

pub async fn delete(actor: &Actor, chat_id: &str) -> Result<(), Status> {
    let request = DeleteChatRequest {
        chat_id: chat_id.to_owned(),
        request_id: actor.request_id(),
        ..DeleteChatRequest::default()
    };
    actor.chats().delete_chat(actor.asks(request)).await.map(drop)
}

#[tokio::test]
async fn a_groups_chat_is_for_the_groups_members() {
    let world = World::begin().await;
    let [alice, bob, stranger] = [world.user().await, world.user().await, world.user().await];
    let group = alice.group().await;
    let request = CreateChatRequest {
        group_id: group.group_id.clone(),
        title: "general".to_owned(),
        history: ChatHistory::FromJoining.into(),
        ..CreateChatRequest::default()
    };
    let chat = alice
        .chats()
        .create_chat(alice.asks(request))
        .await
        .expect("made")
        .into_inner()
        .chat
        .expect("a chat");
    assert_eq!(chat.kind(), ChatKind::Group);
    assert_eq!(chat.group_id, group.group_id);
    assert_eq!(chat.history(), ChatHistory::FromJoining);

    assert_eq!(reason(bob.see(&chat.chat_id).await), ErrorReason::NotFound);
    alice.add(&group, &bob, MEMBER).await.expect("added");
    assert_eq!(bob.see(&chat.chat_id).await.expect("seen"), chat);
    let members = bob.chat_members(&chat.chat_id).await.expect("seen");
    assert_eq!(members.len(), 2);
    assert!(members.iter().all(|member| member.chat_id == chat.chat_id));
    assert_eq!(
        reason(stranger.chat_members(&chat.chat_id).await),
        ErrorReason::NotFound
    );

    let changes = world.log.changes(&group.group_id).await;
    let Some(Kind::ChatAdded(facts)) = &changes[1].kind else {
        panic!("{changes:?}")
    };
    assert_eq!(
        (facts.chat_id.as_str(), facts.title.as_str()),
        (chat.chat_id.as_str(), "general")
    );
    assert_eq!(facts.group_id, group.group_id);
    assert_eq!(facts.history(), ChatHistory::FromJoining);
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn plain_members_make_no_chats_in_a_group() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user().await, world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, ADMIN).await.expect("added");
    alice.add(&group, &carol, MEMBER).await.expect("added");
    bob.chat_in(&group, "one").await.expect("made");
    assert_eq!(
        reason(carol.chat_in(&group, "two").await),
        ErrorReason::PermissionMissing
    );
}

#[tokio::test]
async fn admins_change_a_groups_chat_and_it_keeps_a_title() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    let chat = alice.chat_in(&group, "general").await.expect("made");
    let titled = |title: &str| UpdateChatRequest {
        chat_id: chat.chat_id.clone(),
        title: title.to_owned(),
        update_mask: Some(FieldMask {
            paths: vec!["title".to_owned()],
        }),
        ..UpdateChatRequest::default()
    };

    let changed = update(&alice, titled("random")).await.expect("changed");
    assert_eq!(changed.title, "random");
    assert_ne!(changed.etag, chat.etag);
    assert_eq!(
        reason(update(&bob, titled("mine")).await),
        ErrorReason::PermissionMissing
    );
    for blank in ["", " ", "\u{200B}"] {
        assert_eq!(
            wrong_fields(update(&alice, titled(blank)).await),
            ["title"],
            "{blank:?}"
        );
    }
    let stale = UpdateChatRequest {
        etag: chat.etag.clone(),
        ..titled("late")
    };
    assert_eq!(reason(update(&alice, stale).await), ErrorReason::EtagMismatch);
    assert_eq!(world.log.kinds(&group.group_id).await.last(), Some(&"chat_updated"));
}

#[tokio::test]
async fn an_update_of_nothing_tells_nobody() {
    let world = World::begin().await;
    let alice = world.user().await;
    let group = alice.group().await;
    let chat = alice.chat_in(&group, "general").await.expect("made");
    let request = UpdateChatRequest {
        chat_id: chat.chat_id.clone(),
        ..UpdateChatRequest::default()
    };
    assert_eq!(update(&alice, request).await.expect("nothing to do"), chat);
    assert_eq!(world.log.kinds(&group.group_id).await, ["member_put", "chat_added"]);
}

#[tokio::test]
async fn a_deleted_chat_is_gone_and_its_group_stays() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let group = alice.group().await;
    alice.add(&group, &bob, MEMBER).await.expect("added");
    let [one, two] = [
        alice.chat_in(&group, "one").await.expect("made"),
        alice.chat_in(&group, "two").await.expect("made"),
    ];

    assert_eq!(reason(delete(&bob, &one.chat_id).await), ErrorReason::PermissionMissing);
    delete(&alice, &one.chat_id).await.expect("deleted");
    assert_eq!(reason(bob.see(&one.chat_id).await), ErrorReason::NotFound);
    assert_eq!(reason(delete(&alice, &one.chat_id).await), ErrorReason::NotFound);
    bob.see(&two.chat_id).await.expect("seen");
    assert_eq!(world.log.kinds(&group.group_id).await.last(), Some(&"chat_removed"));
    world.assert_told(&group.group_id).await;
}

#[tokio::test]
async fn the_list_joins_titles_with_what_the_message_service_knows() {
    let world = World::begin().await;
    let [alice, bob, assistant] = [world.user().await, world.user().await, world.bot().await];
    let group = alice.group().await;
    let in_group = alice.chat_in(&group, "general").await.expect("made");
    let direct = alice.direct(&bob).await.expect("opened");
    let session = alice.session(&assistant).await.expect("begun");
    *world.log.text.lock().await = "hello".to_owned();

    let list = alice
        .chats()
        .list_chats(alice.asks(ListChatsRequest::default()))
        .await
        .expect("listed")
        .into_inner();
    let ids: Vec<&str> = list
        .chats
        .iter()
        .map(|summary| summary.chat.as_ref().expect("a chat").chat_id.as_str())
        .collect();
    assert_eq!(ids.len(), 3);
    for chat_id in [&in_group.chat_id, &direct.chat_id, &session.chat_id] {
        assert!(ids.contains(&chat_id.as_str()));
    }
    let first = &list.chats[0];
    assert_eq!((first.last_sequence, first.unread_count), (7, 3));
    assert_eq!(first.last_message.as_ref().expect("a message").text, "hello");
    assert_eq!(list.next_page_token, "");

    let others = bob
        .chats()
        .list_chats(bob.asks(ListChatsRequest::default()))
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(others.chats.len(), 1);
    world.message_service_is_down(true);
    let refused = alice.chats().list_chats(alice.asks(ListChatsRequest::default())).await;
    assert_eq!(reason(refused), ErrorReason::DependencyUnavailable);
}
