//! What a test stands on: a database of its own, the service, and clients.

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings_auth_service::{Config, CrashPoints, MIGRATIONS, MailTransport, Registration, Service, Step};
use tidings_authn::{Refusal, Revocations, Service as Name, ServiceIdentity, SuiteSecret, Verifier, feeds};
use tidings_db::{Pool, Schema, testing::Database};
use tidings_ids::{Source, kind};
use tidings_proto_auth::v1::{
    LoginRequest, LoginResponse, LogoutAllRequest, LogoutRequest, RefreshTokenRequest, RefreshTokenResponse,
    RegisterRequest, auth_service_client::AuthServiceClient, credential_service_client::CredentialServiceClient,
    login_session_service_client::LoginSessionServiceClient,
};
use tidings_proto_common::v1::Permission;
use tidings_proto_user::v1::{
    provisioning_service_server::ProvisioningServiceServer, user_state_service_server::UserStateServiceServer,
};
use tidings_rpc::{App, Drain, Environment, Limits, Peer, Slot, Stack};
use tonic::{Request, Status, service::interceptor::InterceptedService};
use tonic_types::StatusExt as _;

use crate::user::FakeUsers;

pub const PASSWORD: &str = "correct horse battery";

/// How long a test waits for what should come soon: a machine may have other things to do.
const LIMIT: Duration = Duration::from_secs(60);

/// A way to auth whose calls may take as long as calls may.
pub type Client = InterceptedService<Peer, fn(Request<()>) -> Result<Request<()>, Status>>;

pub struct World {
    pub source: Source,
    pub users: FakeUsers,
    pub service: Service,
    pub verifier: Arc<Verifier>,
    pub drain: Drain,
    pub pool: Pool,
    pub mails: tempfile::TempDir,
    slot: Slot,
    secret: SuiteSecret,
    _database: Arc<Database>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.drain.begin();
    }
}

impl World {
    /// A service with open registration.
    pub async fn open() -> Self {
        Self::with(|config| config).await
    }

    pub async fn with(configure: impl FnOnce(Config) -> Config) -> Self {
        let database = Arc::new(Database::create(&[MIGRATIONS]).await);
        let source = Source::stopped(u64::from_be_bytes(Source::system().random()));
        Self::on(database, FakeUsers::default(), source, configure).await
    }

    /// A service in which whoever comes to the step dies there, until the switch is off.
    pub async fn crashing_at(step: Step) -> (Self, Arc<Mutex<bool>>) {
        let crash = Arc::new(Mutex::new(true));
        let asked = Arc::clone(&crash);
        let points = CrashPoints::new(move |reached| {
            let ends = *asked.lock() && reached == step;
            async move { ends }
        });
        let world = Self::with(|config| Config {
            crash_points: Some(points),
            ..config
        })
        .await;
        (world, crash)
    }

    /// Another node of the same deployment, with the same clock.
    pub async fn second_node(&self) -> Self {
        self.second_node_with(|config| config).await
    }

    /// Another node of the same deployment, with other settings.
    pub async fn second_node_with(&self, configure: impl FnOnce(Config) -> Config) -> Self {
        let (database, users) = (Arc::clone(&self._database), self.users.clone());
        Self::on(database, users, self.source.clone(), configure).await
    }

    async fn on(
        database: Arc<Database>,
        users: FakeUsers,
        source: Source,
        configure: impl FnOnce(Config) -> Config,
    ) -> Self {
        let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
        let (verifier, drain) = (
            Arc::new(Verifier::new(Revocations::new(), source.clone())),
            Drain::new(),
        );
        let limits = Limits {
            rate_factor: NonZeroU32::new(10_000).expect("not zero"),
            ..Limits::default()
        };
        let environment = |name| {
            Environment::new(
                name,
                secret.clone(),
                Arc::clone(&verifier),
                source.clone(),
                drain.clone(),
                limits,
            )
        };

        let user_slot = Slot::new();
        user_slot.fill(user_stack(&environment(Name::User), users.clone()));

        let mails = tempfile::tempdir().expect("a folder");
        let config = Config::new(
            SuiteSecret::new("auth-only-7d8e0c9f6ad2b1e84e7fa3d5c7b09d1e").expect("long enough"),
            Registration::Open,
            "https://chat.example.org".to_owned(),
            "Tidings <no-reply@example.org>".to_owned(),
            MailTransport::Folder(mails.path().to_owned()),
        );
        let env = environment(Name::Auth);
        let user = Peer::local(Name::User, user_slot, Arc::clone(&env.identity));
        let pool = database.pool_as(Schema::Auth);
        let service = tidings_auth_service::build(&env, configure(config), pool.clone(), user).expect("built");
        eventually("the keys are read", async || service.load_signing_keys().await.is_ok()).await;
        for work in service.background() {
            drain.spawn(work);
        }
        let slot = Slot::new();
        slot.fill(service.stack.clone());
        let world = Self {
            source,
            users,
            service,
            verifier,
            drain,
            pool,
            mails,
            slot,
            secret,
            _database: database,
        };
        world.follow().await;
        world
    }

