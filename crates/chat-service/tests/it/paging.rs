//! Lists that come in pages.

use tidings_proto_chat::v1::{ListChatSessionsRequest, ListChatsRequest, ListGroupsRequest, ListMembersRequest};
use tidings_proto_common::v1::ErrorReason;

use crate::world::{MEMBER, World, reason, wrong_fields};

/// All that a list has: `page` gives what belongs to a page token, and the next token.
async fn all_pages<T>(mut page: impl AsyncFnMut(String) -> (Vec<T>, String)) -> Vec<T> {
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let (entries, next_page_token) = page(page_token).await;
        seen.extend(entries);
        if next_page_token.is_empty() {
            return seen;
        }
        page_token = next_page_token;
    }
}

#[tokio::test]
async fn lists_come_in_pages_without_gaps_or_repeats() {
    let world = World::begin().await;
    let [alice, assistant] = [world.user().await, world.bot().await];
    let mut groups = Vec::new();
    for _ in 0..5 {
        groups.push(alice.group().await.group_id);
        alice.session(&assistant).await.expect("begun");
    }
    groups.sort();

    let seen = all_pages(async |page_token| {
        let request = ListGroupsRequest {
            page_size: 2,
            page_token,
        };
        let page = alice.groups().list_groups(alice.asks(request)).await.expect("listed");
        let page = page.into_inner();
        (page.groups, page.next_page_token)
    })
    .await;
    let seen: Vec<String> = seen.into_iter().map(|group| group.group_id).collect();
    assert_eq!(seen, groups);

    let seen = all_pages(async |page_token| {
        let request = ListChatSessionsRequest {
            page_size: 2,
            page_token,
        };
        let page = alice.sessions().list_chat_sessions(alice.asks(request)).await;
        let page = page.expect("listed").into_inner();
        (page.sessions, page.next_page_token)
    })
    .await;
    let seen: Vec<_> = seen.into_iter().map(|session| session.session_number).collect();
    assert_eq!(seen, [1, 2, 3, 4, 5]);

    let seen = all_pages(async |page_token| {
        let request = ListChatsRequest {
            page_size: 2,
            page_token,
        };
        let page = alice.chats().list_chats(alice.asks(request)).await.expect("listed");
        let page = page.into_inner();
        (page.chats, page.next_page_token)
    })
    .await;
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn members_come_in_pages_by_id() {
    let world = World::begin().await;
    let alice = world.user().await;
    let group = alice.group().await;
    let mut ids = vec![alice.id.clone()];
    for user in world.crowd(6).await {
        alice.add(&group, &user, MEMBER).await.expect("added");
        ids.push(user.id);
    }
    ids.sort();
    let seen = all_pages(async |page_token| {
        let request = ListMembersRequest {
            group_id: group.group_id.clone(),
            page_size: 3,
            page_token,
        };
        let page = alice.memberships().list_members(alice.asks(request)).await;
        let page = page.expect("listed").into_inner();
        (page.memberships, page.next_page_token)
    })
    .await;
    let seen: Vec<String> = seen.into_iter().map(|membership| membership.user_id).collect();
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_page_token_works_for_its_caller_call_and_arguments() {
    let world = World::begin().await;
    let [alice, bob] = [world.user().await, world.user().await];
    let (group, other) = (alice.group().await, alice.group().await);
    for group in [&group, &other] {
        alice.add(group, &bob, MEMBER).await.expect("added");
    }
    let list = async |actor: &crate::world::Actor, group_id: &str, page_token: &str| {
        let request = ListMembersRequest {
            group_id: group_id.to_owned(),
            page_size: 1,
            page_token: page_token.to_owned(),
        };
        actor.memberships().list_members(actor.asks(request)).await
    };
    let token = list(&alice, &group.group_id, "")
        .await
        .expect("listed")
        .into_inner()
        .next_page_token;
    list(&alice, &group.group_id, &token).await.expect("listed");
    assert_eq!(
        reason(list(&bob, &group.group_id, &token).await),
        ErrorReason::PageTokenInvalid
    );
    assert_eq!(
        reason(list(&alice, &other.group_id, &token).await),
        ErrorReason::PageTokenInvalid
    );
    assert_eq!(
        reason(list(&alice, &group.group_id, "forged").await),
        ErrorReason::PageTokenInvalid
    );
    let request = ListGroupsRequest {
        page_token: token,
        ..ListGroupsRequest::default()
    };
    assert_eq!(
        reason(alice.groups().list_groups(alice.asks(request)).await),
        ErrorReason::PageTokenInvalid
    );
}

#[tokio::test]
async fn page_sizes_are_coerced_but_not_negative() {
    let world = World::begin().await;
    let alice = world.user().await;
    for page_size in [0, 1, 200, 201, i32::MAX] {
        let request = ListGroupsRequest {
            page_size,
            ..ListGroupsRequest::default()
        };
        alice.groups().list_groups(alice.asks(request)).await.expect("listed");
    }
    let request = ListGroupsRequest {
        page_size: -1,
        ..ListGroupsRequest::default()
    };
    assert_eq!(
        wrong_fields(alice.groups().list_groups(alice.asks(request)).await),
        ["page_size"]
    );
    let request = ListChatsRequest {
        page_size: -1,
        ..ListChatsRequest::default()
    };
    assert_eq!(
        wrong_fields(alice.chats().list_chats(alice.asks(request)).await),
        ["page_size"]
    );
}

#[tokio::test]
async fn a_page_of_chats_ends_before_it_is_too_large_to_send() {
    let world = World::begin().await;
    let [alice, assistant] = [world.user().await, world.bot().await];
    for _ in 0..10 {
        alice.session(&assistant).await.expect("begun");
    }
    *world.log.text.lock().await = "x".repeat(1024 * 1024);
    let (mut sizes, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListChatsRequest {
            page_size: 10,
            page_token,
        };
        let page = alice
            .chats()
            .list_chats(alice.asks(request))
            .await
            .expect("listed")
            .into_inner();
        sizes.push(page.chats.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 2, 2, 2]);
}
