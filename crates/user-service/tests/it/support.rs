//! A user service in this process, and those who call it.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::EncodingKey;
use tidings_authn::{
    AUDIENCE, Claims, ISSUER, LIFETIME, PublicKey, Revocations, ServiceIdentity, SuiteSecret, Verifier,
};
use tidings_db::{Pool, Schema, testing::Database};
use tidings_ids::{LoginSessionId, RoleId, Source, UserId};
use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_proto_user::v1::{
    ActivateUserRequest, CreateRoleRequest, CreateUserRequest, SetLoggedInRequest, UserState,
    access_service_client::AccessServiceClient, block_service_client::BlockServiceClient,
    provisioning_service_client::ProvisioningServiceClient, role_service_client::RoleServiceClient,
    user_audit_service_client::UserAuditServiceClient, user_service_client::UserServiceClient,
    user_state_service_client::UserStateServiceClient,
};
use tidings_rpc::{Drain, Environment, Limits, Peer, Slot};
use tidings_testkit::keep_trusted;
use tidings_user_service::{Config, MIGRATIONS};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

pub use tidings_testkit::refusal as reason;

/// Longer than a piece of background work rests after it has failed once, which is a minute.
const LIMIT: Duration = Duration::from_secs(120);

/// The service and its surroundings.
pub struct World {
    pub source: Source,
    pub environment: Environment,
    pub service: tidings_user_service::Service,
    _database: Database,
    inspection: Pool,
    key: EncodingKey,
    secret: SuiteSecret,
    slot: Slot,
}

/// Somebody who calls with an access token.
#[derive(Debug, Clone)]
pub struct Actor {
    pub user_id: UserId,
    token: String,
}

impl Actor {
    /// A request with the actor's token.
    pub fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", bearer);
        request
    }
}

impl World {
    pub async fn begin() -> Self {
        Self::begin_with(Config::default()).await
    }

