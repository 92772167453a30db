//! What one may not know of is the same to the byte as what is not there.

use tidings_proto_chat::v1::{
    AddChatMemberRequest, AddMemberRequest, CloseChatSessionRequest, CreateChatRequest, DeleteChatRequest,
    DeleteChatSessionRequest, DeleteGroupRequest, GetChatRequest, GetChatSessionRequest, GetGroupRequest,
    LeaveChatRequest, LeaveGroupRequest, ListChatMembersRequest, ListMembersRequest, RemoveChatMemberRequest,
    RemoveMemberRequest, UpdateChatRequest, UpdateChatSessionRequest, UpdateGroupRequest,
};
use tonic::{Code, Status};

use crate::world::{Actor, MEMBER, World};

/// What every RPC on one group or chat answers.
#[expect(clippy::needless_update, reason = "some requests have no more fields than are named")]
async fn answers(actor: &Actor, id: &str, user: &Actor) -> Vec<(&'static str, Status)> {
    let id = || id.to_owned();
    let user_id = user.id.clone();
    let (mut groups, mut memberships) = (actor.groups(), actor.memberships());
    let (mut chats, mut sessions) = (actor.chats(), actor.sessions());
    macro_rules! refused {
        ($($client:ident.$method:ident($request:ident { $($field:ident: $value:expr),* });)+) => {
            vec![$((
                stringify!($method),
                $client
                    .$method(actor.asks($request { $($field: $value,)* ..Default::default() }))
                    .await
                    .map(drop)
                    .expect_err(stringify!($method)),
            )),+]
        };
    }
    refused! {
        groups.get_group(GetGroupRequest { group_id: id() });
        groups.update_group(UpdateGroupRequest { group_id: id(), description: id() });
        groups.delete_group(DeleteGroupRequest { group_id: id() });
        memberships.add_member(AddMemberRequest { group_id: id(), user_id: user_id.clone() });
        memberships.remove_member(RemoveMemberRequest { group_id: id(), user_id: user_id.clone() });
        memberships.remove_member(RemoveMemberRequest { group_id: id(), user_id: actor.id.clone() });
        memberships.list_members(ListMembersRequest { group_id: id() });
        memberships.leave_group(LeaveGroupRequest { group_id: id() });
        chats.create_chat(CreateChatRequest { group_id: id(), title: id() });
        chats.get_chat(GetChatRequest { chat_id: id() });
        chats.update_chat(UpdateChatRequest { chat_id: id(), title: id() });
        chats.delete_chat(DeleteChatRequest { chat_id: id() });
        chats.add_chat_member(AddChatMemberRequest { chat_id: id(), user_id: user_id.clone() });
        chats.remove_chat_member(RemoveChatMemberRequest { chat_id: id(), user_id: user_id.clone() });
        chats.list_chat_members(ListChatMembersRequest { chat_id: id() });
        chats.leave_chat(LeaveChatRequest { chat_id: id() });
        sessions.get_chat_session(GetChatSessionRequest { chat_id: id() });
        sessions.update_chat_session(UpdateChatSessionRequest { chat_id: id(), title: id() });
        sessions.close_chat_session(CloseChatSessionRequest { chat_id: id() });
        sessions.delete_chat_session(DeleteChatSessionRequest { chat_id: id() });
    }
}

#[tokio::test]
async fn strangers_and_former_members_learn_nothing() {
    let world = World::begin().await;
    let [alice, bob, former, stranger] = [
        world.user().await,
        world.bot().await,
        world.user().await,
        world.user().await,
    ];
    let group = alice.group().await;
    alice.add(&group, &former, MEMBER).await.expect("added");
    alice.remove(&group, &former).await.expect("removed");
    let conversation = alice.conversation(&[&bob, &former]).await;
    alice.remove_from_chat(&conversation, &former).await.expect("removed");
    let ids = [
        group.group_id.clone(),
        alice.chat_in(&group, "general").await.expect("made").chat_id,
        conversation.chat_id,
        alice.direct(&bob).await.expect("opened").chat_id,
        alice.session(&bob).await.expect("begun").chat_id,
        world.source.new_id::<tidings_ids::kind::Chat>().to_string(),
    ];
    let mut first: Option<Status> = None;
    for actor in [&stranger, &former] {
        for id in &ids {
            for (method, status) in answers(actor, id, &alice).await {
                let expected = first.get_or_insert_with(|| status.clone());
                assert_eq!(status.code(), Code::NotFound, "{method}");
                assert_eq!(status.message(), expected.message(), "{method}");
                assert_eq!(status.details(), expected.details(), "{method}");
            }
        }
    }
}

#[tokio::test]
async fn a_chat_is_no_group_and_a_group_is_no_chat_also_to_members() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let conversation = alice.conversation(&[&bob]).await;
    let group = alice.group().await;
    let as_group = tidings_proto_chat::v1::Group {
        group_id: conversation.chat_id.clone(),
        ..Default::default()
    };
    assert!(
        alice
            .members(&as_group)
            .await
            .is_err_and(|status| status.code() == Code::NotFound)
    );
    assert!(
        alice
            .add(&as_group, &bob, MEMBER)
            .await
            .is_err_and(|status| status.code() == Code::NotFound)
    );
    assert!(
        alice
            .remove(&as_group, &bob)
            .await
            .is_err_and(|status| status.code() == Code::NotFound)
    );
    assert!(
        alice
            .chat_in(&as_group, "one")
            .await
            .is_err_and(|status| status.code() == Code::NotFound)
    );
    assert!(
        alice
            .see(&group.group_id)
            .await
            .is_err_and(|status| status.code() == Code::NotFound)
    );
    assert!(
        alice
            .chat_members(&group.group_id)
            .await
            .is_err_and(|status| status.code() == Code::NotFound)
    );
    let as_chat = tidings_proto_chat::v1::Chat {
        chat_id: group.group_id.clone(),
        ..Default::default()
    };
    assert!(
        alice
            .add_to_chat(&as_chat, &bob, MEMBER)
            .await
            .is_err_and(|status| status.code() == Code::NotFound)
    );
}
