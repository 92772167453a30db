use std::collections::BTreeMap;

use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    Change, GetSyncStateRequest, SyncChangesResponse,
    change::{Kind, Scope},
    skipped,
};

use super::client::{Stream, after, id_of, message_in, pull, pull_all, snapshots, sync};
use crate::world::{Audience, World, reason, wrong_fields};

/// What a client has that applies pages as they say, and takes nothing that does not follow.
#[derive(Default)]
struct Client {
    have: BTreeMap<String, i64>,
    texts: BTreeMap<String, Vec<String>>,
}

impl Client {
    fn apply(&mut self, page: &SyncChangesResponse) {
        for snapshot in &page.snapshots {
            let chat_id = snapshot.chat.as_ref().expect("a chat").chat_id.clone();
            self.have.insert(chat_id.clone(), snapshot.position);
            let texts = snapshot.messages.iter().map(|message| message.text.clone());
            self.texts.insert(chat_id, texts.collect());
        }
        let mut steps: Vec<(String, i64, i64, Option<&Change>)> = Vec::new();
        for change in &page.changes {
            if let Some(Scope::ChatId(chat_id)) = &change.scope {
                steps.push((chat_id.clone(), change.position, change.position, Some(change)));
            }
        }
        for range in &page.skipped {
            if let Some(skipped::Scope::ChatId(chat_id)) = &range.scope {
                steps.push((chat_id.clone(), range.first_position, range.last_position, None));
            }
        }
        steps.sort_by_key(|step| (step.0.clone(), step.1));
        for (chat_id, first, last, change) in steps {
            let position = self.have.entry(chat_id.clone()).or_default();
            assert_eq!(first, *position + 1, "no hole, and none twice");
            *position = last;
            let text = change.and_then(message_in).map(|message| message.text.clone());
            self.texts.entry(chat_id).or_default().extend(text);
        }
        for chat in &page.positions.as_ref().expect("positions").chats {
            assert_eq!(self.have.get(&chat.chat_id), Some(&chat.position));
        }
    }
}

#[tokio::test]
async fn pages_have_what_the_client_lacks_and_end() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chats = Vec::new();
    for _ in 0..4 {
        chats.push(world.conversation(&[&alice, &bob]).await);
    }
    for number in 0..30 {
        alice
            .send(&chats[number % 3].id, &format!("number {number}"))
            .await
            .expect("sent");
    }
    for page_size in [1, 3, 50] {
        let named: Vec<(&str, i64)> = chats[..3].iter().map(|chat| (chat.id.as_str(), 0)).collect();
        let mut client = Client::default();
        let pages = pull_all(&bob, Some(after(&named)), page_size).await;
        for page in &pages {
            assert!(page.changes.len() <= page_size as usize);
            client.apply(page);
        }
        for (index, chat) in chats[..3].iter().enumerate() {
            let expected: Vec<String> = (0..10).map(|number| format!("number {}", 3 * number + index)).collect();
            assert_eq!(client.texts[&chat.id], expected);
        }
        let snapshots: usize = pages.iter().map(|page| page.snapshots.len()).sum();
        assert_eq!(snapshots, 1, "the chat that was not named");
        let joined = pages.iter().flat_map(|page| &page.changes);
        assert_eq!(
            joined
                .filter(|change| matches!(change.kind, Some(Kind::ChatJoined(_))))
                .count(),
            4
        );

        // What it has now is all there is.
        let mut have = after(
            &client
                .have
                .iter()
                .map(|(id, position)| (id.as_str(), *position))
                .collect::<Vec<_>>(),
        );
        let last = pages.last().and_then(|page| page.positions.clone()).expect("positions");
        (have.log_id, have.user_position) = (last.log_id, last.user_position);
        let page = pull(&bob, Some(have.clone()), page_size, "").await.expect("a page");
        assert!(page.caught_up && page.changes.is_empty() && page.snapshots.is_empty() && page.skipped.is_empty());
        assert_eq!(page.positions.map(|positions| positions.chats.len()), Some(0));
    }
}

#[tokio::test]
async fn a_snapshot_has_the_last_fifty_messages_and_of_large_ones_fewer() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let [small, large] = [
        world.conversation(&[&alice, &bob]).await,
        world.conversation(&[&alice, &bob]).await,
    ];
    for number in 1..=60 {
        alice.send(&small.id, &number.to_string()).await.expect("sent");
    }
    // 32,000 bytes each.
    let texts: Vec<String> = (0..12).map(|_| "\u{1F642}".repeat(8_000)).collect();
    for text in &texts {
        alice.send(&large.id, text).await.expect("sent");
    }
    let mut stream = Stream::open(&bob, None).await;
    let frames = stream.catch_up().await;
    let sequences = |chat: &Audience| -> Vec<i64> {
        let mut found = snapshots(&frames);
        found.retain(|snapshot| id_of(snapshot) == chat.id);
        found[0].messages.iter().map(|message| message.sequence).collect()
    };
    assert_eq!(sequences(&small), (11..=60).collect::<Vec<_>>());
    // Six have less than 192 KiB, so there is a seventh.
    assert_eq!(sequences(&large), (6..=12).collect::<Vec<_>>());

    alice.send(&large.id, "a short one").await.expect("sent");
    let page = pull(&bob, None, 50, "").await.expect("a page");
    let snapshot = page.snapshots.iter().find(|snapshot| id_of(snapshot) == large.id);
    let snapshot = snapshot.expect("both chats");
    assert_eq!((snapshot.last_sequence, snapshot.messages.len()), (13, 8));
    assert_eq!(snapshot.messages[7].text, "a short one");
}

