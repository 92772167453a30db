use tidings_proto_common::v1::ChatHistory;
use tidings_proto_message::v1::{ChatActivity, ChatActivityCursor, ListChatActivityRequest};

use crate::world::{Actor, Audience, MEMBER, OWNER, World, wrong_fields};

async fn activity(audience: &Audience, actor: &Actor, page_size: i32) -> Vec<ChatActivity> {
    let mut all = Vec::new();
    let mut after: Option<ChatActivityCursor> = None;
    loop {
        let request = ListChatActivityRequest {
            user_id: actor.id.clone(),
            page_size,
            after: after.clone(),
        };
        let page = audience
            .client()
            .list_chat_activity(request)
            .await
            .expect("listed")
            .into_inner();
        all.extend(page.activities);
        if !page.more {
            return all;
        }
        let last = all.last().expect("more follows something");
        after = Some(ChatActivityCursor {
            activity: last.activity,
            chat_id: last.chat_id.clone(),
        });
    }
}

#[tokio::test]
async fn a_users_chats_are_listed_by_latest_activity() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let first = world.conversation(&[&alice, &bob]).await;
    let second = world.conversation(&[&alice, &bob]).await;
    let third = world.conversation(&[&alice]).await;
    bob.send(&first.id, "hello").await.expect("sent");
    let ids = |list: Vec<ChatActivity>| list.into_iter().map(|entry| entry.chat_id).collect::<Vec<_>>();
    for size in [0, 1, 2] {
        let listed = ids(activity(&first, &alice, size).await);
        assert_eq!(
            listed,
            [first.id.clone(), third.id.clone(), second.id.clone()],
            "pages of {size}"
        );
    }
    assert_eq!(
        ids(activity(&first, &bob, 0).await),
        [first.id.clone(), second.id.clone()]
    );
    let entry = &activity(&first, &alice, 0).await[0];
    assert_eq!(
        (entry.last_sequence, entry.last_position, entry.unread_count),
        (1, 4, 1)
    );
    assert_eq!(entry.last_message.as_ref().expect("a message").text, "hello");
}

#[tokio::test]
async fn unread_counts_what_others_sent_since_the_joining() {
    let world = World::begin().await;
    let [alice, bob, carol] = [world.user(), world.user(), world.user()];
    let mut chat = world.conversation(&[&alice, &bob]).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(alice.send(&chat.id, &number.to_string()).await.expect("sent"));
    }
    bob.send(&chat.id, "his own").await.expect("sent");
    chat.put(&carol, MEMBER).await;
    let count = async |actor: &Actor| activity(&chat, actor, 0).await[0].unread_count;
    assert_eq!((count(&alice).await, count(&bob).await, count(&carol).await), (1, 4, 0));
    let delete = |scope: i32, index: usize| tidings_proto_message::v1::DeleteMessageRequest {
        chat_id: chat.id.clone(),
        message_id: ids[index].message_id.clone(),
        scope,
        ..Default::default()
    };
    alice
        .messages()
        .delete_message(alice.asks(delete(1, 0)))
        .await
        .expect("deleted");
    bob.messages()
        .delete_message(bob.asks(delete(2, 1)))
        .await
        .expect("hidden");
    assert_eq!(count(&bob).await, 2, "neither tombstones nor what is hidden");
}

/// As if the actor had sent so many messages more.
async fn fill(world: &World, chat: &Audience, actor: &Actor, count: i64) {
    let sql = "
        with moved as (
            update messages.chats set last_sequence = last_sequence + $3 where chat_id = $1::uuid
            returning last_sequence - $3 as before
        )
        insert into messages.messages (chat_id, sequence, message_id, sender_id, type, body, create_time)
        select $1::uuid, before + n, gen_random_uuid(), $2::uuid, 1, 'x', now() from moved, generate_series(1, $3) n";
    sqlx::query(sql)
        .bind(&chat.id)
        .bind(&actor.id)
        .bind(count)
        .execute(&world.pool())
        .await
        .expect("filled");
}

#[tokio::test]
async fn counting_among_very_many_messages_ends_and_says_so() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    fill(&world, &chat, &alice, 20).await;
    fill(&world, &chat, &bob, 9_979).await;
    fill(&world, &chat, &alice, 1).await;
    let count = async || {
        let entry = &activity(&chat, &bob, 0).await[0];
        let mut stream = super::sync::client::Stream::open(&bob, None).await;
        let frames = stream.catch_up().await;
        let snapshot = super::sync::client::snapshots(&frames)[0];
        let told = (snapshot.unread_count, snapshot.unread_count_capped);
        assert_eq!(told, (entry.unread_count, entry.unread_count_capped));
        told
    };
    assert_eq!(count().await, (21, false), "the ten thousandth counts");
    fill(&world, &chat, &alice, 1).await;
    assert_eq!(count().await, (21, true), "the next is not looked at");
    sqlx::query("update messages.chat_members set read_sequence = 1 where chat_id = $1::uuid and user_id = $2::uuid")
        .bind(&chat.id)
        .bind(&bob.id)
        .execute(&world.pool())
        .await
        .expect("read");
    assert_eq!(count().await, (21, false), "one was read");
}

#[tokio::test]
async fn more_than_a_thousand_unread_are_capped() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    fill(&world, &chat, &alice, 1_001).await;
    let entry = &activity(&chat, &bob, 0).await[0];
    assert_eq!((entry.unread_count, entry.unread_count_capped), (1_000, true));
}

#[tokio::test]
async fn what_a_user_may_not_see_is_not_the_last_message() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut group = world.audience(&alice);
    group.put(&alice, OWNER).await;
    let chat_id = group.add_chat(ChatHistory::FromJoining).await;
    alice.send(&chat_id, "before").await.expect("sent");
    group.put(&bob, MEMBER).await;
    let entry = &activity(&group, &bob, 0).await[0];
    assert_eq!(
        (entry.last_message.is_none(), entry.unread_count, entry.last_sequence),
        (true, 0, 1)
    );
    alice.send(&chat_id, "after").await.expect("sent");
    let entry = &activity(&group, &bob, 0).await[0];
    assert_eq!(
        (
            entry.last_message.as_ref().expect("a message").text.as_str(),
            entry.unread_count
        ),
        ("after", 1)
    );
    group.remove(&bob).await;
    assert_eq!(activity(&group, &bob, 0).await, []);
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let after = Some(ChatActivityCursor {
        activity: 1,
        chat_id: "x".to_owned(),
    });
    let request = ListChatActivityRequest {
        user_id: "x".to_owned(),
        page_size: -1,
        after,
    };
    assert_eq!(
        wrong_fields(chat.client().list_chat_activity(request).await),
        ["after.chat_id", "page_size", "user_id"]
    );
}
