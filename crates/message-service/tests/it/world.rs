//! A message service in this process, its surroundings, and those who call it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::EncodingKey;
use tidings_authn::{
    AUDIENCE, Claims, ISSUER, LIFETIME, PublicKey, Revocations, Service, ServiceIdentity, SuiteSecret, Verifier,
};
use tidings_db::{Pool, Schema, Settings, testing::Database};
use tidings_ids::{AudienceId, ChatId, Source, UserId};
use tidings_message_service::{Config, MIGRATIONS};
use tidings_proto_common::v1::{ChatHistory, ChatKind, ChatRole, ErrorReason, Permission, RemovalReason};
use tidings_proto_message::v1::{
    ApplyMembershipChangesRequest, AudienceChange, AudienceMemberRemoved, AudienceRemoved, ChatFacts, ChatRemoved,
    GetMessageRequest, ListMessagesRequest, ListMessagesResponse, MemberPut, Message, SendMessageRequest,
    attachment_service_client::AttachmentServiceClient, audience_change::Kind,
    membership_log_service_client::MembershipLogServiceClient, message_service_client::MessageServiceClient,
    response_service_client::ResponseServiceClient,
};
use tidings_rpc::{Drain, Environment, Limits, Peer, Slot};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

pub const MEMBER: ChatRole = ChatRole::Member;
pub const ADMIN: ChatRole = ChatRole::Admin;
pub const OWNER: ChatRole = ChatRole::Owner;

/// The service and its surroundings.
pub struct World {
    pub source: Source,
    pub database: Database,
    pub drain: Drain,
    pub revocations: Arc<Revocations>,
    pub media: axum::Router,
    environment: Environment,
    config: Config,
    key: EncodingKey,
    secret: SuiteSecret,
    slot: Slot,
    _folder: tempfile::TempDir,
}

/// Somebody who calls with an access token.
#[derive(Clone)]
pub struct Actor {
    pub id: String,
    pub login_session_id: String,
    token: String,
    peer: Peer,
    source: Source,
}

/// A group, or a chat without one, as the chat service has it.
pub struct Audience {
    pub id: String,
    pub number: i64,
    /// Whoever does the changes.
    actor: String,
    peer: Peer,
    source: Source,
}

impl World {
    pub async fn begin() -> Self {
        Self::begin_with(|_| {}).await
    }

