use prost_types::FieldMask;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{DeleteMessageRequest, DeleteScope, Message, UpdateMessageRequest};
use tonic::Status;

use crate::world::{ADMIN, Actor, Audience, MEMBER, World, reason, wrong_fields};

fn edit(message: &Message, text: &str) -> UpdateMessageRequest {
    UpdateMessageRequest {
        chat_id: message.chat_id.clone(),
        message_id: message.message_id.clone(),
        text: text.to_owned(),
        ..UpdateMessageRequest::default()
    }
}

async fn update(actor: &Actor, request: UpdateMessageRequest) -> Result<Message, Status> {
    let response = actor.messages().update_message(actor.asks(request)).await?;
    Ok(response.into_inner().message.expect("a message"))
}

fn deletion(message: &Message, scope: DeleteScope) -> DeleteMessageRequest {
    DeleteMessageRequest {
        chat_id: message.chat_id.clone(),
        message_id: message.message_id.clone(),
        scope: scope.into(),
        ..DeleteMessageRequest::default()
    }
}

async fn delete(actor: &Actor, request: DeleteMessageRequest) -> Result<Message, Status> {
    let response = actor.messages().delete_message(actor.asks(request)).await?;
    Ok(response.into_inner().message.expect("a message"))
}

async fn scene(world: &World) -> (Actor, Actor, Audience, Message) {
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let message = bob.send(&chat.id, "first words").await.expect("sent");
    (alice, bob, chat, message)
}

#[tokio::test]
async fn an_edit_makes_a_revision_and_keeps_the_place() {
    let world = World::begin().await;
    let (alice, bob, chat, message) = scene(&world).await;
    let request = UpdateMessageRequest {
        request_id: bob.request_id(),
        ..edit(&message, "second words")
    };
    let edited = update(&bob, request.clone()).await.expect("edited");
    assert_eq!(
        (edited.text.as_str(), edited.revision, edited.etag.as_str()),
        ("second words", 2, "2")
    );
    assert_eq!(
        (edited.sequence, edited.create_time),
        (message.sequence, message.create_time)
    );
    assert!(edited.update_time.is_some());
    assert_eq!(alice.get(&chat.id, &message.message_id).await.expect("seen"), edited);
    assert_eq!(
        update(&bob, request.clone()).await.expect("again"),
        edited,
        "a repetition edits nothing"
    );
    let other = UpdateMessageRequest {
        text: "third".to_owned(),
        ..request
    };
    assert_eq!(reason(update(&bob, other).await), ErrorReason::RequestIdReused);
    let kinds: Vec<i16> = world
        .changes(&chat.id)
        .await
        .into_iter()
        .map(|change| change.1)
        .collect();
    assert_eq!(kinds, [13, 16, 16, 10, 11]);
    let earlier: Vec<(i64, String)> = sqlx::query_as("select revision, body from messages.message_revisions")
        .fetch_all(&world.pool())
        .await
        .expect("rows");
    assert_eq!(earlier, [(1, "first words".to_owned())]);
    world.assert_dense().await;
}

#[tokio::test]
async fn a_mask_says_what_an_edit_changes() {
    let world = World::begin().await;
    let (_, bob, _, message) = scene(&world).await;
    let mask = |paths: &[&str]| {
        Some(FieldMask {
            paths: paths.iter().map(ToString::to_string).collect(),
        })
    };
    let both = UpdateMessageRequest {
        metadata: [("k".to_owned(), "v".to_owned())].into(),
        ..edit(&message, "words")
    };
    let edited = update(
        &bob,
        UpdateMessageRequest {
            update_mask: mask(&["metadata"]),
            ..both.clone()
        },
    )
    .await
    .expect("edited");
    assert_eq!((edited.text.as_str(), edited.metadata.len()), ("first words", 1));
    let edited = update(&bob, edit(&message, "new words")).await.expect("edited");
    assert_eq!((edited.text.as_str(), edited.metadata.len()), ("new words", 1));
    let cleared = UpdateMessageRequest {
        update_mask: mask(&["metadata"]),
        ..edit(&message, "")
    };
    assert_eq!(update(&bob, cleared).await.expect("edited").metadata.len(), 0);

    assert_eq!(wrong_fields(update(&bob, edit(&message, "")).await), ["text"]);
    let emptied = UpdateMessageRequest {
        update_mask: mask(&["text"]),
        ..edit(&message, "")
    };
    assert_eq!(wrong_fields(update(&bob, emptied).await), ["text"]);
    let unknown = UpdateMessageRequest {
        update_mask: mask(&["text", "sender_id"]),
        ..both
    };
    assert_eq!(wrong_fields(update(&bob, unknown).await), ["update_mask.paths[1]"]);
    assert_eq!(wrong_fields(update(&bob, edit(&message, "a\0b")).await), ["text"]);
}

