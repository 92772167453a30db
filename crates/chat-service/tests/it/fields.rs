//! Every wrong field is named, all at once.

use std::collections::BTreeMap;

use prost_types::FieldMask;
use tidings_proto_chat::v1::{
    AddMemberRequest, CreateChatRequest, CreateChatSessionRequest, CreateConversationRequest, CreateGroupRequest,
    UpdateChatRequest, UpdateGroupRequest,
};

use crate::world::{World, wrong_fields};

fn large() -> BTreeMap<String, String> {
    BTreeMap::from([("k".to_owned(), "v".repeat(4_096))])
}

#[tokio::test]
async fn a_request_hears_all_that_is_wrong_with_it() {
    let world = World::begin().await;
    let alice = world.user().await;

    let request = CreateGroupRequest {
        display_name: "a\nb".to_owned(),
        description: "x".repeat(1_001),
        request_id: "1".to_owned(),
        metadata: large(),
    };
    let refused = alice.groups().create_group(alice.asks(request)).await;
    assert_eq!(
        wrong_fields(refused),
        ["description", "display_name", "metadata", "request_id"]
    );

    let request = UpdateGroupRequest {
        group_id: "x".to_owned(),
        display_name: String::new(),
        update_mask: Some(FieldMask {
            paths: vec!["display_name".to_owned(), "etag".to_owned()],
        }),
        ..UpdateGroupRequest::default()
    };
    let refused = alice.groups().update_group(alice.asks(request)).await;
    assert_eq!(wrong_fields(refused), ["display_name", "group_id", "update_mask"]);

    let request = AddMemberRequest {
        group_id: String::new(),
        user_id: "018F4C3E-7B1A-7C3D-8E9F-0A1B2C3D4E5F".to_owned(),
        role: 9,
        request_id: "-".to_owned(),
    };
    let refused = alice.memberships().add_member(alice.asks(request)).await;
    assert_eq!(wrong_fields(refused), ["group_id", "request_id", "role", "user_id"]);

    let request = CreateChatRequest {
        title: String::new(),
        history: 7,
        metadata: large(),
        ..CreateChatRequest::default()
    };
    let refused = alice.chats().create_chat(alice.asks(request)).await;
    assert_eq!(wrong_fields(refused), ["group_id", "history", "metadata", "title"]);

    let request = CreateConversationRequest {
        user_ids: vec![alice.id.clone(), "x".to_owned()],
        title: "\u{202E}".to_owned(),
        history: -1,
        ..CreateConversationRequest::default()
    };
    let refused = alice.chats().create_conversation(alice.asks(request)).await;
    assert_eq!(wrong_fields(refused), ["history", "title", "user_ids[1]"]);

    let request = CreateChatSessionRequest {
        title: "x".repeat(129),
        assistant_user_id: "x".to_owned(),
        ..CreateChatSessionRequest::default()
    };
    let refused = alice.sessions().create_chat_session(alice.asks(request)).await;
    assert_eq!(wrong_fields(refused), ["assistant_user_id", "title"]);
}

#[tokio::test]
async fn text_that_cannot_be_kept_is_refused_and_other_text_comes_back_as_it_was() {
    let world = World::begin().await;
    let alice = world.user().await;
    for display_name in ["", " ", "\u{200B}", "a\0b", "a\u{7f}b", "a\u{2028}b", &"é".repeat(129)] {
        let request = CreateGroupRequest {
            display_name: display_name.to_owned(),
            ..CreateGroupRequest::default()
        };
        let refused = alice.groups().create_group(alice.asks(request)).await;
        assert_eq!(wrong_fields(refused), ["display_name"], "{display_name:?}");
    }
    for display_name in ["é", "e\u{301}", "👩‍👩‍👧 crew", "עברית", " padded ", &"😀".repeat(128)] {
        let metadata = BTreeMap::from([("ключ".to_owned(), format!("{display_name}\n\t\\u0000"))]);
        let request = CreateGroupRequest {
            display_name: display_name.to_owned(),
            metadata: metadata.clone(),
            ..CreateGroupRequest::default()
        };
        let group = alice
            .groups()
            .create_group(alice.asks(request))
            .await
            .expect("made")
            .into_inner()
            .group;
        let group = group.expect("a group");
        assert_eq!(
            (group.display_name.as_str(), &group.metadata),
            (display_name, &metadata)
        );
    }
}

#[tokio::test]
async fn camel_case_paths_are_unknown() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.conversation(&[&bob]).await;
    for path in ["Title", "metaData", "chatId", "kind", "etag"] {
        let request = UpdateChatRequest {
            chat_id: chat.chat_id.clone(),
            update_mask: Some(FieldMask {
                paths: vec![path.to_owned()],
            }),
            ..UpdateChatRequest::default()
        };
        assert_eq!(
            wrong_fields(alice.chats().update_chat(alice.asks(request)).await),
            ["update_mask"],
            "{path}"
        );
    }
}