    pub async fn begin_with(change: impl FnOnce(&mut Config)) -> Self {
        let source = Source::system();
        let revocations = Revocations::new();
        keep_trusted(Arc::clone(&revocations));
        let verifier = Arc::new(Verifier::new(Arc::clone(&revocations), source.clone()));
        let pair = Ed25519KeyPair::generate().expect("a key");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        verifier.set_keys(&[PublicKey {
            key_id: "test".to_owned(),
            bytes: public,
        }]);
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::create(&[MIGRATIONS]).await;
        let drain = Drain::new();
        let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");

        let mut config = Config::new(folder.path(), "http://localhost:7700");
        change(&mut config);
        let limits = Limits {
            rate_factor: 100_000.try_into().expect("not zero"),
            ..Limits::default()
        };
        let environment = Environment::new(
            Service::Message,
            secret.clone(),
            Arc::clone(&verifier),
            source.clone(),
            drain.clone(),
            limits,
        );
        let (slot, media) = start(&database, &environment, config.clone());
        Self {
            source,
            database,
            drain,
            revocations,
            media,
            environment,
            config,
            key: EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("a key").as_ref()),
            secret,
            slot,
            _folder: folder,
        }
    }

    /// The same actor, calling another process of the service on the same database.
    pub fn elsewhere(&self, actor: &Actor) -> Actor {
        let (slot, _) = start(&self.database, &self.environment, self.config.clone());
        let identity = ServiceIdentity::new(Service::Gateway, &self.secret, self.source.clone());
        Actor {
            peer: Peer::local(Service::Message, slot, Arc::new(identity)),
            ..actor.clone()
        }
    }

    /// To arrange and to inspect what no RPC shows.
    pub fn pool(&self) -> Pool {
        self.database.pool()
    }

    /// A peer that calls as another service.
    pub fn peer(&self, from: Service) -> Peer {
        let identity = ServiceIdentity::new(from, &self.secret, self.source.clone());
        Peer::local(Service::Message, self.slot.clone(), Arc::new(identity))
    }

    pub fn user(&self) -> Actor {
        self.user_with(&[])
    }

    pub fn user_with(&self, permissions: &[Permission]) -> Actor {
        let user_id: UserId = self.source.new_id();
        let login_session_id = self.source.new_id();
        let now = self.source.now().unix_timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user_id,
            sid: login_session_id,
            epoch: 1,
            perms: permissions.iter().map(|permission| *permission as i32).collect(),
            bot: false,
            iat: now,
            nbf: now,
            exp: now + i64::try_from(LIFETIME.as_secs()).expect("600 fits"),
        };
        let token = tidings_authn::sign(&claims, "test", &self.key).expect("signed");
        let peer = self.peer(Service::Gateway);
        Actor {
            id: user_id.to_string(),
            login_session_id: login_session_id.to_string(),
            token,
            peer,
            source: self.source.clone(),
        }
    }

    /// An audience of which nothing was told yet.
    pub fn audience(&self, actor: &Actor) -> Audience {
        let id: AudienceId = self.source.new_id();
        Audience {
            id: id.to_string(),
            number: 0,
            actor: actor.id.clone(),
            peer: self.peer(Service::Chat),
            source: self.source.clone(),
        }
    }

    /// A conversation: the first is its owner. Its chat has the audience's id.
    pub async fn conversation(&self, members: &[&Actor]) -> Audience {
        self.conversation_with(members, |_| {}).await
    }

    pub async fn conversation_with(&self, members: &[&Actor], change: impl FnOnce(&mut ChatFacts)) -> Audience {
        let mut audience = self.audience(members[0]);
        let mut facts = ChatFacts {
            chat_id: audience.id.clone(),
            kind: ChatKind::Conversation.into(),
            create_time: Some(audience.now()),
            ..ChatFacts::default()
        };
        change(&mut facts);
        audience.tell(Kind::ChatAdded(facts)).await;
        for (index, member) in members.iter().enumerate() {
            audience.put(member, if index == 0 { OWNER } else { MEMBER }).await;
        }
        audience
    }

    /// The entries of a chat's log: position, kind, and who or what it is about.
    pub async fn changes(&self, chat_id: &str) -> Vec<(i64, i16, Option<String>)> {
        sqlx::query_as(
            "select position, kind, coalesce(user_id, message_id)::text
             from messages.changes where chat_id = $1::uuid order by position",
        )
        .bind(chat_id)
        .fetch_all(&self.pool())
        .await
        .expect("readable")
    }

    /// The entries of a user's own log: position, kind, chat, and the place in the chat's log.
    pub async fn user_changes(&self, actor: &Actor) -> Vec<(i64, i16, String, Option<i64>)> {
        sqlx::query_as(
            "select position, kind, chat_id::text, chat_position
             from messages.user_changes where user_id = $1::uuid order by position",
        )
        .bind(&actor.id)
        .fetch_all(&self.pool())
        .await
        .expect("readable")
    }

    /// Checks that the logs of all chats and users, and all sequences, are without holes, and that the heads are their maxima.
    pub async fn assert_dense(&self) {
        let broken: Vec<String> = sqlx::query_scalar(
            "select 'chat ' || c.chat_id
             from messages.chats c
             where c.last_position <> (select count(*) from messages.changes x where x.chat_id = c.chat_id)
                or c.last_position <> (select coalesce(max(x.position), 0) from messages.changes x where x.chat_id = c.chat_id)
                or c.last_sequence <> (select count(*) from messages.messages x where x.chat_id = c.chat_id)
                or c.last_sequence <> (select coalesce(max(x.sequence), 0) from messages.messages x where x.chat_id = c.chat_id)
             union all
             select 'user ' || l.user_id
             from messages.user_logs l
             where l.last_position <> (select count(*) from messages.user_changes x where x.user_id = l.user_id)
                or l.last_position <> (select coalesce(max(x.position), 0) from messages.user_changes x where x.user_id = l.user_id)",
        )
        .fetch_all(&self.pool())
        .await
        .expect("readable");
        assert_eq!(broken, Vec::<String>::new());
    }
}