#[tokio::test]
async fn only_its_sender_edits_a_message_and_only_what_they_saw() {
    let world = World::begin().await;
    let (alice, bob, mut chat, message) = scene(&world).await;
    let eve = world.user();
    assert_eq!(
        reason(update(&alice, edit(&message, "hers")).await),
        ErrorReason::PermissionMissing,
        "the owner neither"
    );
    assert_eq!(
        reason(update(&eve, edit(&message, "hers")).await),
        ErrorReason::NotFound
    );
    let elsewhere = UpdateMessageRequest {
        chat_id: world.conversation(&[&bob]).await.id,
        ..edit(&message, "x")
    };
    assert_eq!(reason(update(&bob, elsewhere).await), ErrorReason::NotFound);

    let edited = update(
        &bob,
        UpdateMessageRequest {
            etag: message.etag.clone(),
            ..edit(&message, "two")
        },
    )
    .await
    .expect("edited");
    let stale = UpdateMessageRequest {
        etag: message.etag.clone(),
        ..edit(&message, "three")
    };
    assert_eq!(reason(update(&bob, stale).await), ErrorReason::EtagMismatch);
    assert_eq!(bob.get(&chat.id, &message.message_id).await.expect("seen"), edited);

    chat.update(|facts| facts.archived = true).await;
    assert_eq!(
        reason(update(&bob, edit(&message, "four")).await),
        ErrorReason::ChatArchived
    );
    chat.update(|facts| facts.archived = false).await;
    chat.remove(&bob).await;
    assert_eq!(
        reason(update(&bob, edit(&message, "five")).await),
        ErrorReason::NotFound
    );
}

#[tokio::test]
async fn deleted_words_are_gone() {
    let world = World::begin().await;
    let (alice, bob, chat, message) = scene(&world).await;
    update(&bob, edit(&message, "second words")).await.expect("edited");
    let request = DeleteMessageRequest {
        request_id: bob.request_id(),
        ..deletion(&message, DeleteScope::Unspecified)
    };
    let tombstone = delete(&bob, request.clone()).await.expect("deleted");
    assert_eq!(
        (tombstone.text.as_str(), tombstone.revision, tombstone.sequence),
        ("", 3, message.sequence)
    );
    assert!(tombstone.delete_time.is_some() && tombstone.metadata.is_empty());
    assert_eq!(delete(&bob, request).await.expect("again"), tombstone);
    assert_eq!(
        delete(&bob, deletion(&message, DeleteScope::ForAll))
            .await
            .expect("is deleted"),
        tombstone
    );
    assert_eq!(alice.get(&chat.id, &message.message_id).await.expect("seen"), tombstone);
    assert_eq!(alice.texts(&chat.id).await.expect("seen"), [""]);
    assert_eq!(
        reason(update(&bob, edit(&message, "back")).await),
        ErrorReason::StateUnsuitable
    );
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from messages.messages where body like '%words%')
              + (select count(*) from messages.message_revisions)",
    )
    .fetch_one(&world.pool())
    .await
    .expect("counted");
    assert_eq!(left, 0);
    world.assert_dense().await;
}

#[tokio::test]
async fn however_often_a_message_is_edited_it_can_be_deleted() {
    let world = World::begin().await;
    let (alice, bob, _, message) = scene(&world).await;
    for number in 2..=105 {
        let edited = update(&bob, edit(&message, &number.to_string())).await.expect("edited");
        assert_eq!(edited.revision, number);
    }
    let earlier = async || {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("select revision, body from messages.message_revisions order by revision")
                .fetch_all(&world.pool())
                .await
                .expect("rows");
        rows
    };
    let last_hundred: Vec<(i64, String)> = (5..=104).map(|number| (number, number.to_string())).collect();
    assert_eq!(earlier().await, last_hundred);
    delete(&alice, deletion(&message, DeleteScope::ForAll))
        .await
        .expect("the owner may");
    assert_eq!(earlier().await, []);
}

