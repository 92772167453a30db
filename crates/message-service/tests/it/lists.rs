use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    BatchGetMessagesRequest, DeleteMessageRequest, DeleteScope, ListMessagesRequest, ListTurnsRequest, MessageOrder,
    SkipReason,
};

use crate::world::{Actor, MEMBER, World, reason, wrong_fields};

fn request(chat_id: &str) -> ListMessagesRequest {
    ListMessagesRequest {
        chat_id: chat_id.to_owned(),
        ..ListMessagesRequest::default()
    }
}

async fn send_many(actor: &Actor, chat_id: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 1..=count {
        ids.push(actor.send(chat_id, &number.to_string()).await.expect("sent").message_id);
    }
    ids
}

async fn hide(actor: &Actor, chat_id: &str, message_id: &str) {
    let request = DeleteMessageRequest {
        chat_id: chat_id.to_owned(),
        message_id: message_id.to_owned(),
        scope: DeleteScope::ForMe.into(),
        ..DeleteMessageRequest::default()
    };
    actor
        .messages()
        .delete_message(actor.asks(request))
        .await
        .expect("hidden");
}

/// Every page of a list: the sequences, and those that are left out.
async fn pages(actor: &Actor, mut request: ListMessagesRequest) -> (Vec<i64>, Vec<(i64, i64)>, usize) {
    let (mut sequences, mut removed, mut count) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = actor.list(request.clone()).await.expect("seen");
        count += 1;
        sequences.extend(page.messages.iter().map(|message| message.sequence));
        removed.extend(
            page.removed_ranges
                .iter()
                .map(|range| (range.first_sequence, range.last_sequence)),
        );
        if page.next_page_token.is_empty() {
            return (sequences, removed, count);
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn a_chat_is_paged_in_both_orders() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    send_many(&alice, &chat.id, 7).await;
    let oldest = ListMessagesRequest {
        page_size: 3,
        ..request(&chat.id)
    };
    assert_eq!(pages(&alice, oldest.clone()).await, ((1..=7).collect(), vec![], 3));
    let newest = ListMessagesRequest {
        order: MessageOrder::NewestFirst.into(),
        ..oldest.clone()
    };
    assert_eq!(
        pages(&alice, newest.clone()).await,
        ((1..=7).rev().collect(), vec![], 3)
    );
    let between = ListMessagesRequest {
        after_sequence: 2,
        before_sequence: 6,
        ..oldest
    };
    assert_eq!(pages(&alice, between).await.0, [3, 4, 5]);
    let between = ListMessagesRequest {
        after_sequence: 2,
        before_sequence: 6,
        page_size: 1,
        ..newest
    };
    assert_eq!(pages(&alice, between).await, (vec![5, 4, 3], vec![], 3));
}

#[tokio::test]
async fn a_page_can_be_opened_around_a_message() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    send_many(&alice, &chat.id, 9).await;
    for (around, expected) in [
        (5, [3, 4, 5, 6]),
        (1, [1, 2, 3, 4]),
        (9, [6, 7, 8, 9]),
        (1_000, [6, 7, 8, 9]),
    ] {
        let request = ListMessagesRequest {
            around_sequence: around,
            page_size: 4,
            ..request(&chat.id)
        };
        let page = alice.list(request).await.expect("seen");
        assert_eq!(
            page.messages.iter().map(|message| message.sequence).collect::<Vec<_>>(),
            expected
        );
        assert_eq!(page.next_page_token, "");
    }
    let empty = world.conversation(&[&alice]).await;
    let page = alice
        .list(ListMessagesRequest {
            around_sequence: 3,
            ..request(&empty.id)
        })
        .await
        .expect("seen");
    assert_eq!(page.messages, []);
}

