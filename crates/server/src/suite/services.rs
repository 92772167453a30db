//! Each service, made from its settings.

use anyhow::{Context as _, Result};
use secrecy::SecretString;
use tidings_auth_service::{NameHolder, NewAccount};
use tidings_authn::Service;
use tidings_db::{Settings, migrate::Migrations};
use tidings_gateway::{Gateway, Upstreams};
use tidings_ids::UserId;
use tidings_rpc::Problem;

use super::{Base, Fitness, Part, Peers};
use crate::settings::DatabaseArgs;

/// What message serves over plain HTTP is below this path, at its own port and at the gateway.
const MEDIA_PREFIX: &str = "/media/";

/// All migrations, in the order in which they are applied.
pub fn migrations() -> [Migrations; 4] {
    [
        tidings_auth_service::MIGRATIONS,
        tidings_user_service::MIGRATIONS,
        tidings_chat_service::MIGRATIONS,
        tidings_message_service::MIGRATIONS,
    ]
}

/// Auth within this process, for what an operator does without an RPC.
pub struct AuthHandle(tidings_auth_service::Service);

impl AuthHandle {
    /// Makes an administrator, whoever may register otherwise.
    ///
    /// # Errors
    ///
    /// What was wrong with it, or what else kept it from being made.
    pub async fn create_admin(&self, admin: NewAccount) -> Result<(), Problem> {
        tidings_auth_service::create_admin(&self.0, admin).await.map(|_id| ())
    }

    /// Says who has a username that is taken.
    ///
    /// # Errors
    ///
    /// What kept it from being found out.
    pub async fn name_holder(&self, username: &str) -> Result<NameHolder, Problem> {
        tidings_auth_service::name_holder(&self.0, username).await
    }

    /// Reads the signing keys, so that who asks for them next gets them.
    ///
    /// # Errors
    ///
    /// Why they could not be read; auth tries again by itself.
    pub async fn load_signing_keys(&self) -> Result<(), tidings_auth_service::Error> {
        self.0.load_signing_keys().await
    }

    /// Makes the account of a program of ours, unless it is there.
    ///
    /// # Errors
    ///
    /// That the name is somebody else's, or what else kept it from being made.
    pub async fn ensure_bot(&self, bot: NewAccount) -> Result<UserId, Problem> {
        tidings_auth_service::ensure_bot(&self.0, bot).await
    }
}

/// Auth.
pub fn auth(
    base: &Base,
    peers: &Peers,
    database: &DatabaseArgs,
    url: &SecretString,
    config: tidings_auth_service::Config,
) -> Result<(Part, AuthHandle)> {
    let environment = base.environment(Service::Auth);
    let fitness = fitness(base, database, url, tidings_auth_service::MIGRATIONS)?;
    let user = peers.to(Service::User, &environment)?;
    let service = tidings_auth_service::build(&environment, config, fitness.pool.clone(), user)?;
    let part = Part {
        media: None,
        stack: service.stack.clone(),
        health: service.health.clone(),
        background: service.background(),
        fitness,
    };
    Ok((part, AuthHandle(service)))
}

/// User.
pub fn user(base: &Base, database: &DatabaseArgs, url: &SecretString) -> Result<Part> {
    let environment = base.environment(Service::User);
    let fitness = fitness(base, database, url, tidings_user_service::MIGRATIONS)?;
    let config = tidings_user_service::Config::default();
    let service = tidings_user_service::build(&environment, config, fitness.pool.clone())?;
    Ok(Part {
        media: None,
        stack: service.stack.clone(),
        health: service.health.clone(),
        background: service.background(),
        fitness,
    })
}

/// Chat. The assistant answers in sessions for which nobody is named.
pub fn chat(
    base: &Base,
    peers: &Peers,
    database: &DatabaseArgs,
    url: &SecretString,
    assistant: Option<UserId>,
) -> Result<Part> {
    let environment = base.environment(Service::Chat);
    let fitness = fitness(base, database, url, tidings_chat_service::MIGRATIONS)?;
    let config = tidings_chat_service::Config {
        default_assistant: assistant,
        ..tidings_chat_service::Config::default()
    };
    let user = peers.to(Service::User, &environment)?;
    let message = peers.to(Service::Message, &environment)?;
    let service = tidings_chat_service::build(&environment, config, fitness.pool.clone(), user, message)?;
    Ok(Part {
        media: None,
        stack: service.stack.clone(),
        health: service.health.clone(),
        background: service.background(),
        fitness,
    })
}

/// Message.
pub fn message(
    base: &Base,
    database: &DatabaseArgs,
    url: &SecretString,
    config: tidings_message_service::Config,
) -> Result<Part> {
    let environment = base.environment(Service::Message);
    let migrations = tidings_message_service::MIGRATIONS;
    let settings = database.service_settings(url, migrations.schema);
    let fitness = fitness(base, database, url, migrations)?;
    let media_dir = config.media_dir.clone();
    let service = tidings_message_service::build(&environment, config, fitness.pool.clone(), &settings)
        .with_context(|| format!("message cannot keep attachments in {}", media_dir.display()))?;
    let background = service.background();
    Ok(Part {
        stack: service.stack,
        media: Some((MEDIA_PREFIX, service.media)),
        health: service.health,
        background,
        fitness,
    })
}

/// The gateway to the others.
pub fn gateway(
    base: &Base,
    peers: &Peers,
    config: &tidings_gateway::Config,
    media: Option<axum::Router>,
) -> Result<Gateway> {
    let environment = base.environment(Service::Gateway);
    let upstreams = Upstreams {
        auth: peers.to(Service::Auth, &environment)?,
        user: peers.to(Service::User, &environment)?,
        chat: peers.to(Service::Chat, &environment)?,
        message: peers.to(Service::Message, &environment)?,
        media,
    };
    let gateway = Gateway::new(&environment, config, upstreams)?;
    gateway.start();
    Ok(gateway)
}

/// How a service connects, and what its database must be.
fn fitness(base: &Base, database: &DatabaseArgs, url: &SecretString, migrations: Migrations) -> Result<Fitness> {
    let settings: Settings = database.service_settings(url, migrations.schema);
    let pool = tidings_db::connect(&settings, &base.source).context("the database URL cannot be used")?;
    Ok(Fitness {
        pool,
        migrations,
        allow_loss: database.unsafe_allow_loss,
    })
}
