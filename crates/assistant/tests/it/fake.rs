//! A suite in memory: one session, of a person and the assistant, with as much of the API as the assistant calls.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use parking_lot::Mutex;
use tidings_ids::{Source, UserId, kind};
use tidings_proto_auth::v1::{self as auth, auth_service_server::AuthService};
use tidings_proto_common::v1::ChatKind;
use tidings_proto_message::v1::{
    self as message, After, Change, ChatState, Message, MessageType, Opened, ResponseReference, Snapshot,
    StreamChangesResponse, change, message_service_server::MessageService, response_service_server::ResponseService,
    stream_changes_response::Frame, sync_service_server::SyncService,
};
use tidings_proto_user::v1::{self as user, user_service_server::UserService};
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
    pub person_is_bot: bool,
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
            person_is_bot: false,
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

#[tonic::async_trait]
impl AuthService for Fake {
    async fn login(&self, request: Request<auth::LoginRequest>) -> Result<Response<auth::LoginResponse>, Status> {
        let request = request.into_inner();
        if (request.identifier.as_str(), request.password.as_str()) != (USERNAME, PASSWORD) {
            return Err(Status::unauthenticated("the credentials are not valid"));
        }
        let mut state = self.state.lock();
        state.logins += 1;
        let (access_token, refresh_token, expires) = state.tokens();
        Ok(Response::new(auth::LoginResponse {
            access_token,
            refresh_token,
            access_token_expire_time: Some(expires),
            user_id: state.assistant.to_string(),
            ..auth::LoginResponse::default()
        }))
    }

    async fn refresh_token(
        &self,
        _: Request<auth::RefreshTokenRequest>,
    ) -> Result<Response<auth::RefreshTokenResponse>, Status> {
        let mut state = self.state.lock();
        state.refreshes += 1;
        let (access_token, refresh_token, expires) = state.tokens();
        Ok(Response::new(auth::RefreshTokenResponse {
            access_token,
            refresh_token,
            access_token_expire_time: Some(expires),
            user_id: state.assistant.to_string(),
            ..auth::RefreshTokenResponse::default()
        }))
    }

    type WatchRevocationsStream = Pin<Box<dyn Stream<Item = Result<auth::WatchRevocationsResponse, Status>> + Send>>;

    async fn register(&self, _: Request<auth::RegisterRequest>) -> Result<Response<auth::RegisterResponse>, Status> {
        unused()
    }

    async fn introspect_token(
        &self,
        _: Request<auth::IntrospectTokenRequest>,
    ) -> Result<Response<auth::IntrospectTokenResponse>, Status> {
        unused()
    }

    async fn rotate_signing_key(
        &self,
        _: Request<auth::RotateSigningKeyRequest>,
    ) -> Result<Response<auth::RotateSigningKeyResponse>, Status> {
        unused()
    }

    async fn create_user_token(
        &self,
        _: Request<auth::CreateUserTokenRequest>,
    ) -> Result<Response<auth::CreateUserTokenResponse>, Status> {
        unused()
    }

    async fn exchange_external_token(
        &self,
        _: Request<auth::ExchangeExternalTokenRequest>,
    ) -> Result<Response<auth::ExchangeExternalTokenResponse>, Status> {
        unused()
    }

    async fn logout(&self, _: Request<auth::LogoutRequest>) -> Result<Response<auth::LogoutResponse>, Status> {
        unused()
    }

    async fn logout_all(
        &self,
        _: Request<auth::LogoutAllRequest>,
    ) -> Result<Response<auth::LogoutAllResponse>, Status> {
        unused()
    }

    async fn list_signing_keys(
        &self,
        _: Request<auth::ListSigningKeysRequest>,
    ) -> Result<Response<auth::ListSigningKeysResponse>, Status> {
        unused()
    }

