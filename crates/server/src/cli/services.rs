//! `tidings auth`, `user`, `chat`, `message`, `gateway`: one service a process.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Args;
use tidings_auth_service::Registration;
use tidings_authn::Service;
use tidings_ids::Source;
use tidings_rpc::{Drain, Listener, MutualTls, PortLimits};
use tokio::net::TcpListener;

use super::whole::finish;
use crate::{
    database::Database,
    process,
    settings::{
        AuthSecretArgs, DataArgs, DatabaseArgs, ExternalArgs, GatewayArgs, GatewayDefaults, LimitsArgs, MailArgs,
        PasswordArgs, PeerArgs, PublicListenArgs, PublicTlsArgs, PublicUrlArgs, RegistrationArgs, ServicePorts,
        SuiteSecretArgs, TelemetryArgs, TlsArgs,
    },
    suite::{Base, Part, Peers, feeds, services},
};

const AUTH_EXAMPLES: &str = "\
Examples:
  tidings auth --listen 10.0.0.1:7711 --user-address https://user:7712 \\
      --public-url https://chat.example.org \\
      --database-url-file /run/secrets/database_auth --auth-secret-file /run/secrets/auth \\
      --suite-secret-file /run/secrets/suite --smtp-url-file /run/secrets/smtp \\
      --tls-ca-file /run/tls/ca.crt --tls-cert-file /run/tls/tls.crt --tls-key-file /run/tls/tls.key
  tidings auth --database-url-file database --auth-secret-file auth \\
      --suite-secret-file suite --mail-dir mail
      On one machine with the others: without TLS, and mails as files";

const USER_EXAMPLES: &str = "\
Examples:
  tidings user --listen 10.0.0.2:7712 --auth-address https://auth:7711 \\
      --database-url-file /run/secrets/database_user --suite-secret-file /run/secrets/suite \\
      --tls-ca-file /run/tls/ca.crt --tls-cert-file /run/tls/tls.crt --tls-key-file /run/tls/tls.key
  tidings user --database-url-file database --suite-secret-file suite
      On one machine with the others, without TLS";

const CHAT_EXAMPLES: &str = "\
Examples:
  tidings chat --listen 10.0.0.3:7713 --auth-address https://auth:7711 \\
      --user-address https://user:7712 --message-address https://message:7714 \\
      --database-url-file /run/secrets/database_chat --suite-secret-file /run/secrets/suite \\
      --tls-ca-file /run/tls/ca.crt --tls-cert-file /run/tls/tls.crt --tls-key-file /run/tls/tls.key
  tidings chat --database-url-file database --suite-secret-file suite
      On one machine with the others, without TLS";

const MESSAGE_EXAMPLES: &str = "\
Examples:
  tidings message --listen 10.0.0.4:7714 --auth-address https://auth:7711 \\
      --user-address https://user:7712 --data-dir /var/lib/tidings \\
      --public-url https://chat.example.org \\
      --database-url-file /run/secrets/database_message --suite-secret-file /run/secrets/suite \\
      --tls-ca-file /run/tls/ca.crt --tls-cert-file /run/tls/tls.crt --tls-key-file /run/tls/tls.key
  tidings message --database-url-file database --suite-secret-file suite
      On one machine with the others, without TLS";

const GATEWAY_EXAMPLES: &str = "\
Examples:
  tidings gateway --listen 0.0.0.0:7700 --trusted-proxies 10.0.0.9 --cors https://chat.example.org \\
      --auth-address https://auth:7711 --user-address https://user:7712 \\
      --chat-address https://chat:7713 --message-address https://message:7714 \\
      --suite-secret-file /run/secrets/suite \\
      --tls-ca-file /run/tls/ca.crt --tls-cert-file /run/tls/tls.crt --tls-key-file /run/tls/tls.key
      Behind a proxy that speaks TLS with clients
  tidings gateway --suite-secret-file suite --reflection true
      On one machine with the others, without TLS, for grpcurl";

