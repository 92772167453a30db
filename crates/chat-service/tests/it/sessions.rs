use std::collections::HashSet;

use tidings_chat_service::Config;
use tidings_ids::UserId;
use tidings_proto_chat::v1::{
    ChatSession, CloseChatSessionRequest, CreateChatSessionRequest, DeleteChatSessionRequest,
    GetChatSessionByNumberRequest, GetChatSessionRequest, LeaveChatRequest, ListChatSessionsRequest,
    UpdateChatSessionRequest,
};
use tidings_proto_common::v1::{ChatKind, ErrorReason};
use tidings_proto_message::v1::audience_change::Kind;
use tonic::Status;

use crate::world::{Actor, MEMBER, OWNER, World, insist, reason, wrong_fields};

async fn get(actor: &Actor, chat_id: &str) -> Result<ChatSession, Status> {
    let request = GetChatSessionRequest {
        chat_id: chat_id.to_owned(),
    };
    Ok(actor
        .sessions()
        .get_chat_session(actor.asks(request))
        .await?
        .into_inner()
        .session
        .expect("a session"))
}

async fn by_number(actor: &Actor, session_number: i64) -> Result<ChatSession, Status> {
    let request = GetChatSessionByNumberRequest { session_number };
    Ok(actor
        .sessions()
        .get_chat_session_by_number(actor.asks(request))
        .await?
        .into_inner()
        .session
        .expect("a session"))
}

async fn update(actor: &Actor, chat_id: &str, title: &str) -> Result<ChatSession, Status> {
    let request = UpdateChatSessionRequest {
        chat_id: chat_id.to_owned(),
        title: title.to_owned(),
        ..UpdateChatSessionRequest::default()
    };
    Ok(actor
        .sessions()
        .update_chat_session(actor.asks(request))
        .await?
        .into_inner()
        .session
        .expect("a session"))
}

async fn close(actor: &Actor, chat_id: &str, etag: &str) -> Result<ChatSession, Status> {
    let request = CloseChatSessionRequest {
        chat_id: chat_id.to_owned(),
        etag: etag.to_owned(),
        request_id: actor.request_id(),
    };
    Ok(actor
        .sessions()
        .close_chat_session(actor.asks(request))
        .await?
        .into_inner()
        .session
        .expect("a session"))
}

async fn delete(actor: &Actor, chat_id: &str) -> Result<(), Status> {
    let request = DeleteChatSessionRequest {
        chat_id: chat_id.to_owned(),
        request_id: actor.request_id(),
        ..DeleteChatSessionRequest::default()
    };
    actor
        .sessions()
        .delete_chat_session(actor.asks(request))
        .await
        .map(drop)
}