#[tokio::test]
async fn hidden_messages_are_told_as_ranges_and_found_by_nobody_but_the_others() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let ids = send_many(&alice, &chat.id, 6).await;
    for index in [1, 2, 4] {
        hide(&bob, &chat.id, &ids[index]).await;
    }
    let oldest = ListMessagesRequest {
        page_size: 4,
        ..request(&chat.id)
    };
    assert_eq!(
        pages(&bob, oldest.clone()).await,
        (vec![1, 4, 6], vec![(2, 3), (5, 5)], 2)
    );
    let newest = ListMessagesRequest {
        order: MessageOrder::NewestFirst.into(),
        ..oldest.clone()
    };
    assert_eq!(
        pages(&bob, newest).await,
        (vec![6, 4, 1], vec![(5, 5), (3, 3), (2, 2)], 2)
    );
    let page = bob.list(oldest.clone()).await.expect("seen");
    assert_eq!(page.removed_ranges[0].reason(), SkipReason::Hidden);
    assert_eq!(reason(bob.get(&chat.id, &ids[1]).await), ErrorReason::NotFound);
    assert_eq!(pages(&alice, oldest).await.0, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn what_is_no_longer_kept_is_told_as_a_range() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    send_many(&alice, &chat.id, 5).await;
    let sql = "update messages.chats set first_sequence = 4 where chat_id = $1::uuid";
    sqlx::query(sql)
        .bind(&chat.id)
        .execute(&world.pool())
        .await
        .expect("moved");
    assert_eq!(pages(&alice, request(&chat.id)).await, (vec![4, 5], vec![(1, 3)], 1));
    let newest = ListMessagesRequest {
        order: MessageOrder::NewestFirst.into(),
        page_size: 1,
        ..request(&chat.id)
    };
    assert_eq!(pages(&alice, newest).await.1, [(1, 3)]);
    let below = ListMessagesRequest {
        before_sequence: 3,
        ..request(&chat.id)
    };
    assert_eq!(pages(&alice, below).await, (vec![], vec![(1, 2)], 1));
}

#[tokio::test]
async fn a_page_token_is_for_its_caller_and_its_list() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let other = world.conversation(&[&alice, &bob]).await;
    send_many(&alice, &chat.id, 3).await;
    let first = ListMessagesRequest {
        page_size: 1,
        ..request(&chat.id)
    };
    let token = alice.list(first.clone()).await.expect("seen").next_page_token;
    let with = |request: ListMessagesRequest| ListMessagesRequest {
        page_token: token.clone(),
        ..request
    };
    assert_eq!(
        alice.list(with(first.clone())).await.expect("seen").messages[0].sequence,
        2
    );
    assert_eq!(
        reason(bob.list(with(first.clone())).await),
        ErrorReason::PageTokenInvalid
    );
    assert_eq!(
        reason(alice.list(with(request(&other.id))).await),
        ErrorReason::PageTokenInvalid
    );
    let reversed = ListMessagesRequest {
        order: MessageOrder::NewestFirst.into(),
        ..first.clone()
    };
    assert_eq!(reason(alice.list(with(reversed)).await), ErrorReason::PageTokenInvalid);
    let forged = ListMessagesRequest {
        page_token: "' or 1=1 --".to_owned(),
        ..first
    };
    assert_eq!(reason(alice.list(forged).await), ErrorReason::PageTokenInvalid);
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let good = request(&chat.id);
    let wrong: Vec<(&str, ListMessagesRequest)> = vec![
        (
            "chat_id",
            ListMessagesRequest {
                chat_id: String::new(),
                ..good.clone()
            },
        ),
        (
            "page_size",
            ListMessagesRequest {
                page_size: -1,
                ..good.clone()
            },
        ),
        (
            "order",
            ListMessagesRequest {
                order: 99,
                ..good.clone()
            },
        ),
        (
            "around_sequence",
            ListMessagesRequest {
                around_sequence: -1,
                ..good.clone()
            },
        ),
        (
            "after_sequence",
            ListMessagesRequest {
                after_sequence: -1,
                ..good.clone()
            },
        ),
        (
            "before_sequence",
            ListMessagesRequest {
                before_sequence: -1,
                ..good.clone()
            },
        ),
        (
            "around_sequence",
            ListMessagesRequest {
                around_sequence: 1,
                after_sequence: 1,
                ..good.clone()
            },
        ),
    ];
    for (field, request) in wrong {
        assert_eq!(wrong_fields(alice.list(request).await), [field]);
    }
    let extreme = ListMessagesRequest {
        around_sequence: i64::MAX,
        page_size: i32::MAX,
        ..good.clone()
    };
    alice.list(extreme).await.expect("an end");
    let extreme = ListMessagesRequest {
        after_sequence: i64::MAX,
        before_sequence: i64::MAX,
        ..good
    };
    assert_eq!(alice.list(extreme).await.expect("nothing").messages, []);
}