    /// Follows the feeds as every process of the suite does. The user service of the tests changes nobody by itself.
    async fn follow(&self) {
        let peer = self.peer(Name::Chat);
        let (source, stop) = (self.source.clone(), self.drain.token());
        let revocations = Arc::clone(self.verifier.revocations());
        tokio::spawn(feeds::follow_revocations(
            peer.clone(),
            Arc::clone(&revocations),
            source.clone(),
            stop.clone(),
        ));
        tokio::spawn(feeds::follow_signing_keys(
            peer,
            Arc::clone(&self.verifier),
            source,
            stop.clone(),
        ));
        let users = Arc::clone(&revocations);
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(200));
            while stop.run_until_cancelled(beat.tick()).await.is_some() {
                users.heard_users();
            }
        });
        eventually("the feeds are heard", async || {
            revocations.is_trusted() && self.verifier.has_keys()
        })
        .await;
    }

    /// The way to auth, as this service.
    pub fn peer(&self, name: Name) -> Peer {
        let identity = Arc::new(ServiceIdentity::new(name, &self.secret, self.source.clone()));
        Peer::local(Name::Auth, self.slot.clone(), identity)
    }

    /// The way to auth as the gateway, with time for each call.
    pub fn client(&self) -> Client {
        InterceptedService::new(self.peer(Name::Gateway), |mut request| {
            request.set_timeout(LIMIT);
            Ok(request)
        })
    }

    pub fn auth(&self) -> AuthServiceClient<Client> {
        AuthServiceClient::new(self.client())
    }

    pub fn credentials(&self) -> CredentialServiceClient<Client> {
        CredentialServiceClient::new(self.client())
    }

    pub fn request_id(&self) -> String {
        self.source.new_id::<kind::Request>().to_string()
    }

    pub async fn register(&self, username: &str) -> Result<String, Status> {
        self.register_as(registration(username)).await
    }

    pub async fn register_as(&self, request: RegisterRequest) -> Result<String, Status> {
        Ok(self.auth().register(request).await?.into_inner().user_id)
    }

    pub async fn login(&self, identifier: &str) -> Result<LoginResponse, Status> {
        self.login_with(identifier, PASSWORD).await
    }

    pub async fn login_with(&self, identifier: &str, password: &str) -> Result<LoginResponse, Status> {
        let request = LoginRequest {
            identifier: identifier.to_owned(),
            password: password.to_owned(),
            device_label: "phone".to_owned(),
            ..LoginRequest::default()
        };
        Ok(self.auth().login(request).await?.into_inner())
    }

    /// Logs in from this address, and with this device token.
    pub async fn login_from(
        &self,
        address: &str,
        identifier: &str,
        password: &str,
        device_token: &str,
    ) -> Result<LoginResponse, Status> {
        let request = LoginRequest {
            identifier: identifier.to_owned(),
            password: password.to_owned(),
            device_token: device_token.to_owned(),
            ..LoginRequest::default()
        };
        Ok(self.auth().login(from(request, address)).await?.into_inner())
    }

    pub fn login_sessions(&self) -> LoginSessionServiceClient<Client> {
        LoginSessionServiceClient::new(self.client())
    }

    /// A user who holds these permissions, logged in.
    pub async fn holder(&self, username: &str, permissions: &[Permission]) -> LoginResponse {
        let user_id = self.register(username).await.expect("registered");
        self.users.change(&user_id, |user| {
            user.permissions = permissions.iter().copied().map(i32::from).collect();
        });
        self.login(username).await.expect("logged in")
    }

    pub async fn refresh(&self, token: &str, request_id: &str) -> Result<RefreshTokenResponse, Status> {
        let request = RefreshTokenRequest {
            refresh_token: token.to_owned(),
            request_id: request_id.to_owned(),
        };
        Ok(self.auth().refresh_token(request).await?.into_inner())
    }

    pub async fn logout(&self, access_token: &str) -> Result<(), Status> {
        self.auth()
            .logout(bearing(LogoutRequest {}, access_token))
            .await
            .map(|_| ())
    }

    pub async fn logout_all(&self, access_token: &str, keep_current: bool) -> Result<(), Status> {
        self.auth()
            .logout_all(bearing(LogoutAllRequest { keep_current }, access_token))
            .await
            .map(|_| ())
    }

    /// The texts of all mails that have been sent, once there are so many.
    pub async fn mails(&self, count: usize) -> Vec<String> {
        let folder = self.mails.path().to_owned();
        eventually("the mails are there", async || read(&folder).len() >= count).await;
        read(&folder)
    }

    /// The token in the newest mail that brings one, once there are so many of these.
    pub async fn token_of_mail(&self, count: usize) -> String {
        let folder = self.mails.path().to_owned();
        let bringing = || {
            let mails = read(&folder).into_iter();
            mails.filter(|mail| mail.contains("token=")).collect::<Vec<_>>()
        };
        eventually("the tokens are mailed", async || bringing().len() >= count).await;
        token(bringing().last().expect("one at least"))
    }

    /// Waits until so many mails could not be sent at their first attempt and wait for the next: one that is only being tried
    /// is leased for longer than the first pause. From then on the clock may be moved.
    pub async fn mails_pause(&self, count: i64) {
        let pause_end = self.source.now() + Duration::from_secs(60);
        eventually("the mails were tried and put back", async || {
            let pausing = "select count(*) from auth.mails where attempts = 1 and next_attempt_time < $1";
            let pausing = sqlx::query_scalar::<_, i64>(pausing).bind(pause_end);
            pausing.fetch_one(&self.pool).await.expect("counted") == count
        })
        .await;
    }

    /// Waits until this node has heard that the token's login session has ended: ten seconds at the worst (`reliability.md` G21).
    pub async fn refuses_ended(&self, access_token: &str) {
        let begun = tokio::time::Instant::now();
        eventually("the node has heard of the end", async || {
            matches!(self.verifier.verify(access_token), Err(Refusal::SessionRevoked))
        })
        .await;
        assert!(begun.elapsed() < Revocations::TRUSTED_FOR, "{:?}", begun.elapsed());
    }

    /// How many rows a table of the service has.
    pub async fn count(&self, table: &'static str) -> i64 {
        let sql = format!("select count(*) from auth.{table}");
        tidings_db_scalar(&self.pool, sql).await
    }
}

