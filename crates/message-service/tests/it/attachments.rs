mod sweeps;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    Attachment, AttachmentState, CompleteUploadRequest, CreateDownloadUrlRequest, CreateUploadRequest,
    DeleteMessageRequest, GetAttachmentRequest, MessageType, SendMessageRequest, Upload,
};
use tonic::Status;
use tower::ServiceExt as _;

use crate::world::{Actor, MEMBER, World, reason, wrong_fields};

pub const BYTES: &[u8] = b"\x89PNG and so on";

pub fn announce(chat_id: &str, media_type: &str, bytes: &[u8]) -> CreateUploadRequest {
    CreateUploadRequest {
        chat_id: chat_id.to_owned(),
        media_type: media_type.to_owned(),
        size_bytes: bytes.len() as u32,
        sha256: hex::encode(digest(&SHA256, bytes)),
        file_name: "ein Bild.png".to_owned(),
        request_id: String::new(),
    }
}

pub async fn create(actor: &Actor, request: CreateUploadRequest) -> Result<Upload, Status> {
    let response = actor.attachments().create_upload(actor.asks(request)).await?;
    Ok(response.into_inner().upload.expect("an upload"))
}

async fn complete(actor: &Actor, chat_id: &str, id: &str) -> Result<Attachment, Status> {
    let request = CompleteUploadRequest {
        chat_id: chat_id.to_owned(),
        attachment_id: id.to_owned(),
        request_id: actor.request_id(),
    };
    let response = actor.attachments().complete_upload(actor.asks(request)).await?;
    Ok(response.into_inner().attachment.expect("an attachment"))
}

async fn get(actor: &Actor, chat_id: &str, id: &str) -> Result<Attachment, Status> {
    let request = GetAttachmentRequest {
        chat_id: chat_id.to_owned(),
        attachment_id: id.to_owned(),
    };
    let response = actor.attachments().get_attachment(actor.asks(request)).await?;
    Ok(response.into_inner().attachment.expect("an attachment"))
}

async fn download_url(actor: &Actor, chat_id: &str, id: &str) -> Result<String, Status> {
    let request = CreateDownloadUrlRequest {
        chat_id: chat_id.to_owned(),
        attachment_id: id.to_owned(),
    };
    Ok(actor
        .attachments()
        .create_download_url(actor.asks(request))
        .await?
        .into_inner()
        .download_url)
}

async fn http(world: &World, method: &str, url: &str, bytes: &[u8]) -> Response<Body> {
    let path = url.strip_prefix("http://localhost:7700").expect("the public URL");
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(bytes.to_vec()))
        .expect("a request");
    world.media.clone().oneshot(request).await.expect("infallible")
}

/// A file that is put and completed.
pub async fn ready(world: &World, actor: &Actor, chat_id: &str, media_type: &str) -> String {
    let upload = create(actor, announce(chat_id, media_type, BYTES))
        .await
        .expect("announced");
    let response = http(world, "PUT", &upload.upload_url, BYTES).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    complete(actor, chat_id, &upload.attachment_id).await.expect("complete");
    upload.attachment_id
}