#[tokio::test]
async fn several_messages_are_read_in_the_order_they_are_named() {
    let world = World::begin().await;
    let [alice, eve] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice]).await;
    let ids = send_many(&alice, &chat.id, 3).await;
    let batch = |actor: &Actor, ids: Vec<String>| {
        let (actor, request) = (
            actor.clone(),
            BatchGetMessagesRequest {
                chat_id: chat.id.clone(),
                message_ids: ids,
            },
        );
        async move { actor.messages().batch_get_messages(actor.asks(request)).await }
    };
    let named = vec![ids[2].clone(), alice.nowhere(), ids[0].clone(), ids[2].clone()];
    let found = batch(&alice, named).await.expect("seen").into_inner().messages;
    assert_eq!(found.iter().map(|message| message.sequence).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(
        batch(&alice, vec![alice.nowhere()])
            .await
            .expect("none")
            .into_inner()
            .messages,
        []
    );
    assert_eq!(reason(batch(&eve, vec![ids[0].clone()]).await), ErrorReason::NotFound);
    assert_eq!(wrong_fields(batch(&alice, vec![]).await), ["message_ids"]);
    assert_eq!(
        wrong_fields(batch(&alice, vec![ids[0].clone(); 101]).await),
        ["message_ids"]
    );
}

#[tokio::test]
async fn a_message_is_found_in_its_own_chat_only() {
    let world = World::begin().await;
    let alice = world.user();
    let [here, there] = [world.conversation(&[&alice]).await, world.conversation(&[&alice]).await];
    let message = alice.send(&here.id, "here").await.expect("sent");
    alice.get(&here.id, &message.message_id).await.expect("seen");
    assert_eq!(
        reason(alice.get(&there.id, &message.message_id).await),
        ErrorReason::NotFound
    );
}

#[tokio::test]
async fn pages_of_long_messages_end_before_they_are_too_large() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let text = "😀".repeat(8_000);
    for _ in 0..120 {
        alice.send(&chat.id, &text).await.expect("sent");
    }
    let all = ListMessagesRequest {
        page_size: 200,
        ..request(&chat.id)
    };
    let page = alice.list(all.clone()).await.expect("seen");
    let bytes: usize = page.messages.iter().map(prost::Message::encoded_len).sum();
    assert!(
        bytes <= 3 * 1024 * 1024 && page.messages.len() > 80,
        "{} messages of {bytes} bytes",
        page.messages.len()
    );
    assert_eq!(pages(&alice, all).await.0, (1..=120).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stranger_lists_nothing() {
    let world = World::begin().await;
    let [alice, eve] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice]).await;
    alice.send(&chat.id, "secret").await.expect("sent");
    assert_eq!(reason(eve.list(request(&chat.id)).await), ErrorReason::NotFound);
    let turns = ListTurnsRequest {
        chat_id: chat.id.clone(),
        ..ListTurnsRequest::default()
    };
    assert_eq!(
        reason(eve.messages().list_turns(eve.asks(turns.clone())).await),
        ErrorReason::NotFound
    );
    chat.put(&eve, MEMBER).await;
    assert_eq!(eve.texts(&chat.id).await.expect("seen"), ["secret"]);
    eve.messages().list_turns(eve.asks(turns)).await.expect("seen");
}
