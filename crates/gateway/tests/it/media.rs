use axum::{
    Router,
    body::Bytes,
    extract::Path,
    routing::{get, put},
};
use http::{HeaderMap, Method, Uri};

use crate::{
    calls::request,
    world::{CLIENT, SHAPES, Settings, World},
};

/// What the message service serves below `/media/`, with answers that tell what came.
fn routes() -> Router {
    let upload = |Path(id): Path<String>, uri: Uri, headers: HeaderMap, body: Bytes| async move {
        let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
        let client = headers
            .get("x-tidings-client")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let query = uri.query().unwrap_or_default();
        format!("{id}|{query}|{}|{client}|{}", body.len(), names.join(","))
    };
    let download = || async {
        (
            [("content-type", "image/png"), ("x-tidings-secret", "x")],
            vec![7_u8; 300_000],
        )
    };
    Router::new()
        .route("/media/u/{id}", put(upload))
        .route("/media/d/{id}", get(download))
}

#[tokio::test]
async fn uploads_and_downloads_are_passed_on_untouched() {
    for shape in SHAPES {
        let mut settings = Settings::new(shape);
        settings.media = Some(routes());
        let world = World::with(settings).await;
        let headers = [
            ("content-type", "image/png"),
            ("authorization", "Bearer x"),
            ("x-tidings-service", "forged"),
            ("x-forwarded-for", "127.0.0.1"),
            ("cookie", "a=b"),
        ];
        let upload = request(Method::PUT, "/media/u/a%2Fb?sig=x%3D&e=1", &headers, vec![1; 200_000]);
        let answer = world.send(upload).await;
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        assert!(
            text.starts_with(&format!("a/b|sig=x%3D&e=1|200000|{CLIENT}|")),
            "{text}"
        );
        assert!(text.contains("content-type"), "{text}");
        for dropped in ["authorization", "cookie", "forwarded"] {
            assert!(!text.contains(dropped), "{text}");
        }
        let answer = world.send(request(Method::GET, "/media/d/1", &[], "")).await;
        assert_eq!((answer.body.len(), answer.content_type()), (300_000, "image/png"));
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert!(!answer.headers.contains_key("x-tidings-secret"));
        assert_eq!(world.send(request(Method::GET, "/media/none", &[], "")).await.http, 404);
    }
}

#[tokio::test]
async fn rpcs_are_not_reachable_as_media() {
    for shape in SHAPES {
        let mut settings = Settings::new(shape);
        settings.media = Some(routes());
        let world = World::with(settings).await;
        let path = "/media/../tidings.message.v1.MembershipLogService/ApplyMembershipChanges";
        let answer = world.post(path, &[("content-type", "application/json")], "{}").await;
        assert_eq!(answer.http, 404, "{shape:?}");
        let answer = world.post(path, &[("content-type", "application/grpc")], "").await;
        assert_eq!(answer.outcome().0, tonic::Code::Unimplemented);
    }
}
