//! JSON that is no request, at the gateway (`reliability.md` B008, B040, B044).

use serde_json::{Value, json};
use tidings_testkit::Suite;

use crate::matrix::{
    cast::Cast,
    scene::{Needs, Scene},
};

/// A body for an RPC, and the field that the refusal must name: none where there is no field to name.
struct Form {
    what: String,
    rpc: &'static str,
    body: String,
    field: Option<&'static str>,
}

/// Sends them all, and says which were not refused as they must be.
pub async fn play(suite: &Suite, cast: &Cast) -> Vec<String> {
    // The owner's own world as it stands; a refused request makes no chat.
    let chat = Scene::set(cast, Needs::Nothing).await;
    let client = reqwest::Client::new();
    let mut findings = Vec::new();
    for form in forms(chat.get("owner").expect("every scene has an owner")) {
        let url = format!("http://{}/tidings.{}", suite.gateway_address(), form.rpc);
        let request = client
            .post(url)
            .bearer_auth(&cast.owner.access_token)
            .header("content-type", "application/json")
            .body(form.body);
        let answer = match request.send().await {
            Ok(answer) => (answer.status(), answer.text().await.unwrap_or_default()),
            Err(error) => {
                findings.push(format!("{} with {}: no answer: {error:?}", form.rpc, form.what));
                continue;
            }
        };
        let (status, text) = answer;
        let wrong = wrong(status.as_u16(), &text, form.field);
        findings.extend(wrong.map(|wrong| format!("{} with {}: {wrong}: {status} {text}", form.rpc, form.what)));
    }
    findings
}

fn wrong(status: u16, text: &str, field: Option<&str>) -> Option<String> {
    let Ok(answer) = serde_json::from_str::<Value>(text) else {
        return Some("the answer is no JSON".to_owned());
    };
    if answer["code"] == "resource_exhausted" {
        let reason = &detail(&answer, "google.rpc.ErrorInfo")["reason"];
        return (status != 429 || reason != "MESSAGE_TOO_LARGE").then(|| "is no MESSAGE_TOO_LARGE".to_owned());
    }
    if status != 400 || answer["code"] != "invalid_argument" {
        return Some("must be refused as an invalid argument".to_owned());
    }
    let info = detail(&answer, "google.rpc.ErrorInfo");
    if info["domain"] != "tidings" || info["reason"] != "FIELD_INVALID" {
        return Some("must be FIELD_INVALID".to_owned());
    }
    let violations = detail(&answer, "google.rpc.BadRequest")["fieldViolations"].clone();
    let fields: Vec<&str> = violations
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|violation| violation["field"].as_str())
        .collect();
    match field {
        None if fields.is_empty() => Some("must have a violation".to_owned()),
        Some(field) if !fields.contains(&field) => Some(format!("must name {field}")),
        _ => None,
    }
}

fn detail<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let details = answer["details"].as_array().map_or(&[][..], Vec::as_slice);
    let found = details.iter().find(|detail| detail["type"] == name);
    found.map_or(&Value::Null, |detail| &detail["debug"])
}

const SEND: &str = "message.v1.MessageService/SendMessage";
const LIST: &str = "message.v1.MessageService/ListMessages";
const SYNC: &str = "message.v1.SyncService/SyncChanges";
const GROUP: &str = "chat.v1.GroupService/UpdateGroup";