#[tokio::test]
async fn sessions_are_numbered_from_one_for_each_user() {
    let world = World::begin().await;
    let [alice, bob, assistant] = [world.user().await, world.user().await, world.bot().await];
    for number in 1..=3 {
        let session = alice.session(&assistant).await.expect("begun");
        assert_eq!(session.session_number, number);
        assert_eq!(
            (session.user_id.as_str(), session.assistant_user_id.as_str()),
            (&*alice.id, &*assistant.id)
        );
    }
    assert_eq!(bob.session(&assistant).await.expect("begun").session_number, 1);
    let list = alice
        .sessions()
        .list_chat_sessions(alice.asks(ListChatSessionsRequest::default()))
        .await;
    let numbers: Vec<i64> = list
        .expect("listed")
        .into_inner()
        .sessions
        .iter()
        .map(|session| session.session_number)
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_have_no_holes_also_when_many_begin_at_once() {
    let world = World::begin().await;
    let [alice, assistant] = [world.user().await, world.bot().await];
    let calls: Vec<_> = (0..30)
        .map(|_| {
            let alice = alice.clone();
            let request = CreateChatSessionRequest {
                assistant_user_id: assistant.id.clone(),
                request_id: alice.request_id(),
                ..CreateChatSessionRequest::default()
            };
            tokio::spawn(async move {
                let begun =
                    insist(async || alice.sessions().create_chat_session(alice.asks(request.clone())).await).await;
                let session = begun.expect("begun").into_inner().session;
                session.expect("a session").session_number
            })
        })
        .collect();
    let mut numbers = HashSet::new();
    for call in calls {
        numbers.insert(call.await.expect("no panic"));
    }
    assert_eq!(numbers, (1..=30).collect());
}

#[tokio::test]
async fn a_session_is_a_chat_of_its_user_and_its_assistant() {
    let world = World::begin().await;
    let [alice, assistant, stranger] = [world.user().await, world.bot().await, world.user().await];
    let session = alice.session(&assistant).await.expect("begun");
    let chat = assistant.see(&session.chat_id).await.expect("seen");
    assert_eq!(chat.kind(), ChatKind::Session);
    assert_eq!(
        (chat.session_number, chat.assistant_user_id.as_str()),
        (1, assistant.id.as_str())
    );
    assert_eq!(chat.etag, session.etag);
    let members = alice.chat_members(&session.chat_id).await.expect("seen");
    for member in members {
        assert_eq!(member.role(), if member.user_id == alice.id { OWNER } else { MEMBER });
    }
    assert_eq!(get(&assistant, &session.chat_id).await.expect("seen"), session);
    assert_eq!(by_number(&alice, 1).await.expect("seen"), session);
    // The assistant's own numbers are others.
    assert_eq!(reason(by_number(&assistant, 1).await), ErrorReason::NotFound);
    assert_eq!(reason(get(&stranger, &session.chat_id).await), ErrorReason::NotFound);
    assert_eq!(reason(by_number(&alice, 2).await), ErrorReason::NotFound);
    assert_eq!(wrong_fields(by_number(&alice, 0).await), ["session_number"]);
    let direct = alice.direct(&stranger).await.expect("opened");
    assert_eq!(reason(get(&alice, &direct.chat_id).await), ErrorReason::NotFound);

    let changes = world.log.changes(&session.chat_id).await;
    let Some(Kind::ChatAdded(facts)) = &changes[0].kind else {
        panic!("{changes:?}")
    };
    assert_eq!(
        (facts.session_number, facts.assistant_user_id.as_str()),
        (1, assistant.id.as_str())
    );
    world.assert_told(&session.chat_id).await;
}

#[tokio::test]
async fn the_deployments_assistant_answers_where_none_is_named() {
    let mut world = World::begin().await;
    let [alice, assistant] = [world.user().await, world.user().await];
    let begin = async |actor: &Actor| {
        actor
            .sessions()
            .create_chat_session(actor.asks(CreateChatSessionRequest::default()))
            .await
    };
    assert_eq!(reason(begin(&alice).await), ErrorReason::FeatureDisabled);

    world = World::begin_with(Config {
        default_assistant: Some(UserId::parse(&assistant.id).expect("an id")),
        ..Config::default()
    })
    .await;
    let alice = world.user().await;
    // A default that is no user is the operator's mistake, not the caller's.
    assert_eq!(reason(begin(&alice).await), ErrorReason::FeatureDisabled);
    world.users.users.lock().await.insert(assistant.id.clone(), false);
    let session = begin(&alice)
        .await
        .expect("begun")
        .into_inner()
        .session
        .expect("a session");
    assert_eq!(session.assistant_user_id, assistant.id);
    // Whomever the operator has chosen may be named too, and need not be a bot.
    let named = alice.session(&assistant).await.expect("begun");
    assert_eq!(named.assistant_user_id, assistant.id);
    let person = world.user().await;
    assert_eq!(wrong_fields(alice.session(&person).await), ["assistant_user_id"]);
}

#[tokio::test]
async fn assistants_must_be_somebody_else_who_exists_and_is_a_bot() {
    let world = World::begin().await;
    let [alice, person, absent] = [world.user().await, world.user().await, world.bot().await];
    world.users.users.lock().await.remove(&absent.id);
    let bot = world.bot().await;
    assert_eq!(wrong_fields(alice.session(&alice).await), ["assistant_user_id"]);
    assert_eq!(wrong_fields(bot.session(&bot).await), ["assistant_user_id"]);
    assert_eq!(wrong_fields(alice.session(&person).await), ["assistant_user_id"]);
    assert_eq!(reason(alice.session(&absent).await), ErrorReason::NotFound);
    assert!(world.outbox().await.is_empty(), "nobody is told of what was refused");
    // What was refused took no number.
    assert_eq!(alice.session(&bot).await.expect("begun").session_number, 1);
}

#[tokio::test]
async fn neither_begins_a_session_with_whom_one_blocks() {
    let mut world = World::begin().await;
    world.restart(true);
    let [alice, bob] = [world.user().await, world.user().await];
    let [assistant, other] = [world.bot().await, world.bot().await];
    let before = alice.session(&assistant).await.expect("begun");
    world.feed.block(&assistant, &alice);
    world.feed.block(&bob, &assistant);
    world.feed.is_applied(&world).await;
    assert_eq!(reason(alice.session(&assistant).await), ErrorReason::Blocked);
    assert_eq!(reason(bob.session(&assistant).await), ErrorReason::Blocked);
    assert_eq!(get(&alice, &before.chat_id).await.expect("stays"), before);
    alice.session(&other).await.expect("nothing between these two");

    world.feed.unblock(&assistant, &alice);
    world.feed.is_applied(&world).await;
    assert_eq!(
        alice.session(&assistant).await.expect("begun").session_number,
        3,
        "what was refused took no number"
    );
}

#[tokio::test]
async fn its_user_changes_a_session_and_its_assistant_can_only_end_it() {
    let world = World::begin().await;
    let [alice, assistant, stranger] = [world.user().await, world.bot().await, world.user().await];
    let session = alice.session(&assistant).await.expect("begun");
    let changed = update(&alice, &session.chat_id, "Plans").await.expect("changed");
    assert_eq!(changed.title, "Plans");
    assert_ne!(changed.etag, session.etag);
    assert_eq!(
        reason(update(&assistant, &session.chat_id, "Mine").await),
        ErrorReason::PermissionMissing
    );
    assert_eq!(
        reason(delete(&assistant, &session.chat_id).await),
        ErrorReason::PermissionMissing
    );
    assert_eq!(
        reason(update(&stranger, &session.chat_id, "Mine").await),
        ErrorReason::NotFound
    );
    assert_eq!(
        reason(close(&alice, &session.chat_id, &session.etag).await),
        ErrorReason::EtagMismatch
    );
    assert_eq!(
        reason(close(&stranger, &session.chat_id, "").await),
        ErrorReason::NotFound
    );
    assert_eq!(world.log.kinds(&session.chat_id).await.last(), Some(&"chat_updated"));

    // Nobody leaves a session; an assistant that has enough of it ends it, and its user still has it.
    let request = LeaveChatRequest {
        chat_id: session.chat_id.clone(),
        request_id: assistant.request_id(),
    };
    let left = assistant.chats().leave_chat(assistant.asks(request)).await;
    assert_eq!(reason(left), ErrorReason::KindUnsuitable);
    assert_eq!(
        reason(close(&assistant, &session.chat_id, &session.etag).await),
        ErrorReason::EtagMismatch
    );
    let closed = close(&assistant, &session.chat_id, &changed.etag)
        .await
        .expect("closed");
    assert!(closed.close_time.is_some());
    assert_eq!(get(&alice, &session.chat_id).await.expect("seen"), closed);
    world.assert_told(&session.chat_id).await;
}

#[tokio::test]
async fn a_closed_session_can_be_read() {
    let world = World::begin().await;
    let [alice, assistant] = [world.user().await, world.bot().await];
    let session = alice.session(&assistant).await.expect("begun");
    let closed = close(&alice, &session.chat_id, &session.etag).await.expect("closed");
    assert!(closed.close_time.is_some());
    assert!(alice.see(&session.chat_id).await.expect("seen").archived);
    assert_eq!(close(&alice, &session.chat_id, "").await.expect("still closed"), closed);
    assert_eq!(get(&assistant, &session.chat_id).await.expect("seen"), closed);
    let changes = world.log.changes(&session.chat_id).await;
    let Some(Kind::ChatUpdated(facts)) = &changes[3].kind else {
        panic!("{changes:?}")
    };
    assert!(facts.archived);
    assert_eq!(changes.len(), 4);
}

#[tokio::test]
async fn a_deleted_sessions_number_is_not_given_again() {
    let world = World::begin().await;
    let [alice, assistant] = [world.user().await, world.bot().await];
    let session = alice.session(&assistant).await.expect("begun");
    delete(&alice, &session.chat_id).await.expect("deleted");
    assert_eq!(reason(get(&alice, &session.chat_id).await), ErrorReason::NotFound);
    assert_eq!(reason(assistant.see(&session.chat_id).await), ErrorReason::NotFound);
    assert_eq!(alice.session(&assistant).await.expect("begun").session_number, 2);
    assert_eq!(reason(by_number(&alice, 1).await), ErrorReason::NotFound);
    world.assert_told(&session.chat_id).await;
}