/// A process of the service.
fn start(database: &Database, environment: &Environment, config: Config) -> (Slot, axum::Router) {
    let settings = Settings {
        schema: Some(Schema::Messages),
        ..database.settings()
    };
    let pool = database.pool_as(Schema::Messages);
    let service = tidings_message_service::build(environment, config, pool, &settings).expect("it can be built");
    for work in service.background() {
        environment.drain.spawn(work);
    }
    let slot = Slot::new();
    slot.fill(service.stack.clone());
    (slot, service.media.clone())
}

impl Drop for World {
    fn drop(&mut self) {
        self.drain.begin();
    }
}

impl Audience {
    pub fn now(&self) -> prost_types::Timestamp {
        prost_types::Timestamp {
            seconds: self.source.now().unix_timestamp(),
            nanos: 0,
        }
    }

    pub fn client(&self) -> MembershipLogServiceClient<Peer> {
        MembershipLogServiceClient::new(self.peer.clone())
    }

    /// A change with its number, not told yet.
    pub fn change(&self, number: i64, kind: Kind) -> AudienceChange {
        AudienceChange {
            number,
            actor_id: self.actor.clone(),
            change_time: Some(self.now()),
            kind: Some(kind),
        }
    }

    /// Hands changes over as they are, and returns how far the audience is.
    pub async fn deliver(&self, changes: Vec<AudienceChange>) -> Result<i64, Status> {
        let request = ApplyMembershipChangesRequest {
            audience_id: self.id.clone(),
            changes,
        };
        Ok(self
            .client()
            .apply_membership_changes(request)
            .await?
            .into_inner()
            .applied_number)
    }

    /// Makes the next change.
    pub async fn tell(&mut self, kind: Kind) {
        self.number += 1;
        let applied = self
            .deliver(vec![self.change(self.number, kind)])
            .await
            .expect("applied");
        assert_eq!(applied, self.number);
    }

    pub fn member(&self, actor: &Actor, role: ChatRole) -> Kind {
        Kind::MemberPut(MemberPut {
            user_id: actor.id.clone(),
            role: role.into(),
            mute_end_time: None,
            create_time: Some(self.now()),
        })
    }

    pub fn removal(&self, actor: &Actor) -> Kind {
        let reason = RemovalReason::Removed.into();
        Kind::MemberRemoved(AudienceMemberRemoved {
            user_id: actor.id.clone(),
            reason,
        })
    }

    pub async fn put(&mut self, actor: &Actor, role: ChatRole) {
        let member = self.member(actor, role);
        self.tell(member).await;
    }

    pub async fn remove(&mut self, actor: &Actor) {
        let removal = self.removal(actor);
        self.tell(removal).await;
    }

    pub async fn remove_chat(&mut self, chat_id: &str) {
        self.tell(Kind::ChatRemoved(ChatRemoved {
            chat_id: chat_id.to_owned(),
        }))
        .await;
    }

    pub async fn end(&mut self) {
        self.tell(Kind::AudienceRemoved(AudienceRemoved {})).await;
    }

    /// The facts of this audience's own chat, changed.
    pub async fn update(&mut self, change: impl FnOnce(&mut ChatFacts)) {
        let mut facts = ChatFacts {
            chat_id: self.id.clone(),
            kind: ChatKind::Conversation.into(),
            create_time: Some(self.now()),
            ..ChatFacts::default()
        };
        change(&mut facts);
        self.tell(Kind::ChatUpdated(facts)).await;
    }

    /// Adds a chat to a group.
    pub async fn add_chat(&mut self, history: ChatHistory) -> String {
        let chat_id = self.source.new_id::<tidings_ids::kind::Chat>().to_string();
        let facts = ChatFacts {
            chat_id: chat_id.clone(),
            kind: ChatKind::Group.into(),
            group_id: self.id.clone(),
            history: history.into(),
            create_time: Some(self.now()),
            ..ChatFacts::default()
        };
        self.tell(Kind::ChatAdded(facts)).await;
        chat_id
    }
}

impl Actor {
    /// A request with the actor's token.
    pub fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub fn messages(&self) -> MessageServiceClient<Peer> {
        MessageServiceClient::new(self.peer()).max_decoding_message_size(16 * 1024 * 1024)
    }

