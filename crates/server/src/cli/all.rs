//! `tidings all`.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, builder::BoolishValueParser};
use tidings_auth_service::Registration;
use tidings_ids::Source;
use tidings_rpc::Drain;

use super::{
    migrate,
    whole::{Given, Whole},
};
use crate::{
    database::Database,
    process,
    settings::{Assistant, GatewayDefaults},
};

const EXAMPLES: &str = "\
Example:
  tidings all --listen 0.0.0.0:7700 --data-dir /var/lib/tidings \\
      --public-url https://chat.example.org \\
      --database-url-file /run/secrets/database --suite-secret-file /run/secrets/suite \\
      --auth-secret-file /run/secrets/auth --smtp-url-file /run/secrets/smtp";

/// Nodes that start together migrate one after the other.
const MIGRATION_WAIT: Duration = Duration::from_secs(60);

/// Serve everything in one process, on a database that runs
///
/// Several such nodes may serve one database, with the same secrets and a data folder that they share.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct All {
    #[command(flatten)]
    whole: Whole,

    /// Bring the database up to date before serving; without it, `tidings migrate` does
    #[arg(
        long,
        env = "TIDINGS_MIGRATE",
        value_name = "BOOL",
        default_value = "true",
        action = clap::ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    migrate: bool,
}

impl All {
    /// Serves until it is asked to stop.
    pub async fn run(self) -> Result<()> {
        let whole = &self.whole;
        let _telemetry = tidings_telemetry::init(&whole.telemetry.settings("tidings"))?;
        let drain = Drain::new();
        process::drain_on_signal(drain.clone())?;
        let database = Database::given(whole.database.required_url()?)?;
        let attachments = whole.data.path().join("attachments");
        let given = Given {
            suite_secret: whole.suite_secret.required()?,
            auth_secret: whole.auth_secret.required()?,
            mail: whole.mail.required()?,
            registration: whole.registration.or(Registration::Verified),
            assistant: Assistant::None,
            gateway: GatewayDefaults::DEPLOYED,
            attachments: &attachments,
            other_nodes: true,
            database: &database,
        };
        let listener = whole.listen().await?;
        let listen = listener.local_addr()?;
        if self.migrate {
            // Dropped half-way, a migration is rolled back, and the next start makes it again.
            tokio::select! {
                applied = migrate::apply(&database, MIGRATION_WAIT) => applied?,
                () = drain.begun() => return Ok(()),
            }
        }
        tracing::info!(%listen, database = database.persistence, "starting");
        let running = whole.start(given, listen, drain, Source::system()).await?;
        running.serve(listener).await
    }
}
