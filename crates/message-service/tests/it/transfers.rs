//! How many transfers one may have at once.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, StatusCode, header};
use tidings_proto_message::v1::CreateDownloadUrlRequest;
use tower::ServiceExt as _;

use crate::{
    attachments::{BYTES, announce, create, ready},
    world::{Actor, World},
};

async fn answer(world: &World, method: &str, url: &str, body: Body) -> Response<Body> {
    let path = url.strip_prefix("http://localhost:7700").expect("the public URL");
    let request = Request::builder().method(method).uri(path).body(body);
    let answer = world.media.clone().oneshot(request.expect("a request"));
    answer.await.expect("infallible")
}

async fn upload_url(actor: &Actor, chat_id: &str) -> String {
    let upload = create(actor, announce(chat_id, "image/png", BYTES)).await;
    upload.expect("announced").upload_url
}

async fn download_url(actor: &Actor, chat_id: &str, id: &str) -> String {
    let request = CreateDownloadUrlRequest {
        chat_id: chat_id.to_owned(),
        attachment_id: id.to_owned(),
    };
    let response = actor.attachments().create_download_url(actor.asks(request)).await;
    response.expect("may be read").into_inner().download_url
}

#[tokio::test]
async fn one_user_does_not_take_the_places_of_all_uploads() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let (told, mut reading) = tokio::sync::mpsc::unbounded_channel();
    let mut slow = Vec::new();
    for _ in 0..2 {
        let url = upload_url(&alice, &chat.id).await;
        let told = told.clone();
        // It brings its first byte, and no other.
        let body = stream::once(async move {
            told.send(()).expect("the test waits for it");
            Ok::<_, std::io::Error>(Bytes::from_static(&BYTES[..1]))
        });
        let body = Body::from_stream(body.chain(stream::pending()));
        let world = &world;
        let mut upload = Box::pin(async move { answer(world, "PUT", &url, body).await });
        tokio::select! {
            early = &mut upload => panic!("it is not done: {early:?}"),
            read = reading.recv() => read.expect("it is read"),
        }
        slow.push(upload);
    }
    let third = upload_url(&alice, &chat.id).await;
    let refused = answer(&world, "PUT", &third, Body::from(BYTES)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    let others = upload_url(&bob, &chat.id).await;
    let taken = answer(&world, "PUT", &others, Body::from(BYTES)).await;
    assert_eq!(taken.status(), StatusCode::NO_CONTENT);
    slow.pop();
    let taken = answer(&world, "PUT", &third, Body::from(BYTES)).await;
    assert_eq!(taken.status(), StatusCode::NO_CONTENT, "there is a place again");
}

#[tokio::test]
async fn one_file_does_not_take_the_places_of_all_downloads() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let file = ready(&world, &alice, &chat.id, "image/png").await;
    let other = ready(&world, &alice, &chat.id, "image/png").await;
    let url = download_url(&alice, &chat.id, &file).await;
    let mut unread = Vec::new();
    for _ in 0..16 {
        let answer = answer(&world, "GET", &url, Body::empty()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        unread.push(answer);
    }
    let refused = answer(&world, "GET", &url, Body::empty()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let url_of_other = download_url(&alice, &chat.id, &other).await;
    let taken = answer(&world, "GET", &url_of_other, Body::empty()).await;
    assert_eq!(taken.status(), StatusCode::OK);
    unread.pop();
    let taken = answer(&world, "GET", &url, Body::empty()).await;
    assert_eq!(taken.status(), StatusCode::OK, "there is a place again");
}
