use tidings_chat_service::Config;
use tidings_proto_chat::v1::{CreateConversationRequest, CreateGroupRequest};
use tidings_proto_common::v1::ErrorReason;
use tonic_types::StatusExt as _;

use crate::{
    chats::delete,
    world::{MEMBER, World, reason},
};

#[tokio::test]
async fn each_countable_thing_has_its_bound() {
    let world = World::begin_with(Config {
        group_members_max: 2,
        group_chats_max: 1,
        groups_per_user_max: 2,
        chats_per_user_max: 2,
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
    let refused = alice.chat_in(&group, "two").await.expect_err("full");
    let info = refused.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(
        (info.metadata["quota"].as_str(), info.metadata["limit"].as_str()),
        ("group_chats", "1")
    );
    delete(&alice, &chat.chat_id).await.expect("deleted");
    alice.chat_in(&group, "two").await.expect("the place is free again");

    alice.group().await;
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

    alice.session(&bot).await.expect("one");
    alice.conversation(&[&bob]).await;
    assert_eq!(reason(alice.session(&bot).await), ErrorReason::QuotaExceeded);
    let request = CreateConversationRequest {
        user_ids: vec![bob.id.clone()],
        ..CreateConversationRequest::default()
    };
    assert_eq!(
        reason(alice.chats().create_conversation(alice.asks(request)).await),
        ErrorReason::QuotaExceeded
    );
    alice.direct(&bob).await.expect("direct chats count for nobody");
}