#[tokio::test]
async fn without_anything_every_chat_begins_with_a_snapshot() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    for _ in 0..12 {
        let chat = world.conversation(&[&alice, &bob]).await;
        alice.send(&chat.id, "hello").await.expect("sent");
    }
    let pages = pull_all(&bob, None, 20).await;
    assert!(
        pages.iter().all(|page| page.snapshots.len() <= 2),
        "a snapshot counts as ten changes"
    );
    let snapshots: Vec<_> = pages.iter().flat_map(|page| &page.snapshots).collect();
    assert_eq!(snapshots.len(), 12);
    assert!(
        snapshots
            .iter()
            .all(|snapshot| snapshot.messages.len() == 1 && snapshot.unread_count == 1)
    );
}

#[tokio::test]
async fn a_page_stays_below_three_mebibytes() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let long = "語".repeat(8_000);
    let sends = (0..180).map(|_| alice.send(&chat.id, &long));
    for sent in futures_util::future::join_all(sends).await {
        sent.expect("sent");
    }
    let pages = pull_all(&bob, Some(after(&[(&chat.id, 0)])), 200).await;
    assert!(pages.len() > 1);
    for page in &pages {
        let bytes = prost::Message::encoded_len(page);
        assert!(bytes < 3 * 1024 * 1024, "{bytes} bytes");
    }
    let messages = pages.iter().flat_map(|page| &page.changes).filter_map(message_in);
    assert_eq!(messages.filter(|message| message.text == long).count(), 180);
}

#[tokio::test]
async fn page_tokens_hold_for_their_call_only() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    for _ in 0..5 {
        alice.send(&chat.id, "hello").await.expect("sent");
    }
    let have = after(&[(&chat.id, 0)]);
    let token = pull(&bob, Some(have.clone()), 1, "")
        .await
        .expect("a page")
        .next_page_token;
    assert!(!token.is_empty());
    let refusals = [
        pull(&alice, Some(have.clone()), 1, &token).await,
        pull(&bob, Some(after(&[(&chat.id, 1)])), 1, &token).await,
        pull(&bob, None, 1, &token).await,
        pull(&bob, Some(have.clone()), 1, "nonsense").await,
    ];
    for refused in refusals {
        assert_eq!(reason(refused), ErrorReason::PageTokenInvalid);
    }
    assert!(pull(&bob, Some(have.clone()), 1, &token).await.is_ok());
    assert_eq!(wrong_fields(pull(&bob, Some(have), -1, "").await), ["page_size"]);
    let mut bad = after(&[("nobody", 0)]);
    bad.user_position = -1;
    assert_eq!(
        wrong_fields(pull(&bob, Some(bad), -1, "").await),
        ["after.chats[0].chat_id", "after.user_position", "page_size",]
    );
}

#[tokio::test]
async fn a_reset_is_told_on_the_first_page_and_holds_for_all() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chats = Vec::new();
    for _ in 0..3 {
        chats.push(world.conversation(&[&alice, &bob]).await);
    }
    let mut have = after(&[(&chats[0].id, 3), (&chats[1].id, 3)]);
    have.log_id = bob.nowhere();
    let pages = pull_all(&bob, Some(have), 1).await;
    let resets: Vec<bool> = pages.iter().map(|page| page.reset).collect();
    assert!(resets[0] && !resets[1..].contains(&true), "{resets:?}");
    assert_eq!(pages.iter().map(|page| page.snapshots.len()).sum::<usize>(), 3);
}

#[tokio::test]
async fn the_state_lists_the_heads_of_one_s_chats() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut expected = Vec::new();
    for count in 0..5 {
        let chat = world.conversation(&[&alice, &bob]).await;
        for _ in 0..count {
            alice.send(&chat.id, "hello").await.expect("sent");
        }
        expected.push((chat.id.clone(), 3 + count, count));
    }
    let mut former = world.conversation(&[&alice, &bob]).await;
    former.remove(&bob).await;
    expected.sort();
    let mut told = Vec::new();
    let mut token = String::new();
    loop {
        let request = GetSyncStateRequest {
            page_size: 2,
            page_token: token,
        };
        let page = sync(&bob)
            .get_sync_state(bob.asks(request))
            .await
            .expect("told")
            .into_inner();
        assert!(page.chats.len() <= 2);
        assert_eq!(page.user_position, 7);
        told.extend(page.chats.into_iter().map(|chat| {
            assert_eq!((chat.first_position, chat.first_sequence), (1, 1));
            (chat.chat_id, chat.position, chat.last_sequence)
        }));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(told, expected);
    let bad = GetSyncStateRequest {
        page_size: -1,
        ..GetSyncStateRequest::default()
    };
    assert_eq!(
        wrong_fields(sync(&bob).get_sync_state(bob.asks(bad)).await),
        ["page_size"]
    );
    let forged = GetSyncStateRequest {
        page_token: "nonsense".to_owned(),
        ..GetSyncStateRequest::default()
    };
    assert_eq!(
        reason(sync(&bob).get_sync_state(bob.asks(forged)).await),
        ErrorReason::PageTokenInvalid
    );
}
