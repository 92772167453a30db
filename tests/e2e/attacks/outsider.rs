//! Somebody looks at everything while a chat is busy that is not theirs: nothing moves (A09, A10, G15).

use std::time::Duration;

use prost::Message as _;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::{Value, json};
use tidings_load::existence;
use tidings_proto_common::v1::Idempotency;
use tidings_proto_message::v1::{StreamChangesResponse, stream_changes_response::Frame};
use tidings_testkit::{Actor, Method, Shape, Suite, idempotency, request_id};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::matrix::{
    cast::Cast,
    is_internal, message, method_of,
    rows::{Relation, Row, rows},
    scene::Scene,
};

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(60);

/// In everything that is written in the busy chats.
const CANARY: &str = "canary-7d52";

/// What the outsider's own chat ends with.
const END: &str = "the end of it";

/// The measurement of `load/`, in small: it fails where a refusal of what is hidden differs from one of what is absent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hidden_is_refused_like_what_is_absent_while_times_are_taken() {
    let suite = Suite::start(Shape::Five).await;
    let options = existence::Options {
        target: suite.gateway_address().to_string(),
        pairs: 10,
        things: 2,
    };
    let report = existence::run(&options).await.expect("alike to the byte");
    for kind in existence::Kind::ALL {
        let medians = report.medians(kind);
        assert!(
            !medians.hidden.is_zero() && !medians.absent.is_zero(),
            "{kind:?}: {medians:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_for_an_outsider_while_a_chat_is_busy() {
    let suite = Suite::start(Shape::Five).await;
    let cast = Cast::gather(&suite).await;
    let own = cast.stranger.group_chat(&[]).await;
    let questions = Question::all(&cast).await;
    assert!(questions.len() > 15, "only {} questions", questions.len());
    let mut stream = cast.stranger.listen().await.expect("a stream");
    until(&mut stream, |frame| matches!(frame.frame, Some(Frame::CaughtUp(_)))).await;

    let outsiders = [&cast.stranger, &cast.removed];
    let mut before = Vec::new();
    for outsider in outsiders {
        before.extend(answers(&cast, outsider, &questions).await);
    }
    let mut hidden = Vec::new();
    for question in &questions {
        hidden.extend(busy(&cast, &question.scene).await);
    }
    assert!(hidden.len() > 50, "{} things were written", hidden.len());
    let mut after = Vec::new();
    for outsider in outsiders {
        after.extend(answers(&cast, outsider, &questions).await);
    }

    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after, "an answer has moved");
        assert!(!after.1.contains(CANARY), "{after:?}");
    }
    // Whoever was there once knows some of the ids.
    for (what, answer) in &after[..questions.len()] {
        let told = hidden.iter().find(|id| answer.starts_with('{') && answer.contains(*id));
        assert_eq!(told, None, "{what}: {answer}");
    }

    cast.stranger.send(&own.chat_id, END).await.expect("their own chat");
    let frames = until(&mut stream, |frame| has(frame, END)).await;
    let changes = frames
        .iter()
        .filter(|frame| matches!(frame.frame, Some(Frame::Change(_))));
    assert_eq!(changes.count(), 1, "{frames:?}");
    for frame in &frames {
        let told = hidden
            .iter()
            .map(String::as_str)
            .chain([CANARY])
            .find(|text| has(frame, text));
        assert_eq!(told, None, "{frame:?}");
    }
}

/// What can be asked about a chat, and what it is asked about.
struct Question {
    row: &'static Row,
    method: Method,
    scene: Scene,
}

impl Question {
    /// Every RPC of chats and messages that only reads, each about a scene of its own.
    async fn all(cast: &Cast) -> Vec<Self> {
        let mut questions = Vec::new();
        for row in rows().filter(|row| row.rpc.starts_with("chat.") || row.rpc.starts_with("message.")) {
            let method = method_of(row);
            let is_asked = !is_internal(&method) && idempotency(&method) == Idempotency::Read;
            if is_asked && row.relation != Relation::Off {
                let scene = Scene::set(cast, row.needs).await;
                questions.push(Self { row, method, scene });
            }
        }
        questions
    }
}

