//! What `dev` and `all` have in common: all services in one process.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use tidings_auth_service::{MailTransport, Registration};
use tidings_authn::SuiteSecret;
use tidings_gateway::Gateway;
use tidings_ids::{Source, UserId};
use tidings_rpc::{Drain, Listener, PortLimits, PublicTls};
use tokio::net::TcpListener;

use super::echo::Echo;
use crate::{
    database::Database,
    settings::{
        Assistant, AssistantArgs, AuthSecretArgs, DataArgs, DatabaseArgs, ExternalArgs, GatewayArgs, GatewayDefaults,
        LimitsArgs, MailArgs, PasswordArgs, PublicListenArgs, PublicTlsArgs, PublicUrlArgs, RegistrationArgs,
        SuiteSecretArgs, TelemetryArgs,
    },
    suite::{Base, Peers, feeds, services},
};

/// The settings of a process with all services.
#[derive(Debug, Args)]
pub struct Whole {
    #[command(flatten)]
    pub listen: PublicListenArgs,
    #[command(flatten)]
    pub public_tls: PublicTlsArgs,
    #[command(flatten)]
    pub public_url: PublicUrlArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub suite_secret: SuiteSecretArgs,
    #[command(flatten)]
    pub auth_secret: AuthSecretArgs,
    #[command(flatten)]
    pub registration: RegistrationArgs,
    #[command(flatten)]
    pub passwords: PasswordArgs,
    #[command(flatten)]
    pub external: ExternalArgs,
    #[command(flatten)]
    pub assistant: AssistantArgs,
    #[command(flatten)]
    pub mail: MailArgs,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub limits: LimitsArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// What differs between the two commands.
#[derive(Debug)]
pub struct Given<'a> {
    pub suite_secret: SuiteSecret,
    pub auth_secret: SuiteSecret,
    pub mail: MailTransport,
    pub registration: Registration,
    /// Who answers in sessions unless that is set.
    pub assistant: Assistant,
    pub gateway: GatewayDefaults,
    pub attachments: &'a Path,
    /// Whether there may be other nodes on the database.
    pub other_nodes: bool,
    pub database: &'a Database,
}

/// A process with all services, at work but not reachable yet.
pub struct Running {
    base: Base,
    gateway: Gateway,
    tls: Option<PublicTls>,
    /// The built-in assistant, where there is one.
    pub assistant: Option<UserId>,
    /// For what an operator does without an RPC.
    pub auth: services::AuthHandle,
}

impl Whole {
    /// Takes the port first: that one is taken is told before anything else is begun.
    pub async fn listen(&self) -> Result<TcpListener> {
        Ok(tidings_rpc::listen(self.listen.listen, "--listen").await?)
    }

    /// Puts all services together and to work.
    pub async fn start(&self, given: Given<'_>, listen: SocketAddr, drain: Drain, source: Source) -> Result<Running> {
        let base = Base::new(given.suite_secret, self.limits.limits(), drain, source);
        let peers = Peers::all_local();
        let url = &given.database.url;
        let public_url = self.public_url.or(listen, self.public_tls.is_set());
        let tls = self.public_tls.public(&base.source, &base.drain)?;
        let mut auth = tidings_auth_service::Config::new(
            given.auth_secret.clone(),
            given.registration,
            public_url.clone(),
            self.mail.mail_from.clone(),
            given.mail,
        );
        auth.external_issuers = self.external.issuers()?;
        self.passwords.apply(&mut auth);
        let message = tidings_message_service::Config {
            other_nodes: given.other_nodes,
            ..tidings_message_service::Config::new(given.attachments, public_url)
        };
        let drain = &base.drain;
        let (auth, auth_handle) = services::auth(&base, &peers, &self.database, url, auth)?;
        let user = services::user(&base, &self.database, url)?;
        let message = services::message(&base, &self.database, url, message)?;
        for part in [&auth, &user] {
            peers.fill(&part.stack);
        }
        tokio::try_join!(auth.start(drain), user.start(drain)).context("the suite cannot serve")?;
        // So that the first reader of the feeds finds keys. What fails here is auth's to repeat.
        tokio::select! {
            _ = auth_handle.load_signing_keys() => {}
            () = drain.begun() => {}
        }
        feeds::follow(&base, &peers, tidings_authn::Service::Gateway)?;
        // Chat is told who answers, so the account is made before.
        let echo = match self.assistant.or(given.assistant) {
            Assistant::Echo => Echo::ensure(&auth_handle, &given.auth_secret, drain, &base.source).await?,
            Assistant::None => None,
        };
        let assistant = echo.as_ref().map(|echo| echo.user_id);
        let chat = services::chat(&base, &peers, &self.database, url, assistant)?;
        let gateway_config = self.gateway.config(
            given.gateway,
            given.registration,
            self.limits.limits().streams_per_user_max,
        )?;
        let media = message.media.as_ref().map(|(_prefix, routes)| routes.clone());
        let gateway = services::gateway(&base, &peers, &gateway_config, media)?;
        for part in [&chat, &message] {
            peers.fill(&part.stack);
        }
        tokio::try_join!(chat.start(drain), message.start(drain)).context("the suite cannot serve")?;
        let running = Running {
            base,
            gateway,
            tls,
            assistant,
            auth: auth_handle,
        };
        if let Some(echo) = echo {
            running.set_to_work(echo);
        }
        Ok(running)
    }
}

/// Longer than anything takes that has not failed: feeds are read within a second, and services checked five times in one.
const WHOLE_LIMIT: Duration = Duration::from_secs(30);

impl Running {
    /// Waits until a user's call would be answered, for whoever tells somebody to try. Not being so in time is told by the log
    /// and by `/healthz`, and is no reason to stop.
    pub async fn whole(&self) {
        whole(&self.gateway, &self.base).await;
    }

    /// The assistant begins when the rest can answer it, so that its first calls are not refused.
    fn set_to_work(&self, echo: Echo) {
        let (gateway, base) = (self.gateway.clone(), self.base.clone());
        self.base.drain.spawn(async move {
            whole(&gateway, &base).await;
            echo.work(gateway, base.drain, base.source).await;
        });
    }

    /// Takes calls until the process is asked to stop, then finishes what is in hand.
    pub async fn serve(self, listener: TcpListener) -> Result<()> {
        let Base { drain, source, .. } = &self.base;
        tidings_rpc::serve(
            Listener::public(listener, self.tls),
            self.gateway,
            PortLimits::PUBLIC,
            drain.clone(),
            source.clone(),
        )
        .await?;
        finish(drain).await;
        Ok(())
    }
}

async fn whole(gateway: &Gateway, base: &Base) {
    let whole = async {
        while !(gateway.is_whole() && base.can_verify()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(WHOLE_LIMIT, whole) => {}
        () = base.drain.begun() => {}
    }
}

/// Waits for what is in hand, within the bound of the drain.
pub async fn finish(drain: &Drain) {
    if !drain.finish().await {
        tracing::warn!("not everything ended in time: the rest was dropped");
    }
}