    pub fn responses(&self) -> ResponseServiceClient<Peer> {
        ResponseServiceClient::new(self.peer())
    }

    pub fn attachments(&self) -> AttachmentServiceClient<Peer> {
        AttachmentServiceClient::new(self.peer())
    }

    /// The connection that the actor calls by.
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    pub fn request_id(&self) -> String {
        self.source.new_id::<tidings_ids::kind::Request>().to_string()
    }

    pub async fn send(&self, chat_id: &str, text: &str) -> Result<Message, Status> {
        self.send_as(self.message(chat_id, text)).await
    }

    /// A message with an id for repetitions, not sent yet.
    pub fn message(&self, chat_id: &str, text: &str) -> SendMessageRequest {
        SendMessageRequest {
            chat_id: chat_id.to_owned(),
            text: text.to_owned(),
            request_id: self.request_id(),
            ..SendMessageRequest::default()
        }
    }

    pub async fn send_as(&self, request: SendMessageRequest) -> Result<Message, Status> {
        let response = self.messages().send_message(self.asks(request)).await?;
        Ok(response.into_inner().message.expect("a message"))
    }

    pub async fn get(&self, chat_id: &str, message_id: &str) -> Result<Message, Status> {
        let request = GetMessageRequest {
            chat_id: chat_id.to_owned(),
            message_id: message_id.to_owned(),
        };
        let response = self.messages().get_message(self.asks(request)).await?;
        Ok(response.into_inner().message.expect("a message"))
    }

    pub async fn list(&self, request: ListMessagesRequest) -> Result<ListMessagesResponse, Status> {
        Ok(self.messages().list_messages(self.asks(request)).await?.into_inner())
    }

    /// The texts of one page, oldest first.
    pub async fn texts(&self, chat_id: &str) -> Result<Vec<String>, Status> {
        let request = ListMessagesRequest {
            chat_id: chat_id.to_owned(),
            page_size: 200,
            ..ListMessagesRequest::default()
        };
        Ok(self
            .list(request)
            .await?
            .messages
            .into_iter()
            .map(|message| message.text)
            .collect())
    }

    /// The id of a chat that does not exist.
    pub fn nowhere(&self) -> String {
        self.source.new_id::<tidings_ids::kind::Chat>().to_string()
    }
}

/// The id of an audience's own chat, for SQL.
pub fn chat_id(audience: &Audience) -> ChatId {
    ChatId::parse(&audience.id).expect("an id")
}

/// Stands in for the feeds, which a test of one service does not have.
fn keep_trusted(revocations: Arc<Revocations>) {
    tokio::spawn(async move {
        loop {
            revocations.heard_sessions();
            revocations.heard_users();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

/// Why a call was refused. Every refusal has the details that the contract promises for its reason.
pub fn reason<T: std::fmt::Debug>(outcome: Result<T, Status>) -> ErrorReason {
    let status = outcome.expect_err("refused");
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"));
    assert_eq!(info.domain, "tidings");
    let name = format!("ERROR_REASON_{}", info.reason);
    let reason = ErrorReason::from_str_name(&name).unwrap_or_else(|| panic!("{name} is not in the contract"));
    assert_eq!(status.code(), tidings_rpc::problem::contract(reason).0, "{name}");
    assert_eq!(
        details.retry_info().is_some(),
        tidings_rpc::problem::promises_retry(reason),
        "{name}"
    );
    assert_eq!(
        details.bad_request().is_some(),
        tidings_rpc::problem::promises_fields(reason),
        "{name}"
    );
    reason
}

/// The fields that a call was refused for, in order, each once.
pub fn wrong_fields<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Vec<String> {
    let status = outcome.expect_err("refused");
    let details = status.get_error_details();
    assert_eq!(
        details.error_info().map(|info| info.reason.as_str()),
        Some("FIELD_INVALID"),
        "{status:?}"
    );
    let fields = details.bad_request().expect("fields").field_violations.iter();
    let fields: HashSet<String> = fields.map(|violation| violation.field.clone()).collect();
    let mut fields: Vec<String> = fields.into_iter().collect();
    fields.sort();
    fields
}

/// Waits for a condition, for ten seconds at the most.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen in time"));
}
