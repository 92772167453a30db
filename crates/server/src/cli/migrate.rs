//! `tidings migrate`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tidings_db::migrate;

use crate::{database::Database, process, settings::DatabaseArgs, suite::services::migrations};

const EXAMPLES: &str = "\
Examples:
  tidings migrate --database-url-file /run/secrets/database
  tidings migrate --print-roles > roles.sql
      For a database whose roles somebody else makes";

/// Make roles, schemas and tables, or bring them up to date
///
/// It can be run at any time, by several at once, and while services of the version before are running. The user of the URL
/// will own the schemas: a superuser, or one with CREATEROLE and CREATE on the database.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Migrate {
    #[command(flatten)]
    database: DatabaseArgs,

    /// Only print the statements that make the roles and schemas
    #[arg(long)]
    print_roles: bool,

    /// How long to wait for another that migrates the same database
    #[arg(long, env = "TIDINGS_WAIT_SECS", value_name = "SECONDS", default_value_t = 60)]
    wait_secs: u64,
}

impl Migrate {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        if self.print_roles {
            print!("{}", migrate::ROLES);
            return Ok(());
        }
        let _telemetry = process::warnings_only("tidings-migrate")?;
        let database = Database::given(self.database.required_url()?)?;
        apply(&database, Duration::from_secs(self.wait_secs)).await?;
        let mut connection = database.connect().await?;
        for service in &migrations() {
            match migrate::check_version(&mut connection, service).await {
                Err(migrate::Error::SchemaNewer { schema, found, known }) => {
                    println!(
                        "schema {schema} is at {found}, newer than this version, which knows {known} and works on it"
                    );
                }
                fits => {
                    fits?;
                    let newest = service.migrator.iter().map(|migration| migration.version).max();
                    println!("schema {} is at {}", service.schema, newest.unwrap_or_default());
                }
            }
        }
        Ok(())
    }
}

/// Brings a database up to date.
pub async fn apply(database: &Database, wait: Duration) -> Result<()> {
    migrate::run(&database.owner_settings(), &migrations(), wait)
        .await
        .with_context(|| format!("cannot migrate the {}", database.persistence))
}