#[tokio::test]
async fn admins_delete_for_all_and_plain_members_their_own() {
    let world = World::begin().await;
    let (alice, bob, mut chat, message) = scene(&world).await;
    let [carol, eve] = [world.user(), world.user()];
    chat.put(&carol, MEMBER).await;
    let hers = carol.send(&chat.id, "hers").await.expect("sent");
    assert_eq!(
        reason(delete(&carol, deletion(&message, DeleteScope::ForAll)).await),
        ErrorReason::PermissionMissing
    );
    assert_eq!(
        reason(delete(&eve, deletion(&message, DeleteScope::ForAll)).await),
        ErrorReason::NotFound
    );
    let stale = DeleteMessageRequest {
        etag: "7".to_owned(),
        ..deletion(&message, DeleteScope::ForAll)
    };
    assert_eq!(reason(delete(&alice, stale).await), ErrorReason::EtagMismatch);
    delete(&alice, deletion(&message, DeleteScope::ForAll))
        .await
        .expect("the owner may");
    chat.put(&bob, ADMIN).await;
    delete(&bob, deletion(&hers, DeleteScope::ForAll))
        .await
        .expect("an admin may");
    let wrong = DeleteMessageRequest {
        scope: 99,
        ..deletion(&hers, DeleteScope::ForAll)
    };
    assert_eq!(wrong_fields(delete(&bob, wrong).await), ["scope"]);
}

#[tokio::test]
async fn what_is_deleted_for_me_is_told_in_my_log_and_stays_for_others() {
    let world = World::begin().await;
    let (alice, bob, chat, message) = scene(&world).await;
    let request = DeleteMessageRequest {
        request_id: alice.request_id(),
        ..deletion(&message, DeleteScope::ForMe)
    };
    let hidden = delete(&alice, request.clone()).await.expect("hidden");
    assert_eq!((hidden.text.as_str(), hidden.sequence), ("", message.sequence));
    assert!(hidden.delete_time.is_some());
    assert_eq!(delete(&alice, request).await.expect("again"), hidden);
    assert_eq!(
        delete(&alice, deletion(&message, DeleteScope::ForMe))
            .await
            .expect("is hidden"),
        hidden
    );
    assert_eq!(
        reason(alice.get(&chat.id, &message.message_id).await),
        ErrorReason::NotFound
    );
    assert_eq!(
        reason(delete(&alice, deletion(&message, DeleteScope::ForAll)).await),
        ErrorReason::NotFound
    );
    assert_eq!(bob.get(&chat.id, &message.message_id).await.expect("seen"), message);
    let own = world.user_changes(&alice).await;
    assert_eq!(own.iter().map(|entry| entry.1).collect::<Vec<_>>(), [30, 32]);
    let kinds: Vec<i16> = world
        .changes(&chat.id)
        .await
        .into_iter()
        .map(|change| change.1)
        .collect();
    assert_eq!(kinds, [13, 16, 16, 10], "the chat's log says nothing");
    world.assert_dense().await;
}

#[tokio::test]
async fn hiding_what_is_hidden_uses_the_request_id_too() {
    let world = World::begin().await;
    let (alice, bob, chat, message) = scene(&world).await;
    let other = bob.send(&chat.id, "other words").await.expect("sent");
    let hidden = delete(&alice, deletion(&message, DeleteScope::ForMe))
        .await
        .expect("hidden");
    let request = DeleteMessageRequest {
        request_id: alice.request_id(),
        ..deletion(&message, DeleteScope::ForMe)
    };
    assert_eq!(delete(&alice, request.clone()).await.expect("is hidden"), hidden);
    assert_eq!(delete(&alice, request.clone()).await.expect("again"), hidden);
    let reused = DeleteMessageRequest {
        message_id: other.message_id.clone(),
        ..request
    };
    assert_eq!(reason(delete(&alice, reused).await), ErrorReason::RequestIdReused);
    assert_eq!(alice.get(&chat.id, &other.message_id).await.expect("not hidden"), other);
}

#[tokio::test]
async fn concurrent_edits_each_make_a_revision() {
    let world = World::begin().await;
    let (_, bob, _, message) = scene(&world).await;
    let texts: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let edits = futures_util::future::join_all(texts.iter().map(|text| update(&bob, edit(&message, text)))).await;
    let mut revisions: Vec<i64> = edits
        .into_iter()
        .map(|edited| edited.expect("edited").revision)
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=11).collect::<Vec<_>>());
    world.assert_dense().await;
}