async fn tidings_db_scalar(pool: &Pool, sql: String) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(pool)
        .await
        .expect("counted")
}

fn user_stack(environment: &Environment, users: FakeUsers) -> Stack {
    let app = App::new(environment).descriptors(tidings_proto_user::FILE_DESCRIPTOR_SET);
    app.add(ProvisioningServiceServer::new(users.clone()))
        .add(UserStateServiceServer::new(users))
        .build()
        .expect("built")
        .0
}

pub fn registration(username: &str) -> RegisterRequest {
    RegisterRequest {
        username: username.to_owned(),
        email: format!("{username}@example.org"),
        password: PASSWORD.to_owned(),
        display_name: String::new(),
        bio: String::new(),
        request_id: String::new(),
    }
}

/// The call as the gateway forwards it for a client with this address.
pub fn from<T>(message: T, address: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = address.parse().expect("ASCII");
    request.metadata_mut().insert("x-tidings-client", value);
    request
}

pub fn bearing<T>(message: T, access_token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {access_token}").parse().expect("ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

/// The reason of an error.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .expect("every error has its ErrorInfo")
        .reason
}

pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    reason(&outcome.expect_err("it should have been refused"))
}

/// All that a client sees of an error.
pub fn bytes(status: &Status) -> (tonic::Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

/// Waits until the condition holds, for a minute at the most.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let limit = tokio::time::Instant::now() + LIMIT;
    while !condition().await {
        assert!(tokio::time::Instant::now() < limit, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The mails in a folder, the oldest first.
fn read(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (
                entry.metadata().and_then(|data| data.modified()).expect("a time"),
                entry.path(),
            )
        })
        .collect();
    files.sort();
    let read = |path| std::fs::read_to_string(path).expect("a mail");
    files
        .into_iter()
        .map(|(_, path)| read(path))
        .filter(|text: &String| text.contains("\r\n\r\n"))
        .collect()
}

/// The token that stands alone on a line.
pub fn token(mail: &str) -> String {
    let lone = |line: &&str| {
        line.len() == 43
            && line
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    mail.lines()
        .find(lone)
        .unwrap_or_else(|| panic!("no token in {mail}"))
        .to_owned()
}