#[tokio::test]
async fn a_file_goes_up_with_a_message_and_down_again() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let request = CreateUploadRequest {
        request_id: alice.request_id(),
        ..announce(&chat.id, "image/png", BYTES)
    };
    let upload = create(&alice, request.clone()).await.expect("announced");
    assert_eq!(
        create(&alice, request).await.expect("again").attachment_id,
        upload.attachment_id
    );
    assert_eq!(
        reason(complete(&alice, &chat.id, &upload.attachment_id).await),
        ErrorReason::StateUnsuitable
    );
    assert_eq!(
        http(&world, "PUT", &upload.upload_url, BYTES).await.status(),
        StatusCode::NO_CONTENT
    );
    let attachment = complete(&alice, &chat.id, &upload.attachment_id)
        .await
        .expect("complete");
    assert_eq!(attachment.state(), AttachmentState::Ready);
    assert_eq!(
        complete(&alice, &chat.id, &upload.attachment_id).await.expect("again"),
        attachment
    );
    assert_eq!(
        http(&world, "PUT", &upload.upload_url, BYTES).await.status(),
        StatusCode::CONFLICT
    );

    // Nobody else sees it before a message carries it.
    assert_eq!(
        get(&alice, &chat.id, &attachment.attachment_id).await.expect("hers"),
        attachment
    );
    assert_eq!(
        reason(get(&bob, &chat.id, &attachment.attachment_id).await),
        ErrorReason::NotFound
    );
    assert_eq!(
        reason(download_url(&bob, &chat.id, &attachment.attachment_id).await),
        ErrorReason::NotFound
    );

    let send = SendMessageRequest {
        attachment_ids: vec![attachment.attachment_id.clone()],
        ..alice.message(&chat.id, "")
    };
    let message = alice.send_as(send.clone()).await.expect("sent");
    assert_eq!(
        (message.r#type(), message.attachments.as_slice()),
        (MessageType::Image, &[attachment.clone()][..])
    );
    assert_eq!(alice.send_as(send).await.expect("again"), message);
    assert_eq!(
        get(&bob, &chat.id, &attachment.attachment_id).await.expect("seen"),
        attachment
    );
    let url = download_url(&bob, &chat.id, &attachment.attachment_id)
        .await
        .expect("a URL");
    let response = http(&world, "GET", &url, b"").await;
    assert_eq!(response.status(), StatusCode::OK);
    let header = |name| {
        response
            .headers()
            .get(name)
            .expect("a header")
            .to_str()
            .expect("ASCII")
            .to_owned()
    };
    assert_eq!(header(header::CONTENT_TYPE), "image/png");
    assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert_eq!(
        header(header::CONTENT_DISPOSITION),
        "attachment; filename=\"ein Bild.png\"; filename*=UTF-8''ein%20Bild.png"
    );
    let bytes = response.into_body().collect().await.expect("bytes").to_bytes();
    assert_eq!(&bytes[..], BYTES);
}

#[tokio::test]
async fn bytes_that_were_not_announced_are_refused() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let other = [0; BYTES.len()];
    for bytes in [&other[..], &BYTES[1..], &[BYTES, b"!"].concat()[..], b""] {
        let upload = create(&alice, announce(&chat.id, "image/png", BYTES))
            .await
            .expect("announced");
        let response = http(&world, "PUT", &upload.upload_url, bytes).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            reason(complete(&alice, &chat.id, &upload.attachment_id).await),
            ErrorReason::ChecksumMismatch
        );
        // The right ones may still come.
        assert_eq!(
            http(&world, "PUT", &upload.upload_url, BYTES).await.status(),
            StatusCode::NO_CONTENT
        );
        complete(&alice, &chat.id, &upload.attachment_id)
            .await
            .expect("complete");
    }
}

