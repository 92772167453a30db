//! What the server holds, and how it answers.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use prost_types::Timestamp;
use tidings_proto_auth::v1::{
    LoginRequest, LoginResponse, RefreshTokenRequest, RefreshTokenResponse, RegisterRequest, RegisterResponse,
};
use tidings_proto_chat::v1::{
    AddMemberRequest, AddMemberResponse, Chat, CreateChatRequest, CreateChatResponse, CreateGroupRequest,
    CreateGroupResponse, Group,
};
use tidings_proto_message::v1::{
    Change, ChatCreated, ListMessagesRequest, ListMessagesResponse, Message, MessageCreated, SendMessageRequest,
    SendMessageResponse, SyncChangesRequest, SyncChangesResponse, change,
};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::Fault;

pub type Answer<T> = Result<T, Status>;

/// Calls for which an access token works here, whatever time they take: few, so that a replay has to refresh.
const TOKEN_CALLS: u32 = 10;

#[derive(Debug)]
pub struct World {
    fault: Fault,
    calls: u64,
    ids: u64,
    users: HashMap<String, (String, String)>,
    /// Whose an access token is, and the calls that are left for it.
    tokens: HashMap<String, (String, Cell<u32>)>,
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

impl World {
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            calls: 0,
            ids: 0,
            users: HashMap::new(),
            tokens: HashMap::new(),
            refresh: HashMap::new(),
            made: HashMap::new(),
            groups: HashMap::new(),
            chats: BTreeMap::new(),
        }
    }

    /// How many messages it holds.
    pub fn stored(&self) -> usize {
        self.chats.values().map(|room| room.messages.len()).sum()
    }

    /// Loses the last message of a chat.
    pub fn lose_one(&mut self) {
        self.chats.values_mut().next().unwrap().messages.pop();
    }

    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// A call, which stumbles before or after its effect where it is told to.
    pub fn call<M, R>(&mut self, request: Request<M>, handle: fn(&mut Self, M, &str) -> Answer<R>) -> Answer<R> {
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

    pub fn caller<M>(&self, request: &Request<M>) -> Answer<String> {
        let header = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = header
            .and_then(|header| header.strip_prefix("Bearer "))
            .unwrap_or_default();
        match self.tokens.get(token) {
            Some((user_id, left)) if left.get() > 0 => {
                left.set(left.get() - 1);
                Ok(user_id.clone())
            }
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

    pub fn register(&mut self, request: RegisterRequest, _: &str) -> Answer<RegisterResponse> {
        let user_id = self.made(&request.request_id);
        self.users
            .entry(request.username)
            .or_insert((user_id.clone(), request.password));
        Ok(RegisterResponse { user_id })
    }

    pub fn login(&mut self, request: LoginRequest, _: &str) -> Answer<LoginResponse> {
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

    pub fn refresh_token(&mut self, request: RefreshTokenRequest, _: &str) -> Answer<RefreshTokenResponse> {
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
            .insert(access.clone(), (user_id.to_owned(), Cell::new(TOKEN_CALLS)));
        self.refresh
            .insert(refresh.clone(), (user_id.to_owned(), String::new()));
        (access, refresh)
    }

    pub fn create_group(&mut self, request: CreateGroupRequest, caller: &str) -> Answer<CreateGroupResponse> {
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

    pub fn add_member(&mut self, request: AddMemberRequest, caller: &str) -> Answer<AddMemberResponse> {
        let members = self.groups.get_mut(&request.group_id).expect("a group");
        assert_eq!(members[0], caller, "the owner adds");
        if !members.contains(&request.user_id) {
            members.push(request.user_id);
        }
        Ok(AddMemberResponse::default())
    }

    pub fn create_chat(&mut self, request: CreateChatRequest, _: &str) -> Answer<CreateChatResponse> {
        let chat_id = self.made(&request.request_id);
        self.chats.entry(chat_id.clone()).or_default().group_id = request.group_id;
        Ok(CreateChatResponse {
            chat: Some(Chat {
                chat_id,
                ..Chat::default()
            }),
        })
    }

    pub fn send_message(&mut self, request: SendMessageRequest, caller: &str) -> Answer<SendMessageResponse> {
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

    pub fn list_messages(&mut self, request: ListMessagesRequest, _: &str) -> Answer<ListMessagesResponse> {
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

    pub fn sync_changes(&mut self, request: SyncChangesRequest, _: &str) -> Answer<SyncChangesResponse> {
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
    pub fn changes(&self, chat_id: &str, position: i64, faulty: Fault) -> Vec<Change> {
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

pub fn problem(code: Code, reason: &str, field: Option<&str>) -> Status {
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
