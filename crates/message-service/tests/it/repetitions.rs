//! Calls that are repeated by somebody who may no longer see what they were about: the first outcome and its ids, and no content.

use futures_util::future::join_all;
use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_proto_message::v1::{
    Attachment, BotResponse, CompleteUploadRequest, CreateResponseRequest, CreateUploadRequest, DeleteMessageRequest,
    DeleteScope, Message, SendMessageRequest, UpdateMessageRequest, Upload,
};
use tonic::Status;

use crate::world::{Actor, MEMBER, World, reason};

/// What is left of a message.
fn unseen(message: &Message, sequence: i64) -> Message {
    Message {
        chat_id: message.chat_id.clone(),
        message_id: message.message_id.clone(),
        sequence,
        ..Message::default()
    }
}

/// Calls that change something, as one actor made them.
struct Calls {
    send: SendMessageRequest,
    respond: CreateResponseRequest,
    update: UpdateMessageRequest,
    delete: DeleteMessageRequest,
    hide: DeleteMessageRequest,
    upload: CreateUploadRequest,
}

/// What they were answered.
#[derive(Debug, PartialEq)]
struct Answers {
    sent: Message,
    response: BotResponse,
    updated: Message,
    deleted: Message,
    hidden: Message,
    upload: Upload,
}

impl Calls {
    /// Each with a `request_id` of its own, about three messages of the actor's and one that can be answered.
    fn of(actor: &Actor, [edited, deleted, hidden]: [&Message; 3], question: &Message) -> Self {
        let deletion = |message: &Message, scope: DeleteScope| DeleteMessageRequest {
            chat_id: message.chat_id.clone(),
            message_id: message.message_id.clone(),
            scope: scope.into(),
            request_id: actor.request_id(),
            ..DeleteMessageRequest::default()
        };
        Self {
            send: actor.message(&question.chat_id, "before"),
            respond: CreateResponseRequest {
                chat_id: question.chat_id.clone(),
                message_id: question.message_id.clone(),
                text: "an answer".to_owned(),
                request_id: actor.request_id(),
                ..CreateResponseRequest::default()
            },
            update: UpdateMessageRequest {
                chat_id: edited.chat_id.clone(),
                message_id: edited.message_id.clone(),
                text: "edited".to_owned(),
                request_id: actor.request_id(),
                ..UpdateMessageRequest::default()
            },
            delete: deletion(deleted, DeleteScope::ForAll),
            hide: deletion(hidden, DeleteScope::ForMe),
            upload: CreateUploadRequest {
                chat_id: question.chat_id.clone(),
                media_type: "image/png".to_owned(),
                size_bytes: 1,
                sha256: "0f".repeat(32),
                request_id: actor.request_id(),
                ..CreateUploadRequest::default()
            },
        }
    }

    async fn make(&self, actor: &Actor) -> Result<Answers, Status> {
        let (mut messages, mut responses, mut attachments) = (actor.messages(), actor.responses(), actor.attachments());
        Ok(Answers {
            sent: actor.send_as(self.send.clone()).await?,
            response: {
                let response = responses.create_response(actor.asks(self.respond.clone())).await?;
                response.into_inner().response.expect("a response")
            },
            updated: {
                let response = messages.update_message(actor.asks(self.update.clone())).await?;
                response.into_inner().message.expect("a message")
            },
            deleted: {
                let response = messages.delete_message(actor.asks(self.delete.clone())).await?;
                response.into_inner().message.expect("a message")
            },
            hidden: {
                let response = messages.delete_message(actor.asks(self.hide.clone())).await?;
                response.into_inner().message.expect("a message")
            },
            upload: {
                let response = attachments.create_upload(actor.asks(self.upload.clone())).await?;
                response.into_inner().upload.expect("an upload")
            },
        })
    }
}

