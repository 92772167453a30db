use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use flate2::{Compression, write::GzEncoder};
use http::Method;
use prost::Message as _;
use serde_json::{Value, json};
use std::io::Write as _;
use tidings_proto_auth::v1::{LoginRequest, LoginResponse};
use tidings_proto_message::v1::{After, StreamChangesRequest, StreamChangesResponse};

use crate::{
    calls::{Answer, INFO, LOGIN, LOGOUT, STATE, STREAM, fields, framed, frames, reason, request, text},
    fakes::BIG,
    world::{SHAPES, Shape, World},
};

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTO: (&str, &str) = ("content-type", "application/proto");

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("in memory");
    encoder.finish().expect("in memory")
}

#[tokio::test]
async fn curl_calls_with_json() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let answer = world
            .post(LOGIN, &[JSON], r#"{"identifier":"alice","device_label":"📱\u0000"}"#)
            .await;
        assert_eq!((answer.http.as_u16(), answer.content_type()), (200, "application/json"));
        assert_eq!(answer.headers["cache-control"], "no-store");
        let json = answer.json();
        assert_eq!(json["userId"], "alice");
        // Text goes through as it is; what is wrong with it is the service's to say.
        assert_eq!(json["loginSessionId"], "📱\u{0}");
        // Fields with default values are there.
        assert_eq!(json["accessToken"], "");
        let state = world.json(STATE, r#"{"pageToken":"x"}"#).await.json();
        assert_eq!(state["userPosition"], BIG.to_string());
        assert_eq!(state["chats"], json!([]));
        assert!(world.json(INFO, "").await.json()["serverTime"].is_string());
    }
}

#[tokio::test]
async fn clients_call_in_binary() {
    let world = World::new(Shape::Remote).await;
    let login = LoginRequest {
        identifier: "alice".to_owned(),
        ..LoginRequest::default()
    };
    let headers = [PROTO, ("connect-protocol-version", "1"), ("connect-timeout-ms", "5000")];
    let answer = world.post(LOGIN, &headers, login.encode_to_vec()).await;
    assert_eq!(
        (answer.http.as_u16(), answer.content_type()),
        (200, "application/proto")
    );
    assert_eq!(LoginResponse::decode(answer.body).expect("a message").user_id, "alice");
}

