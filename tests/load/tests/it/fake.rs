//! A server in memory that knows the few RPCs of a replay, and can be told to do one thing wrong.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use parking_lot::Mutex;
use prost_types::Timestamp;
use tidings_proto_auth::v1::{
    LoginRequest, LoginResponse, RefreshTokenRequest, RefreshTokenResponse, RegisterRequest, RegisterResponse,
};
use tidings_proto_chat::v1::{
    AddMemberRequest, AddMemberResponse, Chat, CreateChatRequest, CreateChatResponse, CreateGroupRequest,
    CreateGroupResponse, Group,
};
use tidings_proto_gateway::v1::{GetServerInfoRequest, GetServerInfoResponse};
use tidings_proto_message::v1::{
    CaughtUp, Change, ChatCreated, ListMessagesRequest, ListMessagesResponse, Message, MessageCreated, Opened,
    SendMessageRequest, SendMessageResponse, StreamChangesRequest, StreamChangesResponse, SyncChangesRequest,
    SyncChangesResponse, change, stream_changes_response::Frame,
};
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, server::Grpc, service::Routes, transport::Server};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::service_fn;

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It shows one message with another text, by `ListMessages` only.
    ListsAnotherText,
    /// It leaves one message out of `SyncChanges`.
    SyncLeavesOut,
    /// It tells one reply without its target on streams.
    StreamsNoReply,
    /// It stores a repeated send a second time.
    StoresTwice,
    /// It takes blank texts.
    TakesBlank,
    /// It answers every third call with a status that asks for a repetition, half of them after the effect, and ends streams.
    Stumbles,
}

/// How long an access token works here: short, so that a replay has to refresh.
const TOKEN_LIFETIME: Duration = Duration::from_millis(400);

#[derive(Debug)]
struct World {
    fault: Fault,
    calls: u64,
    ids: u64,
    users: HashMap<String, (String, String)>,
    tokens: HashMap<String, (String, Instant)>,
    refresh: HashMap<String, (String, String)>,
    made: HashMap<String, String>,
    groups: HashMap<String, Vec<String>>,
    chats: BTreeMap<String, Room>,
}

#[derive(Debug, Default)]
struct Room {
    group_id: String,
    messages: Vec<Message>,
    requests: HashMap<(String, String), usize>,
}

/// A running fake.
#[derive(Debug, Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
}

type Answer<T> = Result<T, Status>;

impl Fake {
    /// Starts one on a port of its own.
    pub async fn start(fault: Fault) -> Self {
        let world = World {
            fault,
            calls: 0,
            ids: 0,
            users: HashMap::new(),
            tokens: HashMap::new(),
            refresh: HashMap::new(),
            made: HashMap::new(),
            groups: HashMap::new(),
            chats: BTreeMap::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            world: Arc::new(Mutex::new(world)),
            address: listener.local_addr().unwrap(),
        };
        let serving = fake.clone();
        let router = Router::new().fallback_service(service_fn(move |request| {
            let fake = serving.clone();
            async move { Ok::<_, Infallible>(fake.route(request).await) }
        }));
        let server = Server::builder().add_routes(Routes::from(router));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        fake
    }

    /// Where it listens.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// How many messages it holds.
    pub fn stored(&self) -> usize {
        self.world.lock().chats.values().map(|room| room.messages.len()).sum()
    }

    /// Loses the last message of a chat, as a server that acknowledges too early may.
    pub fn lose_one(&self) {
        let mut world = self.world.lock();
        world.chats.values_mut().next().unwrap().messages.pop();
    }

