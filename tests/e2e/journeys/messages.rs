//! Messages: with media, edited, deleted, paged and streamed.

use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    CompleteUploadRequest, CreateDownloadUrlRequest, CreateUploadRequest, DeleteMessageRequest, ListMessagesRequest,
    MessageType, SendMessageRequest, StreamChangesResponse, UpdateMessageRequest, change::Kind,
    stream_changes_response::Frame,
};
use tidings_testkit::{Actor, Suite, reason_of, request_id};
use tonic::{Code, Streaming};

use super::SOON;

pub async fn media(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let chat = ada.direct_chat(&bob).await;
    let create = CreateUploadRequest {
        chat_id: chat.chat_id.clone(),
        media_type: "image/png".to_owned(),
        size_bytes: 5,
        sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned(),
        file_name: "hello.png".to_owned(),
        request_id: request_id(),
    };
    let upload = ada
        .attachments()
        .create_upload(create)
        .await
        .expect("begins")
        .into_inner()
        .upload
        .expect("an upload");
    let complete = CompleteUploadRequest {
        chat_id: chat.chat_id.clone(),
        attachment_id: upload.attachment_id.clone(),
        request_id: request_id(),
    };
    let early = ada
        .attachments()
        .complete_upload(complete.clone())
        .await
        .expect_err("nothing is uploaded");
    assert_eq!(early.code(), Code::FailedPrecondition);
    let client = reqwest::Client::new();
    let put = upload
        .headers
        .iter()
        .fold(client.put(&upload.upload_url).body("hello"), |put, (name, value)| {
            put.header(name, value)
        });
    assert!(put.send().await.expect("uploads").status().is_success());
    let complete = CompleteUploadRequest {
        request_id: request_id(),
        ..complete
    };
    ada.attachments().complete_upload(complete).await.expect("completes");
    let send = SendMessageRequest {
        chat_id: chat.chat_id.clone(),
        attachment_ids: vec![upload.attachment_id.clone()],
        request_id: request_id(),
        ..SendMessageRequest::default()
    };
    let message = ada
        .messages()
        .send_message(send)
        .await
        .expect("sends")
        .into_inner()
        .message
        .expect("a message");
    assert_eq!(message.r#type(), MessageType::Image);
    let url = CreateDownloadUrlRequest {
        chat_id: chat.chat_id,
        attachment_id: upload.attachment_id,
    };
    let url = bob
        .attachments()
        .create_download_url(url)
        .await
        .expect("a URL")
        .into_inner()
        .download_url;
    let bytes = client
        .get(&url)
        .send()
        .await
        .expect("downloads")
        .bytes()
        .await
        .expect("bytes");
    assert_eq!(bytes.as_ref(), b"hello");
    let elsewhere = client.get(format!("{url}x")).send().await.expect("answers");
    assert!(elsewhere.status().is_client_error(), "a changed URL is refused");
}

pub async fn editing_deleting_and_paging(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let chat = ada.direct_chat(&bob).await;
    let mut messages = Vec::new();
    for number in 1..=5 {
        messages.push(
            ada.send(&chat.chat_id, &format!("number {number}"))
                .await
                .expect("sends"),
        );
    }
    let edit = UpdateMessageRequest {
        chat_id: chat.chat_id.clone(),
        message_id: messages[0].message_id.clone(),
        text: "number one".to_owned(),
        etag: messages[0].etag.clone(),
        request_id: request_id(),
        ..UpdateMessageRequest::default()
    };
    let edited = ada
        .messages()
        .update_message(edit.clone())
        .await
        .expect("edits")
        .into_inner()
        .message
        .expect("a message");
    assert_eq!(
        (edited.text.as_str(), edited.revision),
        ("number one", messages[0].revision + 1)
    );
    let stale = UpdateMessageRequest {
        text: "too late".to_owned(),
        request_id: request_id(),
        ..edit
    };
    let stale = ada.messages().update_message(stale).await.expect_err("the etag is old");
    assert_eq!(reason_of(&stale), ErrorReason::EtagMismatch);
    let delete = DeleteMessageRequest {
        chat_id: chat.chat_id.clone(),
        message_id: messages[1].message_id.clone(),
        request_id: request_id(),
        ..DeleteMessageRequest::default()
    };
    let tombstone = ada
        .messages()
        .delete_message(delete)
        .await
        .expect("deletes")
        .into_inner()
        .message
        .expect("a tombstone");
    assert!(tombstone.text.is_empty() && tombstone.delete_time.is_some());

    let page = ListMessagesRequest {
        chat_id: chat.chat_id.clone(),
        page_size: 2,
        ..ListMessagesRequest::default()
    };
    let page = bob.messages().list_messages(page).await.expect("a page").into_inner();
    let texts: Vec<&str> = page.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["number one", ""]);
    assert_eq!(bob.list(&chat.chat_id).await.expect("all pages").len(), 5);
}

pub async fn a_stream_from_the_first_message_on(suite: &Suite) {
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let mut stream = bob.listen().await.expect("listens");
    wait_for(&mut stream, |frame| matches!(frame, Frame::CaughtUp(_))).await;
    // The chat does not exist yet: the stream learns of it by itself.
    let chat = ada.direct_chat(&bob).await;
    let sent = ada.send(&chat.chat_id, "are you there?").await.expect("sends");
    wait_for(&mut stream, |frame| match frame {
        Frame::Change(change) => {
            matches!(&change.kind, Some(Kind::MessageCreated(created)) if created.message.as_ref().is_some_and(|message| message.message_id == sent.message_id))
        }
        Frame::Snapshot(snapshot) => snapshot.messages.iter().any(|message| message.message_id == sent.message_id),
        _ => false,
    })
    .await;
}

async fn wait_for(stream: &mut Streaming<StreamChangesResponse>, wanted: impl Fn(&Frame) -> bool) {
    let found = async {
        loop {
            let frame = stream
                .message()
                .await
                .expect("the stream goes on")
                .expect("the stream does not end")
                .frame;
            if frame.as_ref().is_some_and(&wanted) {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, found)
        .await
        .expect("the frame comes in time");
}
