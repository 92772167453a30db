use std::collections::{BTreeMap, HashSet};

use tidings_proto_chat::v1::UpdateChatRequest;
use tidings_proto_common::v1::{ChatKind, ErrorReason, Permission};

use crate::{
    chats::update,
    world::{MEMBER, World, insist, reason, wrong_fields},
};

#[tokio::test]
async fn a_pair_has_one_chat_from_both_sides() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.direct(&bob).await.expect("opened");
    assert_eq!(chat.kind(), ChatKind::Direct);
    let mut pair = vec![alice.id.clone(), bob.id.clone()];
    pair.sort();
    assert_eq!(chat.direct_user_ids, pair);
    assert_eq!(bob.direct(&alice).await.expect("found"), chat);
    assert_eq!(alice.direct(&bob).await.expect("found"), chat);
    let members = bob.chat_members(&chat.chat_id).await.expect("seen");
    assert!(members.iter().all(|member| member.role() == MEMBER));
    assert_eq!(
        world.log.kinds(&chat.chat_id).await,
        ["chat_added", "member_put", "member_put"]
    );
    world.assert_told(&chat.chat_id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_get_one_chat() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let calls = (0..50).map(|at| {
        let (from, to) = if at % 2 == 0 {
            (alice.clone(), bob.clone())
        } else {
            (bob.clone(), alice.clone())
        };
        tokio::spawn(async move { insist(|| from.direct(&to)).await.expect("opened").chat_id })
    });
    let mut ids = HashSet::new();
    for call in calls.collect::<Vec<_>>() {
        ids.insert(call.await.expect("no panic"));
    }
    assert_eq!(ids.len(), 1);
    let chats: i64 = sqlx::query_scalar("select count(*) from chats.chats")
        .fetch_one(&world.pool())
        .await
        .expect("counted");
    assert_eq!(chats, 1);
    world.assert_told(ids.iter().next().expect("one")).await;
}

#[tokio::test]
async fn nobody_talks_to_oneself_or_to_who_is_not_there() {
    let world = World::begin().await;
    let [alice, absent, deleted] = [world.user().await, world.user().await, world.user().await];
    world.users.users.lock().await.remove(&absent.id);
    world.users.users.lock().await.insert(deleted.id.clone(), true);
    assert_eq!(wrong_fields(alice.direct(&alice).await), ["user_id"]);
    assert_eq!(reason(alice.direct(&absent).await), ErrorReason::NotFound);
    assert_eq!(reason(alice.direct(&deleted).await), ErrorReason::NotFound);
}

#[tokio::test]
async fn a_chat_stays_open_when_the_other_is_deleted() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.direct(&bob).await.expect("opened");
    world.users.users.lock().await.insert(bob.id.clone(), true);
    assert_eq!(alice.direct(&bob).await.expect("found"), chat);
}

#[tokio::test]
async fn opening_takes_a_permission() {
    let world = World::begin().await;
    let [bot, bob] = [world.user_with(&[Permission::GroupsCreate]).await, world.user().await];
    assert_eq!(reason(bot.direct(&bob).await), ErrorReason::PermissionMissing);
}

#[tokio::test]
async fn both_users_change_a_direct_chats_metadata() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let chat = alice.direct(&bob).await.expect("opened");
    for (actor, value) in [(&alice, "a"), (&bob, "b")] {
        let metadata = BTreeMap::from([("colour".to_owned(), value.to_owned())]);
        let request = UpdateChatRequest {
            chat_id: chat.chat_id.clone(),
            metadata: metadata.clone(),
            ..UpdateChatRequest::default()
        };
        assert_eq!(update(actor, request).await.expect("changed").metadata, metadata);
    }
}

#[tokio::test]
async fn who_finds_anothers_chat_answers_for_its_delivery() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    world.message_service_is_down(true);
    assert_eq!(reason(alice.direct(&bob).await), ErrorReason::DependencyUnavailable);
    assert_eq!(reason(bob.direct(&alice).await), ErrorReason::DependencyUnavailable);
    world.message_service_is_down(false);
    let chat = bob.direct(&alice).await.expect("found");
    assert_eq!(world.log.members(&chat.chat_id).await.len(), 2);
    world.assert_told(&chat.chat_id).await;
}