    async fn route(self, request: http::Request<Body>) -> http::Response<tonic::body::Body> {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        match method.as_str() {
            "GetServerInfo" => {
                self.unary(request, |_, _: GetServerInfoRequest, _| {
                    Ok(GetServerInfoResponse::default())
                })
                .await
            }
            "Register" => self.unary(request, World::register).await,
            "Login" => self.unary(request, World::login).await,
            "RefreshToken" => self.unary(request, World::refresh_token).await,
            "CreateGroup" => self.unary(request, World::create_group).await,
            "AddMember" => self.unary(request, World::add_member).await,
            "CreateChat" => self.unary(request, World::create_chat).await,
            "SendMessage" => self.unary(request, World::send_message).await,
            "ListMessages" => self.unary(request, World::list_messages).await,
            "SyncChanges" => self.unary(request, World::sync_changes).await,
            "StreamChanges" => {
                let codec = ProstCodec::<StreamChangesResponse, StreamChangesRequest>::default();
                let service = service_fn(move |request| {
                    Box::pin(self.clone().stream(request)) as Pin<Box<dyn Future<Output = _> + Send>>
                });
                Grpc::new(codec).server_streaming(service, request).await
            }
            other => panic!("the fake does not know {other}"),
        }
    }

    async fn unary<M, R>(
        self,
        request: http::Request<Body>,
        handle: fn(&mut World, M, &str) -> Answer<R>,
    ) -> http::Response<tonic::body::Body>
    where
        M: prost::Message + Default + 'static,
        R: prost::Message + Default + 'static,
    {
        let service = service_fn(move |request: Request<M>| {
            let answer = self.world.lock().call(request, handle);
            async move { answer.map(Response::new) }
        });
        Grpc::new(ProstCodec::<R, M>::default()).unary(service, request).await
    }

