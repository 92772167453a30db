//! A chat service in this process, its surroundings, and those who call it.

mod actor;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::EncodingKey;
use tidings_authn::{
    AUDIENCE, Claims, ISSUER, LIFETIME, PublicKey, Revocations, ServiceIdentity, SuiteSecret, Verifier,
};
use tidings_chat_service::{Config, MIGRATIONS};
use tidings_db::{Pool, Schema, testing::Database};
use tidings_ids::{Source, UserId};
use tidings_proto_common::v1::{ChatRole, Permission};
use tidings_proto_message::v1::membership_log_service_server::MembershipLogServiceServer;
use tidings_proto_user::v1::{
    user_service_server::UserServiceServer, user_state_service_server::UserStateServiceServer,
};
use tidings_rpc::{App, Drain, Environment, Limits, Peer, Slot};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use tidings_testkit::keep_trusted;
pub use tidings_testkit::{refusal as reason, wrong_fields};

use crate::{
    fakes::{FakeLog, FakeUsers},
    feed::FakeFeed,
};

pub const MEMBER: ChatRole = ChatRole::Member;
pub const ADMIN: ChatRole = ChatRole::Admin;
pub const OWNER: ChatRole = ChatRole::Owner;

/// Nothing here takes longer on a machine that also compiles.
const LIMIT: Duration = Duration::from_secs(60);

/// The service and its surroundings.
pub struct World {
    pub users: FakeUsers,
    pub log: FakeLog,
    pub feed: FakeFeed,
    pub source: Source,
    database: Database,
    inspection: Pool,
    key: EncodingKey,
    secret: SuiteSecret,
    verifier: Arc<Verifier>,
    config: Config,
    slot: Slot,
    drain: Drain,
}

/// Somebody who calls with an access token.
#[derive(Clone)]
pub struct Actor {
    pub id: String,
    token: String,
    peer: Peer,
    source: Source,
}

impl World {
    pub async fn begin() -> Self {
        Self::begin_with(Config::default()).await
    }