#[tokio::test]
async fn a_removed_member_has_the_first_outcome_of_a_repetition_and_no_content() {
    let world = World::begin().await;
    let (alice, bob) = (world.user(), world.user_with(&[Permission::ResponsesCreate]));
    let mut chat = world.conversation(&[&alice, &bob]).await;
    let question = alice.send(&chat.id, "question").await.expect("sent");
    let mut own = Vec::new();
    for text in ["one", "two", "three"] {
        own.push(bob.send(&chat.id, text).await.expect("sent"));
    }
    let calls = Calls::of(&bob, [&own[0], &own[1], &own[2]], &question);
    let first = calls.make(&bob).await.expect("made");
    chat.remove(&bob).await;
    let before = world.changes(&chat.id).await;

    let again = calls.make(&bob).await.expect("repeated");
    let expected = Answers {
        sent: unseen(&first.sent, first.sent.sequence),
        response: BotResponse {
            response_id: first.response.response_id.clone(),
            message_id: question.message_id.clone(),
            chat_id: chat.id.clone(),
            sequence: first.response.sequence,
            ..BotResponse::default()
        },
        updated: unseen(&own[0], 0),
        deleted: unseen(&own[1], 0),
        hidden: unseen(&own[2], 0),
        upload: Upload {
            attachment_id: first.upload.attachment_id.clone(),
            ..Upload::default()
        },
    };
    assert_eq!(again, expected);
    assert_eq!(world.changes(&chat.id).await, before, "nothing was done");

    let other = SendMessageRequest {
        text: "other words".to_owned(),
        ..calls.send.clone()
    };
    assert_eq!(reason(bob.send_as(other).await), ErrorReason::RequestIdReused);
    assert_eq!(reason(bob.send(&chat.id, "after").await), ErrorReason::NotFound);
    let get = bob.get(&chat.id, &first.sent.message_id).await;
    assert_eq!(reason(get), ErrorReason::NotFound);
    assert_eq!(reason(bob.texts(&chat.id).await), ErrorReason::NotFound);
    let stranger = world.user_with(&[Permission::ResponsesCreate]);
    assert_eq!(reason(calls.make(&stranger).await), ErrorReason::NotFound);
    chat.put(&bob, MEMBER).await;
    assert_eq!(bob.send_as(calls.send).await.expect("seen again"), first.sent);
}

#[tokio::test]
async fn a_repetition_tells_the_ids_of_a_message_that_its_sender_has_hidden() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let request = alice.message(&chat.id, "hidden words");
    let sent = alice.send_as(request.clone()).await.expect("sent");
    let hide = DeleteMessageRequest {
        chat_id: chat.id.clone(),
        message_id: sent.message_id.clone(),
        scope: DeleteScope::ForMe.into(),
        ..DeleteMessageRequest::default()
    };
    let hidden = alice.messages().delete_message(alice.asks(hide)).await;
    hidden.expect("hidden");
    assert_eq!(alice.send_as(request).await.expect("repeated"), unseen(&sent, 1));
    assert_eq!(bob.texts(&chat.id).await.expect("seen"), ["hidden words"]);
}

#[tokio::test]
async fn a_completion_is_repeated_without_content_once_its_uploader_has_gone() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice, &bob]).await;
    let announce = CreateUploadRequest {
        chat_id: chat.id.clone(),
        media_type: "image/png".to_owned(),
        size_bytes: 1,
        sha256: "0f".repeat(32),
        ..CreateUploadRequest::default()
    };
    let upload = bob.attachments().create_upload(bob.asks(announce)).await;
    let upload = upload.expect("announced").into_inner().upload.expect("an upload");
    sqlx::query("update messages.attachments set put_state = 1 where attachment_id = $1::uuid")
        .bind(&upload.attachment_id)
        .execute(&world.pool())
        .await
        .expect("as if the bytes had come");
    let request = CompleteUploadRequest {
        chat_id: chat.id.clone(),
        attachment_id: upload.attachment_id.clone(),
        request_id: bob.request_id(),
    };
    let complete = async || bob.attachments().complete_upload(bob.asks(request.clone())).await;
    complete().await.expect("complete");
    chat.remove(&bob).await;
    let again = complete().await.expect("repeated").into_inner().attachment;
    let unseen = Attachment {
        attachment_id: upload.attachment_id,
        chat_id: chat.id.clone(),
        ..Attachment::default()
    };
    assert_eq!(again, Some(unseen));
}

#[tokio::test]
async fn of_many_sends_at_once_with_one_request_id_and_other_words_one_is_stored() {
    let world = World::begin_with(|config| config.send_shards = 1).await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let request_id = alice.request_id();
    let sends = (0..40).map(|number| {
        let request = SendMessageRequest {
            request_id: request_id.clone(),
            ..alice.message(&chat.id, &format!("words {number}"))
        };
        alice.send_as(request)
    });
    let (stored, refused): (Vec<_>, Vec<_>) = join_all(sends).await.into_iter().partition(Result::is_ok);
    assert_eq!(stored.len(), 1);
    for refusal in refused {
        assert_eq!(reason(refusal), ErrorReason::RequestIdReused);
    }
    let [Ok(message)] = &stored[..] else {
        unreachable!("one is stored")
    };
    assert_eq!(
        alice.texts(&chat.id).await.expect("seen"),
        std::slice::from_ref(&message.text)
    );
    world.assert_dense().await;
}