/// What every process of one service is told.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    suite_secret: SuiteSecretArgs,
    #[command(flatten)]
    peers: PeerArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    limits: LimitsArgs,
    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// Serve only auth: credentials and login sessions
///
/// Its RPCs are for the gateway and the other services; run two for a deployment that must not stop.
#[derive(Debug, Args)]
#[command(after_help = AUTH_EXAMPLES)]
pub struct Auth {
    /// Where the other services connect
    #[arg(
        long,
        env = "TIDINGS_LISTEN",
        value_name = "ADDRESS",
        default_value = ServicePorts::default_listen(Service::Auth),
        help_heading = "Addresses"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    auth_secret: AuthSecretArgs,
    #[command(flatten)]
    registration: RegistrationArgs,
    #[command(flatten)]
    passwords: PasswordArgs,
    #[command(flatten)]
    external: ExternalArgs,
    #[command(flatten)]
    mail: MailArgs,
    #[command(flatten)]
    public_url: PublicUrlArgs,
    #[command(flatten)]
    common: Common,
}

/// Serve only user: users and roles
///
/// Its RPCs are for the gateway and the other services; run two for a deployment that must not stop.
#[derive(Debug, Args)]
#[command(after_help = USER_EXAMPLES)]
pub struct User {
    /// Where the other services connect
    #[arg(
        long,
        env = "TIDINGS_LISTEN",
        value_name = "ADDRESS",
        default_value = ServicePorts::default_listen(Service::User),
        help_heading = "Addresses"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    common: Common,
}

/// Serve only chat: groups, chats, memberships
///
/// Its RPCs are for the gateway.
#[derive(Debug, Args)]
#[command(after_help = CHAT_EXAMPLES)]
pub struct Chat {
    /// Where the other services connect
    #[arg(
        long,
        env = "TIDINGS_LISTEN",
        value_name = "ADDRESS",
        default_value = ServicePorts::default_listen(Service::Chat),
        help_heading = "Addresses"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    common: Common,
}

/// Serve only message: messages and their logs
///
/// Its RPCs are for the gateway and chat. Several of them share the folder of attachments.
#[derive(Debug, Args)]
#[command(after_help = MESSAGE_EXAMPLES)]
pub struct Message {
    /// Where the other services connect
    #[arg(
        long,
        env = "TIDINGS_LISTEN",
        value_name = "ADDRESS",
        default_value = ServicePorts::default_listen(Service::Message),
        help_heading = "Addresses"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    public_url: PublicUrlArgs,
    #[command(flatten)]
    common: Common,
}

/// Serve only the gateway: the public port
///
/// It has no database, and can be run as often as needed.
#[derive(Debug, Args)]
#[command(after_help = GATEWAY_EXAMPLES)]
pub struct Gateway {
    #[command(flatten)]
    listen: PublicListenArgs,
    #[command(flatten)]
    public_tls: PublicTlsArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    registration: RegistrationArgs,
    #[command(flatten)]
    common: Common,
}

/// A process of one service, before that is made.
struct Process {
    service: Service,
    base: Base,
    peers: Peers,
    listener: TcpListener,
    tls: Option<MutualTls>,
    _telemetry: tidings_telemetry::Guard,
}

impl Common {
    /// Logs, signals, the port, and what services share.
    async fn begin(&self, service: Service, listen: SocketAddr) -> Result<Process> {
        let telemetry = tidings_telemetry::init(&self.telemetry.settings(&format!("tidings-{service}")))?;
        let drain = Drain::new();
        process::drain_on_signal(drain.clone())?;
        let secret = self.suite_secret.required()?;
        let source = Source::system();
        let tls = self.tls.mutual(service, &source, &drain)?;
        if tls.is_none() {
            // The gateway's port is the clients', before whom TLS ends elsewhere or by a setting of its own.
            if service != Service::Gateway {
                self.tls.permit_plaintext_at(listen)?;
            }
            tracing::warn!("this service speaks plaintext with the others: fit for one machine only");
        }
        let listener = tidings_rpc::listen(listen, "--listen").await?;
        Ok(Process {
            service,
            base: Base::new(secret, self.limits.limits(), drain, source),
            peers: Peers::beside(service, &self.peers, tls.clone(), self.tls.allows_plaintext()),
            listener,
            tls,
            _telemetry: telemetry,
        })
    }
}