    pub async fn begin_with(config: Config) -> Self {
        let database = Database::create(&[MIGRATIONS]).await;
        let source = Source::stopped(7);
        let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
        let revocations = Revocations::new();
        keep_trusted(&revocations);
        let verifier = Arc::new(Verifier::new(revocations, source.clone()));
        let pair = Ed25519KeyPair::generate().expect("a key");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        verifier.set_keys(&[PublicKey {
            key_id: "test".to_owned(),
            bytes: public,
        }]);
        let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("a key").as_ref());
        let limits = Limits {
            rate_factor: 10_000.try_into().expect("not zero"),
            ..Limits::default()
        };
        let service = tidings_authn::Service::User;
        let environment = Environment::new(service, secret.clone(), verifier, source.clone(), Drain::new(), limits);
        let (pool, inspection) = (database.pool_as(Schema::Users), database.pool());
        let service = tidings_user_service::build(&environment, config, pool).expect("every RPC has a policy");
        let slot = Slot::new();
        slot.fill(service.stack.clone());
        Self {
            source,
            environment,
            service,
            _database: database,
            inspection,
            key,
            secret,
            slot,
        }
    }

    /// To arrange and to inspect what no RPC shows.
    pub fn pool(&self) -> Pool {
        self.inspection.clone()
    }

    fn peer(&self, caller: tidings_authn::Service) -> Peer {
        let identity = ServiceIdentity::new(caller, &self.secret, self.source.clone());
        Peer::local(tidings_authn::Service::User, self.slot.clone(), Arc::new(identity))
    }

    /// What auth calls.
    pub fn provisioning(&self) -> ProvisioningServiceClient<Peer> {
        ProvisioningServiceClient::new(self.peer(tidings_authn::Service::Auth))
    }

    /// The same for another service, which may not.
    pub fn provisioning_as(&self, caller: tidings_authn::Service) -> ProvisioningServiceClient<Peer> {
        ProvisioningServiceClient::new(self.peer(caller))
    }

    /// What other services follow.
    pub fn states(&self) -> UserStateServiceClient<Peer> {
        self.states_as(tidings_authn::Service::Chat)
    }

    /// The same for a certain service.
    pub fn states_as(&self, caller: tidings_authn::Service) -> UserStateServiceClient<Peer> {
        UserStateServiceClient::new(self.peer(caller))
    }

    pub fn users(&self) -> UserServiceClient<Peer> {
        UserServiceClient::new(self.peer(tidings_authn::Service::Gateway))
    }

    pub fn access(&self) -> AccessServiceClient<Peer> {
        AccessServiceClient::new(self.peer(tidings_authn::Service::Gateway))
    }

    pub fn blocks(&self) -> BlockServiceClient<Peer> {
        BlockServiceClient::new(self.peer(tidings_authn::Service::Gateway))
    }

    pub fn audit(&self) -> UserAuditServiceClient<Peer> {
        UserAuditServiceClient::new(self.peer(tidings_authn::Service::Gateway))
    }

    pub fn roles(&self) -> RoleServiceClient<Peer> {
        RoleServiceClient::new(self.peer(tidings_authn::Service::Gateway))
    }

    /// A registration as auth sends it.
    pub fn registration(&self, username: &str) -> CreateUserRequest {
        CreateUserRequest {
            user_id: self.source.new_id::<tidings_ids::kind::User>().to_string(),
            username: username.to_owned(),
            email: format!("{username}@example.org"),
            display_name: username.to_uppercase(),
            ..CreateUserRequest::default()
        }
    }

    /// A user with these roles, logged in. None means the usual one.
    pub async fn register(&self, username: &str, roles: &[&str]) -> Actor {
        let role_names = roles.iter().map(|role| (*role).to_owned()).collect();
        let request = CreateUserRequest {
            role_names,
            ..self.registration(username)
        };
        let user_id = request.user_id.clone();
        let mut provisioning = self.provisioning();
        provisioning.create_user(request).await.expect("created");
        let activate = ActivateUserRequest {
            user_id: user_id.clone(),
            email_verified: false,
        };
        provisioning.activate_user(activate).await.expect("activated");
        self.log_in(UserId::parse(&user_id).expect("an id")).await
    }

    /// The user with a token of what they may do now.
    pub async fn log_in(&self, user_id: UserId) -> Actor {
        let state = self.state_of(user_id).await;
        self.issue(user_id, &state, state.permissions.clone())
    }

    /// The user with a token for a part of what they may do, as an API key has one.
    pub async fn log_in_with(&self, user_id: UserId, permissions: &[Permission]) -> Actor {
        let state = self.state_of(user_id).await;
        let permissions = permissions.iter().map(|permission| *permission as i32).collect();
        self.issue(user_id, &state, permissions)
    }

    fn issue(&self, user_id: UserId, state: &UserState, perms: Vec<i32>) -> Actor {
        let now = self.source.now().unix_timestamp();
        let lifetime = i64::try_from(LIFETIME.as_secs()).expect("600 fits");
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user_id,
            sid: self.source.new_id::<tidings_ids::kind::LoginSession>() as LoginSessionId,
            epoch: state.token_epoch,
            perms,
            bot: state.is_bot,
            iat: now,
            nbf: now,
            exp: now + lifetime,
        };
        let token = tidings_authn::sign(&claims, "test", &self.key).expect("signed");
        Actor { user_id, token }
    }

    /// What auth would learn now. The user's `logged_in` ends with it.
    pub async fn state_of(&self, user_id: UserId) -> UserState {
        let request = SetLoggedInRequest {
            user_id: user_id.to_string(),
            ..SetLoggedInRequest::default()
        };
        let response = self.provisioning().set_logged_in(request).await.expect("a state");
        response.into_inner().state.expect("a state")
    }

    /// A role that `creator` makes.
    pub async fn role(&self, creator: &Actor, name: &str, permissions: &[Permission]) -> RoleId {
        self.ranked_role(creator, name, permissions, 0).await
    }

    /// The same for one that stands higher.
    pub async fn ranked_role(&self, creator: &Actor, name: &str, permissions: &[Permission], rank: i32) -> RoleId {
        let request = CreateRoleRequest {
            name: name.to_owned(),
            permissions: permissions.iter().map(|permission| *permission as i32).collect(),
            rank,
            ..CreateRoleRequest::default()
        };
        let role = self
            .roles()
            .create_role(creator.asks(request))
            .await
            .expect("created")
            .into_inner()
            .role;
        RoleId::parse(&role.expect("a role").role_id).expect("an id")
    }

    /// A new id for a request.
    pub fn request_id(&self) -> String {
        self.source.new_id::<tidings_ids::kind::Request>().to_string()
    }

    /// An id of nothing.
    pub fn absent(&self) -> String {
        self.source.new_id::<tidings_ids::kind::User>().to_string()
    }
}

/// The fields that a call was refused for, in the order in which they are told.
pub fn wrong_fields<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Vec<String> {
    let status = outcome.expect_err("refused");
    assert_eq!(
        tidings_testkit::reason_of(&status),
        ErrorReason::FieldInvalid,
        "{status:?}"
    );
    let fields = status.get_details_bad_request().expect("fields").field_violations;
    fields.into_iter().map(|violation| violation.field).collect()
}

/// A detail of a refusal.
pub fn detail<T: std::fmt::Debug>(outcome: &Result<T, Status>, key: &str) -> String {
    let status = outcome.as_ref().expect_err("refused");
    let info = status.get_details_error_info().expect("an ErrorInfo");
    info.metadata
        .get(key)
        .cloned()
        .unwrap_or_else(|| panic!("{status:?} has no {key}"))
}

/// Waits for a condition.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    tidings_testkit::until(what, LIMIT, condition).await;
}

/// Makes a call, again and again while it is refused with the advice to come back later, as the contract has clients do: more of them
/// at once than there are connections may have to.
pub async fn insist<T, F: Future<Output = Result<T, Status>>>(call: impl Fn() -> F) -> Result<T, Status> {
    tidings_testkit::until_some("an answer for good", LIMIT, || async {
        let outcome = call().await;
        let later = |status: &Status| status.get_error_details().retry_info().is_some();
        (!outcome.as_ref().is_err_and(later)).then_some(outcome)
    })
    .await
}
