//! One service at work.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use http::{Request, Response};
use tidings_db::{
    Pool,
    migrate::{self, Migrations},
};
use tidings_rpc::{Beside, Drain, Health, Stack};
use tonic::body::Body;
use tower::Service;

/// Work that goes on until the process stops.
pub type Background = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long to wait before a database that did not answer is asked again.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);

/// What a service's own port serves.
#[derive(Clone)]
pub enum Port {
    /// Its RPCs.
    Rpcs(Stack),
    /// Its RPCs, and plain HTTP beside them.
    RpcsAndMedia(Beside),
}

/// A service of this process, made but not yet at work.
pub struct Part {
    /// Answers calls, over a socket or within the process.
    pub stack: Stack,
    /// What it serves over plain HTTP beside its RPCs, and below which path.
    pub media: Option<(&'static str, axum::Router)>,
    pub(super) health: Health,
    pub(super) background: Vec<Background>,
    pub(super) fitness: Fitness,
}

/// What must be true of a service's database before it serves.
#[derive(Debug, Clone)]
pub struct Fitness {
    /// The service's own pool, with its role.
    pub pool: Pool,
    /// What the schema must have.
    pub migrations: Migrations,
    /// Whether a Postgres that loses what it acknowledged will do.
    pub allow_loss: bool,
}

impl Part {
    /// What its own port serves, where it has one.
    pub fn port(&self) -> Port {
        match &self.media {
            Some((prefix, routes)) => Port::RpcsAndMedia(Beside::new(self.stack.clone(), prefix, routes.clone())),
            None => Port::Rpcs(self.stack.clone()),
        }
    }

    /// Whether its database is fit for it now.
    ///
    /// # Errors
    ///
    /// What it is not.
    pub async fn fit(&self) -> Result<()> {
        Ok(self.fitness.check().await?)
    }

    /// Sets it to work. Returns when it serves.
    ///
    /// # Errors
    ///
    /// When its database is not fit for it. One that does not answer is waited for, until the process stops.
    pub async fn start(self, drain: &Drain) -> Result<()> {
        let service = self.stack.service();
        let fit = tokio::select! {
            fit = self.fitness.established() => fit,
            () = drain.begun() => return Ok(()),
        };
        fit.with_context(|| format!("{service} cannot serve"))?;
        for background in self.background {
            drain.spawn(background);
        }
        self.health.serving().await;
        let (health, stopping) = (self.health, drain.clone());
        drain.spawn(async move {
            stopping.begun().await;
            health.not_serving().await;
        });
        tracing::info!(%service, "serving");
        Ok(())
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Part {{ {} }}", self.stack.service())
    }
}

impl Service<Request<Body>> for Port {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        // Both take whatever comes, and say within a call what is too much.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self {
            Self::Rpcs(stack) => stack.call(request),
            Self::RpcsAndMedia(beside) => beside.call(request),
        }
    }
}

impl Fitness {
    /// Asks until the database answers. That it cannot be reached, or is starting, passes by itself; all else does not.
    async fn established(&self) -> Result<()> {
        let mut delay = RETRY_DELAY_MIN;
        loop {
            match self.check().await {
                Err(Unfit::Schema(migrate::Error::Database(error)) | Unfit::Database(error)) if passes(&error) => {
                    tracing::warn!(schema = %self.migrations.schema, %error, "the database does not answer: trying again");
                }
                outcome => return outcome.map_err(anyhow::Error::from),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
    }

    async fn check(&self) -> Result<(), Unfit> {
        match migrate::check_version(&self.pool, &self.migrations).await {
            // A binary that was rolled back works on the schema of the next version.
            Err(error @ migrate::Error::SchemaNewer { .. }) => tracing::warn!(%error),
            outcome => outcome?,
        }
        let durability = tidings_db::durability(&self.pool).await?;
        if durability.is_durable() {
            return Ok(());
        }
        let settings = durability.off().join(", ");
        if self.allow_loss {
            tracing::warn!(settings, "postgres is set to lose what it acknowledged");
            return Ok(());
        }
        Err(Unfit::Loses { settings })
    }
}

/// Why a service cannot work on its database.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Schema(#[from] migrate::Error),
    #[error(transparent)]
    Database(#[from] tidings_db::Error),
    #[error(
        "postgres is set to lose what it acknowledged ({settings}): switch that on, or accept it with --unsafe-allow-loss"
    )]
    Loses { settings: String },
}

fn passes(error: &tidings_db::Error) -> bool {
    use tidings_db::Error as E;
    matches!(error, E::Unavailable(_) | E::Overloaded(_) | E::Timeout(_))
}
