//! A message service in this process, its surroundings, and those who call it.

mod actor;
mod audience;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::EncodingKey;
use tidings_authn::{
    AUDIENCE, Claims, ISSUER, LIFETIME, PublicKey, Revocations, Service, ServiceIdentity, SuiteSecret, Verifier,
};
use tidings_db::{Pool, Schema, Settings, testing::Database};
use tidings_ids::{AudienceId, Source, UserId};
use tidings_message_service::{Config, MIGRATIONS};
use tidings_proto_common::v1::{ChatKind, ChatRole, Permission};
use tidings_proto_message::v1::{ChatFacts, audience_change::Kind};
use tidings_rpc::{Drain, Environment, Limits, Peer, Slot};

pub use audience::chat_id;
use tidings_testkit::keep_trusted;
pub use tidings_testkit::{refusal as reason, wrong_fields};

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
        keep_trusted(&revocations);
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
        self.elsewhere_with(actor, |_| {})
    }

    /// The same with other settings.
    pub fn elsewhere_with(&self, actor: &Actor, change: impl FnOnce(&mut Config)) -> Actor {
        let mut config = self.config.clone();
        change(&mut config);
        let (slot, _) = start(&self.database, &self.environment, config);
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

/// Waits for a condition, for a minute at the most.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    tidings_testkit::until(what, Duration::from_secs(60), condition).await;
}

/// Waits until a backend waits for a lock.
pub async fn someone_waits(world: &World) {
    tidings_testkit::until_waiting(&world.pool(), 1).await;
}
