//! A suite in memory: one session, of a person and the assistant, with as much of the API as the assistant calls.

mod auth_service;
mod message_services;
mod user_service;

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_util::Stream;
use parking_lot::Mutex;
use tidings_ids::{Source, UserId, kind};
use tidings_proto_auth::v1 as auth;
use tidings_proto_common::v1::ChatKind;
use tidings_proto_message::v1::{
    self as message, After, Change, ChatState, Message, MessageType, Opened, Snapshot, StreamChangesResponse, change,
    stream_changes_response::Frame,
};
use tidings_proto_user::v1 as user;
use tokio::sync::watch;
use tonic::{Request, Response, Status, service::Routes};

pub const USERNAME: &str = "echo";
pub const PASSWORD: &str = "known to the two of them";

/// Messages in a snapshot, and on a page.
const SNAPSHOT_MESSAGES: usize = 4;

type Frames = Pin<Box<dyn Stream<Item = Result<StreamChangesResponse, Status>> + Send>>;

/// The suite.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    /// Counts what streams should look at.
    moved: watch::Sender<u64>,
    source: Source,
}

pub struct State {
    pub assistant: UserId,
    pub person: UserId,
    chat_id: String,
    /// The chat's log: position n is the message with sequence n.
    messages: Vec<Message>,
    responses: HashMap<String, Message>,
    /// The token that works; the tokens before it are refused.
    generation: u32,
    pub logins: u32,
    pub refreshes: u32,
    /// What each stream was opened with.
    pub opened: Vec<After>,
    /// Streams opened before this are ended.
    cut_at: usize,
    /// So many calls of `CreateResponse` fail after having stored the response.
    pub lost_answers: u32,
    /// So many calls of `CreateResponse` fail before.
    pub failures: u32,
    /// Responses to this message are refused.
    pub refused: Option<String>,
    /// Who is a program.
    pub bot: Option<UserId>,
}

impl Fake {
    pub fn new() -> Self {
        let source = Source::system();
        let state = State {
            assistant: source.new_id(),
            person: source.new_id(),
            chat_id: source.new_id::<kind::Chat>().to_string(),
            messages: Vec::new(),
            responses: HashMap::new(),
            generation: 0,
            logins: 0,
            refreshes: 0,
            opened: Vec::new(),
            cut_at: 0,
            lost_answers: 0,
            failures: 0,
            refused: None,
            bot: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            moved: watch::Sender::new(0),
            source,
        }
    }

    pub fn routes(&self) -> Routes {
        Routes::new(auth::auth_service_server::AuthServiceServer::new(self.clone()))
            .add_service(user::user_service_server::UserServiceServer::new(self.clone()))
            .add_service(message::sync_service_server::SyncServiceServer::new(self.clone()))
            .add_service(message::message_service_server::MessageServiceServer::new(self.clone()))
            .add_service(message::response_service_server::ResponseServiceServer::new(
                self.clone(),
            ))
    }

    pub fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The person says something. The id of the message.
    pub fn say(&self, text: &str) -> String {
        let mut state = self.state.lock();
        let message = state.message(self.source.new_id::<kind::Message>().to_string(), state.person, text);
        let message_id = message.message_id.clone();
        state.messages.push(message);
        drop(state);
        self.wake();
        message_id
    }

    /// The texts of all responses, in order.
    pub fn answers(&self) -> Vec<String> {
        let state = self.state.lock();
        let responses = state.messages.iter().filter(|message| message.response.is_some());
        responses.map(|response| response.text.clone()).collect()
    }

    /// Ends all streams.
    pub fn cut(&self) {
        let mut state = self.state.lock();
        state.cut_at = state.opened.len();
        drop(state);
        self.wake();
    }

    /// No token works any more, as after ten minutes.
    pub fn expire_tokens(&self) {
        self.state.lock().generation += 1;
        self.cut();
    }

    fn wake(&self) {
        self.moved.send_modify(|count| *count += 1);
    }

    fn authorize<M>(&self, request: &Request<M>) -> Result<(), Status> {
        let expected = format!("Bearer access-{}", self.state.lock().generation);
        match request.metadata().get("authorization") {
            Some(token) if token.as_bytes() == expected.as_bytes() => Ok(()),
            _ => Err(Status::unauthenticated("the access token has expired")),
        }
    }

    /// The next frame of a stream, if there is one now.
    fn next_frame(&self, follower: &mut Follower) -> Option<Result<Frame, Status>> {
        let state = self.state.lock();
        if follower.number <= state.cut_at {
            return Some(Err(Status::unauthenticated("the access token has expired")));
        }
        if !follower.is_opened {
            follower.is_opened = true;
            return Some(Ok(Frame::Opened(Opened {
                log_id: "log".to_owned(),
                ..Opened::default()
            })));
        }
        let head = state.messages.len();
        let Some(position) = follower.position else {
            follower.position = Some(head);
            return Some(Ok(Frame::Snapshot(state.snapshot())));
        };
        let next = state.messages.get(position)?.clone();
        follower.position = Some(position + 1);
        Some(Ok(Frame::Change(Change {
            scope: Some(change::Scope::ChatId(state.chat_id.clone())),
            position: next.sequence,
            kind: Some(change::Kind::MessageCreated(message::MessageCreated {
                message: Some(next),
            })),
            ..Change::default()
        })))
    }
}

impl State {
    fn message(&self, message_id: String, sender: UserId, text: &str) -> Message {
        Message {
            message_id,
            chat_id: self.chat_id.clone(),
            sequence: i64::try_from(self.messages.len()).unwrap() + 1,
            sender_id: sender.to_string(),
            r#type: MessageType::Text.into(),
            text: text.to_owned(),
            ..Message::default()
        }
    }

    fn snapshot(&self) -> Snapshot {
        let first = self.messages.len().saturating_sub(SNAPSHOT_MESSAGES);
        Snapshot {
            chat: Some(ChatState {
                chat_id: self.chat_id.clone(),
                kind: ChatKind::Session.into(),
                assistant_user_id: self.assistant.to_string(),
                ..ChatState::default()
            }),
            position: i64::try_from(self.messages.len()).unwrap(),
            first_sequence: 1,
            messages: self.messages[first..].to_vec(),
            ..Snapshot::default()
        }
    }

    fn tokens(&self) -> (String, String, prost_types::Timestamp) {
        let expires = prost_types::Timestamp {
            seconds: Source::system().now().unix_timestamp() + 600,
            nanos: 0,
        };
        (format!("access-{}", self.generation), "refresh".to_owned(), expires)
    }
}

struct Follower {
    number: usize,
    is_opened: bool,
    position: Option<usize>,
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the assistant has no use for it"))
}