    async fn watch_revocations(
        &self,
        _: Request<auth::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl UserService for Fake {
    async fn lookup_user(
        &self,
        _: Request<user::LookupUserRequest>,
    ) -> Result<Response<user::LookupUserResponse>, Status> {
        unused()
    }

    async fn search_users(
        &self,
        _: Request<user::SearchUsersRequest>,
    ) -> Result<Response<user::SearchUsersResponse>, Status> {
        unused()
    }

    async fn change_username(
        &self,
        _: Request<user::ChangeUsernameRequest>,
    ) -> Result<Response<user::ChangeUsernameResponse>, Status> {
        unused()
    }

    async fn suspend_user(
        &self,
        _: Request<user::SuspendUserRequest>,
    ) -> Result<Response<user::SuspendUserResponse>, Status> {
        unused()
    }

    async fn reactivate_user(
        &self,
        _: Request<user::ReactivateUserRequest>,
    ) -> Result<Response<user::ReactivateUserResponse>, Status> {
        unused()
    }

    async fn delete_user(
        &self,
        _: Request<user::DeleteUserRequest>,
    ) -> Result<Response<user::DeleteUserResponse>, Status> {
        unused()
    }

    async fn undelete_user(
        &self,
        _: Request<user::UndeleteUserRequest>,
    ) -> Result<Response<user::UndeleteUserResponse>, Status> {
        unused()
    }

    async fn get_user(
        &self,
        request: Request<user::GetUserRequest>,
    ) -> Result<Response<user::GetUserResponse>, Status> {
        self.authorize(&request)?;
        let user_id = request.into_inner().user_id;
        let is_bot = self.state.lock().person_is_bot;
        let user = user::User {
            user_id,
            is_bot,
            ..user::User::default()
        };
        Ok(Response::new(user::GetUserResponse { user: Some(user) }))
    }

    async fn get_current_user(
        &self,
        _: Request<user::GetCurrentUserRequest>,
    ) -> Result<Response<user::GetCurrentUserResponse>, Status> {
        unused()
    }

    async fn batch_get_users(
        &self,
        _: Request<user::BatchGetUsersRequest>,
    ) -> Result<Response<user::BatchGetUsersResponse>, Status> {
        unused()
    }

    async fn list_users(
        &self,
        _: Request<user::ListUsersRequest>,
    ) -> Result<Response<user::ListUsersResponse>, Status> {
        unused()
    }

    async fn update_user(
        &self,
        _: Request<user::UpdateUserRequest>,
    ) -> Result<Response<user::UpdateUserResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl SyncService for Fake {
    type StreamChangesStream = Frames;

    async fn stream_changes(
        &self,
        request: Request<message::StreamChangesRequest>,
    ) -> Result<Response<Self::StreamChangesStream>, Status> {
        self.authorize(&request)?;
        let after = request.into_inner().after.unwrap_or_default();
        let mut state = self.state.lock();
        let position = after.chats.first().map(|chat| usize::try_from(chat.position).unwrap());
        state.opened.push(after);
        let number = state.opened.len();
        drop(state);
        let follower = Follower {
            number,
            is_opened: false,
            position,
        };
        let moved = self.moved.subscribe();
        let frames = stream::unfold(
            (self.clone(), follower, moved),
            |(fake, mut follower, mut moved)| async move {
                loop {
                    if let Some(frame) = fake.next_frame(&mut follower) {
                        let frame = frame.map(|frame| StreamChangesResponse { frame: Some(frame) });
                        return Some((frame, (fake, follower, moved)));
                    }
                    moved.changed().await.ok()?;
                }
            },
        );
        Ok(Response::new(Box::pin(frames)))
    }

    async fn get_sync_state(
        &self,
        _: Request<message::GetSyncStateRequest>,
    ) -> Result<Response<message::GetSyncStateResponse>, Status> {
        unused()
    }

    async fn sync_changes(
        &self,
        _: Request<message::SyncChangesRequest>,
    ) -> Result<Response<message::SyncChangesResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl MessageService for Fake {
    async fn list_messages(
        &self,
        request: Request<message::ListMessagesRequest>,
    ) -> Result<Response<message::ListMessagesResponse>, Status> {
        self.authorize(&request)?;
        let request = request.into_inner();
        assert_eq!(request.order(), message::MessageOrder::NewestFirst);
        // The page token is the sequence that the page before ended at.
        let before = request.page_token.parse().unwrap_or(request.before_sequence);
        let state = self.state.lock();
        let older = state.messages.iter().rev().filter(|message| message.sequence < before);
        let messages: Vec<Message> = older.take(SNAPSHOT_MESSAGES).cloned().collect();
        let last = messages.last().filter(|message| message.sequence > 1);
        Ok(Response::new(message::ListMessagesResponse {
            next_page_token: last.map(|message| message.sequence.to_string()).unwrap_or_default(),
            messages,
            ..message::ListMessagesResponse::default()
        }))
    }

    async fn send_message(
        &self,
        _: Request<message::SendMessageRequest>,
    ) -> Result<Response<message::SendMessageResponse>, Status> {
        unused()
    }

    async fn get_message(
        &self,
        _: Request<message::GetMessageRequest>,
    ) -> Result<Response<message::GetMessageResponse>, Status> {
        unused()
    }

    async fn batch_get_messages(
        &self,
        _: Request<message::BatchGetMessagesRequest>,
    ) -> Result<Response<message::BatchGetMessagesResponse>, Status> {
        unused()
    }

    async fn list_turns(
        &self,
        _: Request<message::ListTurnsRequest>,
    ) -> Result<Response<message::ListTurnsResponse>, Status> {
        unused()
    }

    async fn update_message(
        &self,
        _: Request<message::UpdateMessageRequest>,
    ) -> Result<Response<message::UpdateMessageResponse>, Status> {
        unused()
    }

    async fn delete_message(
        &self,
        _: Request<message::DeleteMessageRequest>,
    ) -> Result<Response<message::DeleteMessageResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl ResponseService for Fake {
    async fn create_response(
        &self,
        request: Request<message::CreateResponseRequest>,
    ) -> Result<Response<message::CreateResponseResponse>, Status> {
        self.authorize(&request)?;
        let request = request.into_inner();
        let mut state = self.state.lock();
        if state.refused.as_ref() == Some(&request.message_id) {
            return Err(Status::failed_precondition("the message is deleted"));
        }
        if state.failures > 0 {
            state.failures -= 1;
            return Err(Status::unavailable("not now"));
        }
        if !state.responses.contains_key(&request.request_id) {
            let id = self.source.new_id::<kind::Message>().to_string();
            let response = Message {
                response: Some(ResponseReference {
                    to_message_id: request.message_id,
                    ..ResponseReference::default()
                }),
                ..state.message(id, state.assistant, &request.text)
            };
            state.responses.insert(request.request_id, response.clone());
            state.messages.push(response);
        }
        let is_lost = state.lost_answers > 0;
        state.lost_answers = state.lost_answers.saturating_sub(1);
        drop(state);
        self.wake();
        if is_lost {
            return Err(Status::unavailable("the connection broke"));
        }
        Ok(Response::new(message::CreateResponseResponse::default()))
    }

    async fn get_response(
        &self,
        _: Request<message::GetResponseRequest>,
    ) -> Result<Response<message::GetResponseResponse>, Status> {
        unused()
    }

    async fn list_responses(
        &self,
        _: Request<message::ListResponsesRequest>,
    ) -> Result<Response<message::ListResponsesResponse>, Status> {
        unused()
    }
}