#[tokio::test]
async fn a_url_works_for_its_method_and_as_it_was_signed_only() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let upload = create(&alice, announce(&chat.id, "image/png", BYTES))
        .await
        .expect("announced");
    let url = upload.upload_url;
    let as_download = url.replace("/upload/", "/download/");
    let tampered = [
        url.replace("signature=", "signature=A"),
        url.replace("expires=", "expires=9"),
        as_download.clone(),
    ];
    for url in &tampered {
        let method = if *url == as_download { "GET" } else { "PUT" };
        assert_eq!(http(&world, method, url, BYTES).await.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(
        http(&world, "GET", &url, b"").await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    let bare = url.split('?').next().expect("a path");
    assert_eq!(http(&world, "PUT", bare, BYTES).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_a_browser_might_run_comes_as_bytes() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    for media_type in ["text/html", "image/svg+xml", "application/pdf"] {
        let id = ready(&world, &alice, &chat.id, media_type).await;
        let url = download_url(&alice, &chat.id, &id).await.expect("a URL");
        let response = http(&world, "GET", &url, b"").await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/octet-stream");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(
            response.headers()[header::CONTENT_DISPOSITION]
                .to_str()
                .expect("ASCII")
                .starts_with("attachment")
        );
    }
}

#[tokio::test]
async fn a_message_takes_its_senders_own_completed_and_unused_files_of_the_chat() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let [chat, other] = [
        world.conversation(&[&alice, &bob]).await,
        world.conversation(&[&alice]).await,
    ];
    let carry = |actor: &Actor, ids: &[&str]| {
        let attachment_ids = ids.iter().map(ToString::to_string).collect();
        let request = SendMessageRequest {
            attachment_ids,
            ..actor.message(&chat.id, "look")
        };
        let actor = actor.clone();
        async move { actor.send_as(request).await }
    };
    let [image, video, file] = [
        ready(&world, &alice, &chat.id, "image/png").await,
        ready(&world, &alice, &chat.id, "video/mp4").await,
        ready(&world, &alice, &chat.id, "application/zip").await,
    ];
    let elsewhere = ready(&world, &alice, &other.id, "image/png").await;
    let his = ready(&world, &bob, &chat.id, "image/png").await;
    let unfinished = create(&alice, announce(&chat.id, "image/png", BYTES))
        .await
        .expect("announced")
        .attachment_id;

    assert_eq!(reason(carry(&alice, &[&elsewhere]).await), ErrorReason::NotFound);
    assert_eq!(reason(carry(&alice, &[&his]).await), ErrorReason::NotFound);
    assert_eq!(
        reason(carry(&alice, &[&image, &alice.nowhere()]).await),
        ErrorReason::NotFound
    );
    assert_eq!(
        reason(carry(&alice, &[&unfinished]).await),
        ErrorReason::StateUnsuitable
    );
    let message = carry(&alice, &[&video, &image]).await.expect("sent");
    assert_eq!(message.r#type(), MessageType::File, "mixed");
    let order: Vec<&str> = message
        .attachments
        .iter()
        .map(|attachment| attachment.attachment_id.as_str())
        .collect();
    assert_eq!(order, [&video, &image]);
    assert_eq!(
        reason(carry(&alice, &[&image]).await),
        ErrorReason::StateUnsuitable,
        "it stands in a message"
    );
    assert_eq!(carry(&alice, &[&file]).await.expect("sent").r#type(), MessageType::File);
    assert_eq!(carry(&bob, &[&his]).await.expect("sent").r#type(), MessageType::Image);
}

#[tokio::test]
async fn files_end_with_their_message_and_for_those_who_leave() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice, &bob]).await;
    let id = ready(&world, &alice, &chat.id, "image/png").await;
    let send = SendMessageRequest {
        attachment_ids: vec![id.clone()],
        ..alice.message(&chat.id, "look")
    };
    let message = alice.send_as(send).await.expect("sent");
    let url = download_url(&bob, &chat.id, &id).await.expect("a URL");
    chat.remove(&bob).await;
    assert_eq!(reason(download_url(&bob, &chat.id, &id).await), ErrorReason::NotFound);
    assert_eq!(reason(get(&bob, &chat.id, &id).await), ErrorReason::NotFound);
    chat.put(&bob, MEMBER).await;

    let delete = DeleteMessageRequest {
        chat_id: chat.id.clone(),
        message_id: message.message_id.clone(),
        ..DeleteMessageRequest::default()
    };
    let tombstone = alice
        .messages()
        .delete_message(alice.asks(delete))
        .await
        .expect("deleted")
        .into_inner();
    assert_eq!(tombstone.message.expect("a tombstone").attachments, []);
    let removed = get(&bob, &chat.id, &id).await.expect("seen");
    assert_eq!(
        (removed.state(), removed.file_name.as_str()),
        (AttachmentState::Removed, ""),
        "the uploader's words are gone too"
    );
    assert_eq!(
        reason(download_url(&bob, &chat.id, &id).await),
        ErrorReason::StateUnsuitable
    );
    assert_eq!(
        http(&world, "GET", &url, b"").await.status(),
        StatusCode::NOT_FOUND,
        "the old URL ends too"
    );
}

#[tokio::test]
async fn the_sweeper_removes_what_no_message_took_and_what_is_removed() {
    let world = World::begin_with(|config| config.sweep_interval = std::time::Duration::from_millis(50)).await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    let [old, young] = [
        ready(&world, &alice, &chat.id, "image/png").await,
        ready(&world, &alice, &chat.id, "image/png").await,
    ];
    let sql =
        "update messages.attachments set create_time = now() - interval '25 hours' where attachment_id = $1::uuid";
    sqlx::query(sql).bind(&old).execute(&world.pool()).await.expect("aged");
    let pool = world.pool();
    crate::world::until("the sweep", async || {
        let purged: bool = sqlx::query_scalar("select purged from messages.attachments where attachment_id = $1::uuid")
            .bind(&old)
            .fetch_one(&pool)
            .await
            .expect("a row");
        purged
    })
    .await;
    assert_eq!(
        get(&alice, &chat.id, &old).await.expect("hers").state(),
        AttachmentState::Removed
    );
    assert_eq!(
        reason(complete(&alice, &chat.id, &old).await),
        ErrorReason::UploadExpired
    );
    assert_eq!(
        get(&alice, &chat.id, &young).await.expect("hers").state(),
        AttachmentState::Ready
    );
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let world = World::begin().await;
    let [alice, eve] = [world.user(), world.user()];
    let mut chat = world.conversation(&[&alice]).await;
    let good = announce(&chat.id, "image/png", BYTES);
    let wrong: Vec<(&str, CreateUploadRequest)> = vec![
        (
            "chat_id",
            CreateUploadRequest {
                chat_id: "x".to_owned(),
                ..good.clone()
            },
        ),
        (
            "media_type",
            CreateUploadRequest {
                media_type: "text/html; charset=utf-8".to_owned(),
                ..good.clone()
            },
        ),
        (
            "size_bytes",
            CreateUploadRequest {
                size_bytes: 0,
                ..good.clone()
            },
        ),
        (
            "size_bytes",
            CreateUploadRequest {
                size_bytes: 104_857_601,
                ..good.clone()
            },
        ),
        (
            "sha256",
            CreateUploadRequest {
                sha256: "0F".repeat(32),
                ..good.clone()
            },
        ),
        (
            "file_name",
            CreateUploadRequest {
                file_name: "../../etc/passwd".to_owned(),
                ..good.clone()
            },
        ),
        (
            "file_name",
            CreateUploadRequest {
                file_name: "a\r\nb".to_owned(),
                ..good.clone()
            },
        ),
        (
            "file_name",
            CreateUploadRequest {
                file_name: "gnp.\u{202E}exe".to_owned(),
                ..good.clone()
            },
        ),
        (
            "request_id",
            CreateUploadRequest {
                request_id: "x".to_owned(),
                ..good.clone()
            },
        ),
    ];
    for (field, request) in wrong {
        assert_eq!(wrong_fields(create(&alice, request).await), [field]);
    }
    assert_eq!(reason(create(&eve, good.clone()).await), ErrorReason::NotFound);
    chat.update(|facts| facts.archived = true).await;
    assert_eq!(reason(create(&alice, good).await), ErrorReason::ChatArchived);
}

#[tokio::test]
async fn a_user_has_a_hundred_unfinished_uploads_at_the_most() {
    let world = World::begin().await;
    let alice = world.user();
    let chat = world.conversation(&[&alice]).await;
    for _ in 0..100 {
        create(&alice, announce(&chat.id, "image/png", BYTES))
            .await
            .expect("announced");
    }
    let refused = create(&alice, announce(&chat.id, "image/png", BYTES)).await;
    assert_eq!(reason(refused), ErrorReason::QuotaExceeded);
}