fn forms(id: &str) -> Vec<Form> {
    let form = |what: &str, rpc, body: String, field| Form {
        what: what.to_owned(),
        rpc,
        body,
        field,
    };
    let raw = |what: &str, body: &str| form(what, SEND, body.replace("ID", id), None);
    let mut forms = vec![
        raw("nothing", ""),
        raw("a list", "[]"),
        raw("null", "null"),
        raw("a number", "7"),
        raw("a text", r#""text""#),
        raw("half an object", r#"{"chatId":"ID","#),
        raw("two objects", r#"{"chatId":"ID","text":"a"}{}"#),
        raw("a tail", r#"{"chatId":"ID","text":"a"}x"#),
        raw("a byte order mark", "\u{feff}{}"),
        raw("a comment", r#"{/*a*/"chatId":"ID"}"#),
        raw("single quotes", "{'chatId':'ID'}"),
        raw("a trailing comma", r#"{"chatId":"ID","text":"a",}"#),
        raw("a lone surrogate", r#"{"chatId":"ID","text":"\ud800"}"#),
        raw("a lone low surrogate", r#"{"chatId":"ID","text":"a\udc00b"}"#),
        raw("a bare control character", "{\"chatId\":\"ID\",\"text\":\"a\u{1}b\"}"),
        raw("an unknown escape", r#"{"chatId":"ID","text":"\x00"}"#),
        raw("a deep list", &format!(r#"{{"text":{}}}"#, "[".repeat(30_000))),
        raw("a deep object", &r#"{"text":"#.repeat(5_000)),
        form(
            "a megabyte",
            SEND,
            json!({ "text": "a".repeat(1_100_000) }).to_string(),
            None,
        ),
    ];
    let typed = |rpc, key: &str, value: Value, field| {
        let body = json!({ "chatId": id, key: value }).to_string();
        form(&format!("{key}: {value}"), rpc, body, Some(field))
    };
    forms.extend([
        typed(SEND, "text", json!("a\0b"), "text"),
        typed(SEND, "txt", json!("a"), "txt"),
        typed(SEND, "senderId", json!(id), "senderId"),
        typed(SEND, "text", json!(7), "text"),
        typed(SEND, "text", json!(["a"]), "text"),
        typed(SEND, "text", json!({ "a": "b" }), "text"),
        typed(SEND, "text", json!(true), "text"),
        typed(SEND, "text", Value::Null, "text"),
        typed(SEND, "attachmentIds", json!("a"), "attachment_ids"),
        typed(SEND, "attachmentIds", json!([7]), "attachment_ids[0]"),
        typed(SEND, "metadata", json!([]), "metadata"),
        typed(SEND, "metadata", json!({ "a": 1 }), "metadata.a"),
        typed(LIST, "pageSize", json!("many"), "page_size"),
        typed(LIST, "pageSize", json!(1.5), "page_size"),
        typed(LIST, "pageSize", json!(2_147_483_648_i64), "page_size"),
        typed(LIST, "pageSize", json!(1e300), "page_size"),
        typed(LIST, "pageSize", json!(true), "page_size"),
        typed(LIST, "afterSequence", json!("9223372036854775808"), "after_sequence"),
        typed(LIST, "afterSequence", json!("0x10"), "after_sequence"),
        typed(LIST, "order", json!("NONSENSE"), "order"),
        typed(LIST, "order", json!(true), "order"),
        typed(LIST, "order", json!(999), "order"),
    ]);
    let twice = |body: &str, field| form("a field twice", SEND, body.replace("ID", id), Some(field));
    forms.extend([
        twice(r#"{"chatId":"ID","text":"a","text":"b"}"#, "text"),
        twice(r#"{"chatId":"ID","chat_id":"ID","text":"a"}"#, "chat_id"),
        twice(
            r#"{"chatId":"ID","text":"a","metadata":{"a":"1","a":"2"}}"#,
            "metadata.a",
        ),
    ]);
    let other = |rpc, body: Value, field| form(&body.to_string(), rpc, body.to_string(), Some(field));
    forms.extend([
        other(SYNC, json!({ "after": [] }), "after"),
        other(SYNC, json!({ "after": { "chats": {} } }), "after.chats"),
        other(
            SYNC,
            json!({ "after": { "chats": [{ "chat": id }] } }),
            "after.chats[0].chat",
        ),
        other(SYNC, json!({ "after": { "userPosition": "-" } }), "after.user_position"),
        other(GROUP, json!({ "groupId": id, "updateMask": 7 }), "update_mask"),
        other(GROUP, json!({ "groupId": id, "updateMask": ["title"] }), "update_mask"),
    ]);
    forms
}