    async fn stream(
        self,
        request: Request<StreamChangesRequest>,
    ) -> Answer<Response<ReceiverStream<Answer<StreamChangesResponse>>>> {
        self.world.lock().caller(&request)?;
        let (sender, receiver) = mpsc::channel(16);
        let after = request.into_inner().after.unwrap_or_default();
        let chat = after.chats[0].clone();
        tokio::spawn(async move {
            let send = |frame| sender.send(Ok(StreamChangesResponse { frame: Some(frame) }));
            let _ = send(Frame::Opened(Opened::default())).await;
            let mut position = chat.position;
            let mut caught_up = false;
            loop {
                let (changes, ends) = {
                    let world = self.world.lock();
                    (
                        world.changes(&chat.chat_id, position, Fault::StreamsNoReply),
                        world.fault == Fault::Stumbles,
                    )
                };
                for change in changes {
                    position = change.position;
                    if send(Frame::Change(change)).await.is_err() {
                        return;
                    }
                    if ends && position % 20 == 0 {
                        let _ = sender.send(Err(problem(Code::Unavailable, "DRAINING", None))).await;
                        return;
                    }
                }
                if !std::mem::replace(&mut caught_up, true) && send(Frame::CaughtUp(CaughtUp::default())).await.is_err()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                if sender.is_closed() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl World {
    /// A call, which stumbles before or after its effect where it is told to.
    fn call<M, R>(&mut self, request: Request<M>, handle: fn(&mut Self, M, &str) -> Answer<R>) -> Answer<R> {
        self.calls += 1;
        let stumble = if self.fault == Fault::Stumbles {
            self.calls % 6
        } else {
            1
        };
        if stumble == 0 {
            return Err(problem(Code::ResourceExhausted, "RATE_LIMITED", None));
        }
        let caller = match self.caller(&request) {
            Ok(caller) => caller,
            Err(_) if request.metadata().get("authorization").is_none() => String::new(),
            Err(refusal) => return Err(refusal),
        };
        let answer = handle(self, request.into_inner(), &caller);
        if stumble == 3 {
            Err(problem(Code::Unavailable, "COMMIT_UNKNOWN", None))
        } else {
            answer
        }
    }

    fn caller<M>(&self, request: &Request<M>) -> Answer<String> {
        let header = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = header
            .and_then(|header| header.strip_prefix("Bearer "))
            .unwrap_or_default();
        match self.tokens.get(token) {
            Some((user_id, expires)) if Instant::now() < *expires => Ok(user_id.clone()),
            Some(_) => Err(problem(Code::Unauthenticated, "TOKEN_EXPIRED", None)),
            None => Err(problem(Code::Unauthenticated, "TOKEN_INVALID", None)),
        }
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("00000000-0000-7000-8000-{:012}", self.ids)
    }

    /// The id of what a request made the first time.
    fn made(&mut self, request_id: &str) -> String {
        let id = self.id();
        self.made.entry(request_id.to_owned()).or_insert(id).clone()
    }

    fn register(&mut self, request: RegisterRequest, _: &str) -> Answer<RegisterResponse> {
        let user_id = self.made(&request.request_id);
        self.users
            .entry(request.username)
            .or_insert((user_id.clone(), request.password));
        Ok(RegisterResponse { user_id })
    }

    fn login(&mut self, request: LoginRequest, _: &str) -> Answer<LoginResponse> {
        let (user_id, password) = self.users[&request.identifier].clone();
        assert_eq!(password, request.password);
        let (access_token, refresh_token) = self.tokens_of(&user_id);
        Ok(LoginResponse {
            access_token,
            refresh_token,
            access_token_expire_time: never(),
            user_id,
            ..Default::default()
        })
    }

    fn refresh_token(&mut self, request: RefreshTokenRequest, _: &str) -> Answer<RefreshTokenResponse> {
        let (user_id, used_by) = self
            .refresh
            .get_mut(&request.refresh_token)
            .expect("a refresh token of this server");
        assert!(
            used_by.is_empty() || *used_by == request.request_id,
            "a refresh token works once"
        );
        *used_by = request.request_id;
        let user_id = user_id.clone();
        let (access_token, refresh_token) = self.tokens_of(&user_id);
        Ok(RefreshTokenResponse {
            access_token,
            refresh_token,
            access_token_expire_time: never(),
            user_id,
            ..Default::default()
        })
    }

    fn tokens_of(&mut self, user_id: &str) -> (String, String) {
        let (access, refresh) = (self.id(), self.id());
        self.tokens
            .insert(access.clone(), (user_id.to_owned(), Instant::now() + TOKEN_LIFETIME));
        self.refresh
            .insert(refresh.clone(), (user_id.to_owned(), String::new()));
        (access, refresh)
    }

    fn create_group(&mut self, request: CreateGroupRequest, caller: &str) -> Answer<CreateGroupResponse> {
        let group_id = self.made(&request.request_id);
        self.groups
            .entry(group_id.clone())
            .or_insert_with(|| vec![caller.to_owned()]);
        Ok(CreateGroupResponse {
            group: Some(Group {
                group_id,
                ..Group::default()
            }),
        })
    }

    fn add_member(&mut self, request: AddMemberRequest, caller: &str) -> Answer<AddMemberResponse> {
        let members = self.groups.get_mut(&request.group_id).expect("a group");
        assert_eq!(members[0], caller, "the owner adds");
        if !members.contains(&request.user_id) {
            members.push(request.user_id);
        }
        Ok(AddMemberResponse::default())
    }

    fn create_chat(&mut self, request: CreateChatRequest, _: &str) -> Answer<CreateChatResponse> {
        let chat_id = self.made(&request.request_id);
        self.chats.entry(chat_id.clone()).or_default().group_id = request.group_id;
        Ok(CreateChatResponse {
            chat: Some(Chat {
                chat_id,
                ..Chat::default()
            }),
        })
    }

    fn send_message(&mut self, request: SendMessageRequest, caller: &str) -> Answer<SendMessageResponse> {
        let control = |letter: char| letter.is_control() && !matches!(letter, '\t' | '\n');
        assert!(!request.text.contains(control), "control characters are replaced");
        if request.text.trim().is_empty() && self.fault != Fault::TakesBlank {
            return Err(problem(Code::InvalidArgument, "FIELD_INVALID", Some("text")));
        }
        let message_id = self.id();
        let twice = self.fault == Fault::StoresTwice;
        let room = self.chats.get_mut(&request.chat_id).expect("a chat");
        assert!(
            self.groups[&room.group_id].iter().any(|member| member == caller),
            "members send"
        );
        let key = (caller.to_owned(), request.request_id);
        let index = match room.requests.get(&key) {
            Some(index) if !twice => *index,
            _ => {
                room.messages.push(Message {
                    message_id,
                    chat_id: request.chat_id,
                    sequence: room.messages.len() as i64 + 1,
                    sender_id: caller.to_owned(),
                    text: request.text,
                    reply_to_message_id: request.reply_to_message_id,
                    metadata: request.metadata,
                    ..Message::default()
                });
                room.messages.len() - 1
            }
        };
        room.requests.insert(key, index);
        Ok(SendMessageResponse {
            message: Some(room.messages[index].clone()),
        })
    }

    fn list_messages(&mut self, request: ListMessagesRequest, _: &str) -> Answer<ListMessagesResponse> {
        let all = &self.chats[&request.chat_id].messages;
        let start = request.page_token.parse().unwrap_or(0);
        let end = all.len().min(start + request.page_size as usize);
        let mut messages = all[start..end].to_vec();
        if self.fault == Fault::ListsAnotherText
            && let Some(message) = messages.iter_mut().find(|message| message.sequence == 7)
        {
            message.text.push(' ');
        }
        let next_page_token = if end < all.len() {
            end.to_string()
        } else {
            String::new()
        };
        Ok(ListMessagesResponse {
            messages,
            next_page_token,
            ..Default::default()
        })
    }

    fn sync_changes(&mut self, request: SyncChangesRequest, _: &str) -> Answer<SyncChangesResponse> {
        let chat = &request.after.expect("a position").chats[0];
        let position = request.page_token.parse().unwrap_or(chat.position);
        let mut changes = self.changes(&chat.chat_id, position, Fault::SyncLeavesOut);
        let caught_up = changes.len() <= request.page_size as usize;
        changes.truncate(request.page_size as usize);
        let last = changes.last().map_or(position, |change| change.position);
        let next_page_token = if caught_up { String::new() } else { last.to_string() };
        Ok(SyncChangesResponse {
            changes,
            caught_up,
            next_page_token,
            ..Default::default()
        })
    }

    /// The log of a chat after a position: first that it was created, then its messages. `faulty` is the fault that acts here.
    fn changes(&self, chat_id: &str, position: i64, faulty: Fault) -> Vec<Change> {
        let created = change::Kind::ChatCreated(ChatCreated::default());
        let messages = self.chats[chat_id].messages.iter().map(|message| {
            change::Kind::MessageCreated(MessageCreated {
                message: Some(message.clone()),
            })
        });
        let mut changes: Vec<Change> = std::iter::once(created)
            .chain(messages)
            .zip(1..)
            .map(|(kind, position)| Change {
                scope: Some(change::Scope::ChatId(chat_id.to_owned())),
                position,
                kind: Some(kind),
                ..Change::default()
            })
            .filter(|change| change.position > position)
            .collect();
        if self.fault == faulty && faulty == Fault::SyncLeavesOut {
            changes.retain(|change| change.position != 9);
        }
        if self.fault == faulty && faulty == Fault::StreamsNoReply {
            for change in &mut changes {
                if let Some(change::Kind::MessageCreated(MessageCreated { message: Some(message) })) = &mut change.kind
                {
                    message.reply_to_message_id.clear();
                }
            }
        }
        changes
    }
}

fn problem(code: Code, reason: &str, field: Option<&str>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "tidings", HashMap::new());
    match field {
        Some(field) => {
            details.add_bad_request_violation(field, "must hold something visible");
        }
        None => {
            details.set_retry_info(Some(Duration::from_millis(1)));
        }
    }
    Status::with_error_details(code, "a refusal", details)
}

/// A time far off: what a client whose clock is wrong believes, so that only the server's refusal tells it.
fn never() -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 4_000_000_000,
        nanos: 0,
    })
}