#[tokio::test]
async fn errors_have_their_http_status_code_and_details() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let answer = world.json(LOGIN, r#"{"identifier":"wrong"}"#).await;
        let refusal = (401, "unauthenticated".to_owned(), "CREDENTIALS_INVALID".to_owned());
        assert_eq!((answer.refusal(), answer.content_type()), (refusal, "application/json"));
        assert_eq!(answer.json()["message"], "the credentials are not valid");
        let detail = answer.json()["details"][0].clone();
        let info = STANDARD_NO_PAD.decode(text(&detail["value"])).expect("base64");
        assert!(String::from_utf8_lossy(&info).contains("CREDENTIALS_INVALID"));
        let invalid = world.json(LOGIN, r#"{"identifier":"invalid"}"#).await;
        assert_eq!(
            (invalid.http.as_u16(), fields(&invalid.json())),
            (400, vec!["password".to_owned()])
        );
        let busy = world.json(LOGIN, r#"{"identifier":"busy"}"#).await;
        assert_eq!(
            (busy.http.as_u16(), busy.headers["retry-after"].to_str().expect("ASCII")),
            (429, "2")
        );
        let missing = world.post(LOGOUT, &[JSON], "{}").await;
        assert_eq!(missing.refusal().2, "TOKEN_MISSING");
        let proto = world.post(LOGIN, &[PROTO], b"\x0a\x05wrong".to_vec()).await;
        assert_eq!((proto.http.as_u16(), proto.content_type()), (401, "application/json"));
    }
}

#[tokio::test]
async fn json_that_is_wrong_is_refused_with_the_field() {
    let world = World::new(Shape::Local).await;
    for (json, field) in [
        (r#"{"identifier":7}"#, "identifier"),
        (r#"{"identifier":["a"]}"#, "identifier"),
        (r#"{"identifier":{"a":1}}"#, "identifier"),
        (r#"{"pasword":"x"}"#, "pasword"),
        (r#"{"identifier":"a""#, ""),
        (r#"{"identifier":"\ud800"}"#, ""),
        (r#"{"identifier":"\udc00\ud800"}"#, ""),
        ("{\"identifier\":\"a\u{0}\"}", ""),
        ("[]", ""),
        ("null", ""),
        ("{} {}", ""),
        ("identifier=alice", ""),
    ] {
        let answer = world.json(LOGIN, json).await;
        let refusal = (400, "invalid_argument".to_owned(), "FIELD_INVALID".to_owned());
        assert_eq!(
            (answer.refusal(), fields(&answer.json())),
            (refusal, vec![field.to_owned()]),
            "{json}"
        );
    }
    let answer = world.post(LOGIN, &[JSON], b"{\"identifier\":\"\xff\"}".to_vec()).await;
    assert_eq!(answer.refusal().2, "FIELD_INVALID");
    let garbage = world.post(LOGIN, &[PROTO], b"\x0a\xff\xff".to_vec()).await;
    assert_eq!(garbage.refusal().2, "FIELD_INVALID");
    assert!(world.seen.nothing());
}

#[tokio::test]
async fn what_is_no_form_of_the_rpc_is_refused_by_name() {
    let world = World::new(Shape::Local).await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "application/connect+json",
        "",
    ] {
        let answer = world.post(LOGIN, &[("content-type", kind)], "{}").await;
        assert_eq!(
            (answer.http.as_u16(), answer.refusal().2),
            (415, "PROTOCOL_UNSUPPORTED".to_owned()),
            "{kind}"
        );
        assert_eq!(
            answer.json()["message"],
            "the method is not called in this way",
            "{kind}"
        );
        assert_eq!(answer.headers["accept-post"], "application/json, application/proto");
    }
    assert_eq!(world.post(LOGIN, &[], "{}").await.http, 415);
    assert_eq!(world.post(STREAM, &[JSON], "{}").await.http, 415);
    for kind in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json;charset=\"UTF-8\"",
    ] {
        assert_eq!(
            world.post(LOGIN, &[("content-type", kind)], "{}").await.http,
            200,
            "{kind}"
        );
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = world.send(request(method.clone(), LOGIN, &[JSON], "{}")).await;
        assert_eq!(
            (answer.http.as_u16(), answer.headers["allow"].to_str().expect("ASCII")),
            (405, "POST"),
            "{method}"
        );
        assert_eq!(answer.refusal().2, "PROTOCOL_UNSUPPORTED", "{method}");
    }
    let version = world
        .post(LOGIN, &[JSON, ("connect-protocol-version", "2")], "{}")
        .await;
    assert_eq!(fields(&version.json()), ["connect-protocol-version"]);
}

#[tokio::test]
async fn compressed_requests_are_read() {
    let world = World::new(Shape::Local).await;
    let packed = gzip(br#"{"identifier":"alice"}"#);
    let answer = world
        .post(LOGIN, &[JSON, ("content-encoding", "gzip")], packed.clone())
        .await;
    assert_eq!(answer.json()["userId"], "alice");
    let unknown = world.post(LOGIN, &[JSON, ("content-encoding", "br")], packed).await;
    assert_eq!(
        unknown.refusal(),
        (501, "unimplemented".to_owned(), "PROTOCOL_UNSUPPORTED".to_owned())
    );
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 70_000);
    let answer = world.post(LOGIN, &[JSON, ("content-encoding", "gzip")], bomb).await;
    assert_eq!(answer.refusal().2, "MESSAGE_TOO_LARGE");
}

#[tokio::test]
async fn reads_may_be_asked_by_get() {
    let world = World::new(Shape::Local).await;
    let bearer = world.bearer();
    let get = async |query: &str| {
        let path = format!("{STATE}?{query}");
        world
            .send(request(Method::GET, &path, &[("authorization", &bearer)], ""))
            .await
    };
    let answer = get("connect=v1&encoding=json&message=%7B%22pageToken%22%3A%22a+b%22%7D").await;
    assert_eq!((answer.http.as_u16(), &answer.json()["logId"]), (200, &json!("a b")));
    let message = URL_SAFE_NO_PAD.encode(b"\x12\x03xyz");
    let answer = get(&format!("connect=v1&encoding=proto&base64=1&message={message}")).await;
    assert_eq!(
        (answer.http.as_u16(), answer.content_type()),
        (200, "application/proto")
    );
    for (query, field) in [
        ("connect=v2&encoding=json&message=%7B%7D", "connect"),
        ("encoding=xml&message=%7B%7D", "encoding"),
        ("encoding=json&base64=1&message=%25", "message"),
        ("encoding=json&encoding=json", ""),
    ] {
        assert_eq!(fields(&get(query).await.json()), [field], "{query}");
    }
}

fn end(answer: &Answer) -> Value {
    let frames = frames(&answer.body);
    let (flags, content) = frames.last().expect("an end");
    assert_eq!(*flags, 2, "the last envelope ends the stream");
    serde_json::from_slice(content).expect("JSON")
}

#[tokio::test]
async fn streams_come_in_envelopes() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let bearer = world.bearer();
        let json = [
            ("content-type", "application/connect+json"),
            ("authorization", bearer.as_str()),
        ];
        let answer = world
            .post(STREAM, &json, framed(0, br#"{"after":{"logId":"log"}}"#))
            .await;
        assert_eq!(
            (answer.http.as_u16(), answer.content_type()),
            (200, "application/connect+json")
        );
        let envelopes = frames(&answer.body);
        assert_eq!(envelopes.len(), 3);
        let first: Value = serde_json::from_slice(&envelopes[0].1).expect("JSON");
        assert_eq!(first["opened"]["userPosition"], BIG.to_string());
        assert_eq!(end(&answer), json!({}));

        let proto = [
            ("content-type", "application/connect+proto"),
            ("authorization", bearer.as_str()),
        ];
        let after = After {
            log_id: "log".to_owned(),
            ..After::default()
        };
        let message = StreamChangesRequest { after: Some(after) }.encode_to_vec();
        let answer = world.post(STREAM, &proto, framed(0, &message)).await;
        let envelopes = frames(&answer.body);
        StreamChangesResponse::decode(envelopes[0].1.clone()).expect("a message");
        assert_eq!((envelopes.len(), end(&answer)), (3, json!({})));
        let packed = [proto[0], proto[1], ("connect-content-encoding", "gzip")];
        let answer = world.post(STREAM, &packed, framed(1, &gzip(&message))).await;
        assert_eq!(frames(&answer.body).len(), 3);
    }
}

#[tokio::test]
async fn a_stream_says_how_it_failed_in_its_last_envelope() {
    for shape in SHAPES {
        let world = World::new(shape).await;
        let bearer = world.bearer();
        let headers = [
            ("content-type", "application/connect+json"),
            ("authorization", bearer.as_str()),
        ];
        for (body, envelopes, code, why) in [
            (
                framed(0, br#"{"after":{"logId":"fails"}}"#),
                3,
                "resource_exhausted",
                "SLOW_CONSUMER",
            ),
            (
                framed(0, br#"{"after":{"logId":"refused"}}"#),
                1,
                "invalid_argument",
                "FIELD_INVALID",
            ),
            (framed(0, br#"{"after":7}"#), 1, "invalid_argument", "FIELD_INVALID"),
            (framed(7, b"{}"), 1, "invalid_argument", "FIELD_INVALID"),
            (Vec::new(), 1, "unimplemented", "PROTOCOL_UNSUPPORTED"),
            (
                [framed(0, b"{}"), framed(0, b"{}")].concat(),
                1,
                "unimplemented",
                "PROTOCOL_UNSUPPORTED",
            ),
        ] {
            let answer = world.post(STREAM, &headers, body).await;
            let error = end(&answer)["error"].clone();
            assert_eq!(
                (answer.http.as_u16(), frames(&answer.body).len()),
                (200, envelopes),
                "{why}"
            );
            assert_eq!((text(&error["code"]).as_str(), reason(&error).as_str()), (code, why));
        }
        let answer = world.post(STREAM, &headers[..1], framed(0, b"{}")).await;
        assert_eq!(reason(&end(&answer)["error"]), "TOKEN_MISSING");
    }
}