/// What somebody is answered to all questions, each with what was asked.
async fn answers(cast: &Cast, outsider: &Actor, questions: &[Question]) -> Vec<(String, String)> {
    let bearer = format!("Bearer {}", outsider.access_token);
    let mut answers = Vec::new();
    for question in questions {
        let request = message(&question.method, &question.scene.fill(question.row.request));
        let answer = cast
            .api
            .call(&question.method, request, &[("authorization", &bearer)])
            .await;
        answers.push((format!("{} by {}", question.row.rpc, outsider.username), told(answer)));
    }
    answers
}

fn told(answer: Result<DynamicMessage, Status>) -> String {
    match answer {
        Ok(message) => {
            let json = message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
            json.expect("a message is JSON").to_string()
        }
        Err(status) => format!(
            "{:?} {} {}",
            status.code(),
            status.message(),
            String::from_utf8_lossy(status.details())
        ),
    }
}

/// The owner does in the scene all that is done in chats. Returns the ids of what is there.
async fn busy(cast: &Cast, scene: &Scene) -> Vec<String> {
    let owner = async |rpc: &str, request: Value| cast.call(&cast.owner, rpc, request).await;
    let mut ids = Vec::new();
    for chat in ["chat", "session"].into_iter().filter_map(|name| scene.get(name)) {
        ids.push(chat.to_owned());
        let mut sent = Vec::new();
        for _ in 0..3 {
            let send = json!({ "chatId": chat, "text": CANARY, "requestId": request_id() });
            let answer = owner("message.v1.MessageService.SendMessage", send).await;
            sent.push(answer["message"]["messageId"].as_str().expect("an id").to_owned());
        }
        let edit = json!({ "chatId": chat, "messageId": sent[0], "text": format!("{CANARY} again") });
        owner("message.v1.MessageService.UpdateMessage", edit).await;
        let delete = json!({ "chatId": chat, "messageId": sent[1] });
        owner("message.v1.MessageService.DeleteMessage", delete).await;
        ids.extend(sent);
        let (rpc, what) = match scene.get("session") {
            Some(_) => ("chat.v1.ChatSessionService.UpdateChatSession", "a session"),
            None => ("chat.v1.ChatService.UpdateChat", "a chat"),
        };
        let rename = json!({ "chatId": chat, "title": format!("{CANARY} {what}"), "updateMask": "title" });
        owner(rpc, rename).await;
    }
    if let Some(group) = scene.get("group") {
        ids.push(group.to_owned());
        let rename = json!({ "groupId": group, "displayName": CANARY, "updateMask": "displayName" });
        owner("chat.v1.GroupService.UpdateGroup", rename).await;
        let add = json!({ "groupId": group, "userId": cast.assistant.user_id });
        owner("chat.v1.MembershipService.AddMember", add).await;
        let remove = json!({ "groupId": group, "userId": cast.second.user_id });
        owner("chat.v1.MembershipService.RemoveMember", remove).await;
    }
    ids
}

/// Reads the stream up to this frame and returns those that came.
async fn until(
    stream: &mut Streaming<StreamChangesResponse>,
    is_last: impl Fn(&StreamChangesResponse) -> bool,
) -> Vec<StreamChangesResponse> {
    let mut frames = Vec::new();
    loop {
        let frame = timeout(SOON, stream.message()).await.expect("in time");
        frames.push(frame.expect("the stream goes on").expect("the stream does not end"));
        if frames.last().is_some_and(&is_last) {
            return frames;
        }
    }
}

/// Whether a text stands anywhere in a frame.
fn has(frame: &StreamChangesResponse, text: &str) -> bool {
    frame
        .encode_to_vec()
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