    pub async fn begin_with(config: Config) -> Self {
        let source = Source::system();
        let revocations = Revocations::new();
        keep_trusted(&revocations);
        let verifier = Arc::new(Verifier::new(revocations, source.clone()));
        let pair = Ed25519KeyPair::generate().expect("a key");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        verifier.set_keys(&[PublicKey {
            key_id: "test".to_owned(),
            bytes: public,
        }]);
        let database = Database::create(&[MIGRATIONS]).await;
        let mut world = Self {
            inspection: database.pool(),
            database,
            users: FakeUsers::default(),
            log: FakeLog::default(),
            feed: FakeFeed::default(),
            source,
            key: EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("a key").as_ref()),
            secret: SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough"),
            verifier,
            config,
            slot: Slot::new(),
            drain: Drain::new(),
        };
        world.restart(false);
        world
    }

    /// Another process of the chat service on the same database takes the place of the one before, which is dropped with whatever it
    /// had in hand.
    pub fn restart(&mut self, sweeps: bool) {
        self.drain.begin();
        self.drain = Drain::new();
        let service = self.service();
        if sweeps {
            self.background(&service);
        }
        self.slot = Slot::new();
        self.slot.fill(service.stack);
    }

    /// Another process beside the one in place, of which only the work is seen that it does on its own.
    pub fn begin_beside(&self) {
        self.background(&self.service());
    }

    fn background(&self, service: &tidings_chat_service::Service) {
        for work in service.background() {
            self.drain.spawn(work);
        }
    }

    fn service(&self) -> tidings_chat_service::Service {
        let environment = self.environment(tidings_authn::Service::Chat);
        let user = self.fake(tidings_authn::Service::User, |app| {
            app.descriptors(tidings_proto_user::FILE_DESCRIPTOR_SET)
                .add(UserServiceServer::new(self.users.clone()))
                .add(UserStateServiceServer::new(self.feed.clone()))
        });
        let message = self.fake(tidings_authn::Service::Message, |app| {
            app.descriptors(tidings_proto_message::FILE_DESCRIPTOR_SET)
                .add(MembershipLogServiceServer::new(self.log.clone()))
        });
        let pool = self.database.pool_as(Schema::Chats);
        tidings_chat_service::build(&environment, self.config.clone(), pool, user, message)
            .expect("every RPC has a policy")
    }

    fn environment(&self, service: tidings_authn::Service) -> Environment {
        let limits = Limits {
            rate_factor: 100_000.try_into().expect("not zero"),
            ..Limits::default()
        };
        let verifier = Arc::clone(&self.verifier);
        Environment::new(
            service,
            self.secret.clone(),
            verifier,
            self.source.clone(),
            self.drain.clone(),
            limits,
        )
    }

    fn fake(&self, service: tidings_authn::Service, fill: impl FnOnce(App) -> App) -> Peer {
        let (stack, _) = fill(App::new(&self.environment(service)))
            .build()
            .expect("every RPC has a policy");
        let slot = Slot::new();
        slot.fill(stack);
        Peer::local(service, slot, Arc::new(self.identity(tidings_authn::Service::Chat)))
    }

    fn identity(&self, service: tidings_authn::Service) -> ServiceIdentity {
        ServiceIdentity::new(service, &self.secret, self.source.clone())
    }

    /// To arrange and to inspect what no RPC shows.
    pub fn pool(&self) -> Pool {
        self.inspection.clone()
    }

    /// A user with all that members of the deployment may do.
    pub async fn user(&self) -> Actor {
        self.user_with(&[Permission::GroupsCreate, Permission::ChatsCreate])
            .await
    }

    pub async fn user_with(&self, permissions: &[Permission]) -> Actor {
        let user_id: UserId = self.source.new_id();
        self.users.users.lock().await.insert(user_id.to_string(), false);
        self.log_in(user_id, permissions)
    }

    /// Several users.
    pub async fn crowd(&self, count: usize) -> Vec<Actor> {
        let mut crowd = Vec::with_capacity(count);
        for _ in 0..count {
            crowd.push(self.user().await);
        }
        crowd
    }

    /// The same user, calling the service that is now in place.
    pub fn again(&self, actor: &Actor) -> Actor {
        Actor {
            peer: self.peer(),
            ..actor.clone()
        }
    }

    fn peer(&self) -> Peer {
        let identity = self.identity(tidings_authn::Service::Gateway);
        Peer::local(tidings_authn::Service::Chat, self.slot.clone(), Arc::new(identity))
    }

    fn log_in(&self, user_id: UserId, permissions: &[Permission]) -> Actor {
        let now = self.source.now().unix_timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user_id,
            sid: self.source.new_id(),
            epoch: 1,
            perms: permissions.iter().map(|permission| *permission as i32).collect(),
            bot: false,
            iat: now,
            nbf: now,
            exp: now + i64::try_from(LIFETIME.as_secs()).expect("600 fits"),
        };
        let token = tidings_authn::sign(&claims, "test", &self.key).expect("signed");
        Actor {
            id: user_id.to_string(),
            token,
            peer: self.peer(),
            source: self.source.clone(),
        }
    }

    /// Whether the message service answers.
    pub fn message_service_is_down(&self, down: bool) {
        self.log.down.store(down, Ordering::SeqCst);
    }

    /// What waits in the outbox: audiences with numbers.
    pub async fn outbox(&self) -> Vec<(String, i64)> {
        sqlx::query_as("select audience_id::text, number from chats.outbox order by audience_id, number")
            .fetch_all(&self.pool())
            .await
            .expect("readable")
    }

    /// Waits until nothing is left in the outbox. Rows are deleted after those who wait for their delivery have been told.
    pub async fn outbox_is_tidied_up(&self) {
        until("the delivery of everything", async || self.outbox().await.is_empty()).await;
    }

    /// Checks that the audience's numbers are dense, and that the message service has all of them and decides by the same members.
    pub async fn assert_told(&self, audience_id: &str) {
        let changes = self.log.changes(audience_id).await;
        for (at, change) in changes.iter().enumerate() {
            assert_eq!(change.number, at as i64 + 1);
        }
        let row: (i64, i32) =
            sqlx::query_as("select last_number, member_count from chats.audiences where audience_id = $1::uuid")
                .bind(audience_id)
                .fetch_one(&self.pool())
                .await
                .expect("an audience");
        assert_eq!(row.0, changes.len() as i64, "every number was delivered");
        let stored: Vec<(String, i16)> = sqlx::query_as(
            "select user_id::text, role from chats.members where audience_id = $1::uuid order by user_id",
        )
        .bind(audience_id)
        .fetch_all(&self.pool())
        .await
        .expect("members");
        let told: Vec<(String, i16)> = self
            .log
            .members(audience_id)
            .await
            .into_iter()
            .map(|(user_id, role)| (user_id, role as i16))
            .collect();
        assert_eq!(told, stored, "both services have the same members");
        assert_eq!(row.1 as usize, stored.len(), "the count is right");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.drain.begin();
    }
}

/// Waits for a condition.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    tidings_testkit::until(what, LIMIT, condition).await;
}

/// Makes a call that can be repeated, as the contract has clients do: again and again while it is refused with the advice to come back
/// later, or had no time. More of them at once than there are connections may have to.
pub async fn insist<T, F: Future<Output = Result<T, Status>>>(call: impl Fn() -> F) -> Result<T, Status> {
    tidings_testkit::until_some("an answer for good", 2 * LIMIT, || async {
        let outcome = call().await;
        let later = |status: &Status| {
            status.get_error_details().retry_info().is_some() || status.code() == Code::DeadlineExceeded
        };
        (!outcome.as_ref().is_err_and(later)).then_some(outcome)
    })
    .await
}
