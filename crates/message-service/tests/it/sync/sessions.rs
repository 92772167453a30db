//! Assistants, who are in every session that anybody began with them.

use std::collections::BTreeSet;

use tidings_proto_common::v1::ChatKind;
use tidings_proto_message::v1::{ChatFacts, GetSyncStateRequest, change::Kind, stream_changes_response::Frame};

use super::client::{Stream, after, id_of, pull_all, snapshots, sync};
use crate::world::{Actor, Audience, World};

async fn session(world: &World, user: &Actor, assistant: &Actor, archived: bool) -> Audience {
    let facts = facts_of(assistant);
    world
        .conversation_with(&[user, assistant], |new| {
            facts(new);
            new.archived = archived;
        })
        .await
}

async fn close(session: &mut Audience, assistant: &Actor) {
    let facts = facts_of(assistant);
    session
        .update(|new| {
            facts(new);
            new.archived = true;
        })
        .await;
}

fn facts_of(assistant: &Actor) -> impl FnOnce(&mut ChatFacts) + use<> {
    let assistant_user_id = assistant.id.clone();
    |facts| {
        facts.kind = ChatKind::Session.into();
        facts.assistant_user_id = assistant_user_id;
        facts.session_number = 1;
    }
}

async fn begun(actor: &Actor) -> BTreeSet<String> {
    let frames = Stream::open(actor, None).await.catch_up().await;
    snapshots(&frames)
        .into_iter()
        .map(|snapshot| id_of(snapshot).to_owned())
        .collect()
}

async fn pulled(actor: &Actor, page_size: i32) -> BTreeSet<String> {
    let pages = pull_all(actor, None, page_size).await;
    let snapshots = pages.iter().flat_map(|page| &page.snapshots);
    snapshots.map(|snapshot| id_of(snapshot).to_owned()).collect()
}

#[tokio::test]
async fn closed_sessions_do_not_begin_for_their_assistant() {
    let world = World::begin().await;
    let [alice, bot] = [world.user(), world.user()];
    let open = session(&world, &alice, &bot, false).await;
    let mut closed = session(&world, &alice, &bot, false).await;
    alice.send(&closed.id, "a question").await.expect("sent");
    let before = world.changes(&closed.id).await.len() as i64 - 1;
    close(&mut closed, &bot).await;
    // What else is archived, or is a session of one's own, begins as ever.
    let archived = world
        .conversation_with(&[&alice, &bot], |facts| facts.archived = true)
        .await;
    let own = session(&world, &bot, &alice, true).await;

    let all = BTreeSet::from([&open, &closed, &archived, &own].map(|chat| chat.id.clone()));
    let without = |left_out: &Audience| {
        let mut some = all.clone();
        assert!(some.remove(&left_out.id));
        some
    };
    assert_eq!(begun(&bot).await, without(&closed));
    assert_eq!(begun(&alice).await, without(&own));
    for page_size in [1, 50] {
        assert_eq!(pulled(&bot, page_size).await, without(&closed));
        assert_eq!(pulled(&alice, page_size).await, without(&own));
    }
    // It is there all the same.
    let states = sync(&bot)
        .get_sync_state(bot.asks(GetSyncStateRequest::default()))
        .await;
    assert_eq!(states.expect("listed").into_inner().chats.len(), 4);

    // Who names it goes on with it, as anywhere.
    let head = world.changes(&closed.id).await.len() as i64;
    let named = after(&[(&closed.id, before)]);
    let frames = Stream::open(&bot, Some(named.clone())).await.catch_up().await;
    let is_closing = |kind: Option<&Kind>| match kind {
        Some(Kind::ChatUpdated(updated)) => updated.chat.as_ref().is_some_and(|chat| chat.archived),
        _ => false,
    };
    assert!(frames.iter().any(|frame| match frame {
        Frame::Change(change) => change.position == head && is_closing(change.kind.as_ref()),
        _ => false,
    }));
    let pages = pull_all(&bot, Some(named), 1).await;
    let mut changes = pages.iter().flat_map(|page| &page.changes);
    assert!(changes.any(|change| change.position == head && is_closing(change.kind.as_ref())));

    let up_to_date = Stream::open(&bot, Some(after(&[(&closed.id, head)])))
        .await
        .catch_up()
        .await;
    let told = snapshots(&up_to_date);
    assert!(told.iter().all(|snapshot| id_of(snapshot) != closed.id));
    assert!(!up_to_date.iter().any(|frame| matches!(frame, Frame::Left(_))));
    let beyond = Stream::open(&bot, Some(after(&[(&closed.id, head + 1)])))
        .await
        .catch_up()
        .await;
    let told = snapshots(&beyond);
    assert!(
        told.iter()
            .any(|snapshot| id_of(snapshot) == closed.id && snapshot.reset)
    );
}

#[tokio::test]
async fn what_is_open_is_found_behind_any_number_of_closed_sessions() {
    let world = World::begin().await;
    let [alice, bot] = [world.user(), world.user()];
    // More than are read at once.
    for _ in 0..203 {
        session(&world, &alice, &bot, true).await;
    }
    let open = session(&world, &alice, &bot, false).await;
    assert_eq!(begun(&bot).await, BTreeSet::from([open.id.clone()]));
    assert_eq!(pulled(&bot, 50).await, BTreeSet::from([open.id.clone()]));
    assert_eq!(begun(&alice).await.len(), 204);

    let mut stream = Stream::open(&bot, None).await;
    stream.catch_up().await;
    let sent = alice.send(&open.id, "a question").await.expect("sent");
    let frames = stream.until_text("a question").await;
    let last = frames.last().and_then(super::client::message_of);
    assert_eq!(last, Some(&sent));
}