impl Process {
    /// Takes calls at once, most of which are refused until the database is fit, and until the process is asked to stop.
    async fn serve(self, part: Part) -> Result<()> {
        self.peers.fill(&part.stack);
        feeds::follow(&self.base, &self.peers, self.service)?;
        let drain = self.base.drain.clone();
        let port = tokio::spawn(tidings_rpc::serve(
            Listener::mutual(self.listener, self.tls),
            part.port(),
            PortLimits::INTERNAL,
            drain.clone(),
            self.base.source.clone(),
        ));
        let started = part.start(&drain).await;
        if started.is_err() {
            drain.begin();
        }
        port.await.context("the port's task ended")??;
        finish(&drain).await;
        started
    }
}

impl Auth {
    /// Serves until it is asked to stop.
    pub async fn run(self) -> Result<()> {
        let process = self.common.begin(Service::Auth, self.listen).await?;
        let database = Database::given(self.database.required_url()?)?;
        let mut config = tidings_auth_service::Config::new(
            self.auth_secret.required()?,
            self.registration.or(Registration::Verified),
            self.public_url.or_default(),
            self.mail.mail_from.clone(),
            self.mail.required()?,
        );
        self.passwords.apply(&mut config);
        config.external_issuers = self.external.issuers()?;
        let (part, _) = services::auth(&process.base, &process.peers, &self.database, &database.url, config)?;
        process.serve(part).await
    }
}

impl User {
    /// Serves until it is asked to stop.
    pub async fn run(self) -> Result<()> {
        let process = self.common.begin(Service::User, self.listen).await?;
        let database = Database::given(self.database.required_url()?)?;
        let part = services::user(&process.base, &self.database, &database.url)?;
        process.serve(part).await
    }
}

impl Chat {
    /// Serves until it is asked to stop.
    pub async fn run(self) -> Result<()> {
        let process = self.common.begin(Service::Chat, self.listen).await?;
        let database = Database::given(self.database.required_url()?)?;
        let part = services::chat(&process.base, &process.peers, &self.database, &database.url, None)?;
        process.serve(part).await
    }
}

impl Message {
    /// Serves until it is asked to stop.
    pub async fn run(self) -> Result<()> {
        let process = self.common.begin(Service::Message, self.listen).await?;
        let database = Database::given(self.database.required_url()?)?;
        let attachments = self.data.path().join("attachments");
        let config = tidings_message_service::Config::new(attachments, self.public_url.or_default());
        let part = services::message(&process.base, &self.database, &database.url, config)?;
        process.serve(part).await
    }
}

impl Gateway {
    /// Serves until it is asked to stop.
    pub async fn run(self) -> Result<()> {
        let process = self.common.begin(Service::Gateway, self.listen.listen).await?;
        let config = self.gateway.config(
            GatewayDefaults::DEPLOYED,
            self.registration.or(Registration::Verified),
            self.common.limits.limits().streams_per_user_max,
        )?;
        let gateway = services::gateway(&process.base, &process.peers, &config, None)?;
        let Base { drain, source, .. } = &process.base;
        let tls = self.public_tls.public(source, drain)?;
        tidings_rpc::serve(
            Listener::public(process.listener, tls),
            gateway,
            PortLimits::PUBLIC,
            drain.clone(),
            source.clone(),
        )
        .await?;
        finish(drain).await;
        Ok(())
    }
}
