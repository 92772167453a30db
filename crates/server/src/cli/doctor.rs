//! `tidings doctor`.

use std::fmt;

use anyhow::{Result, bail};
use clap::Args;
use sqlx::PgConnection;
use tidings_db::{Schema, migrate};
use tidings_ids::Source;
use time::{Duration, OffsetDateTime};

use crate::{
    database::Database,
    postgres::binaries::MAJOR_MIN,
    process::chain,
    settings::{
        AuthSecretArgs, DataArgs, DatabaseArgs, PostgresArgs, PublicListenArgs, PublicTlsArgs, SuiteSecretArgs,
    },
    suite::services::migrations,
};

const EXAMPLES: &str = "\
Examples:
  tidings doctor
      The private database of the data folder, whether its suite runs or not
  tidings doctor --database-url-file /run/secrets/database --suite-secret-file /run/secrets/suite";

/// Clocks that differ by more make access tokens, which live ten minutes, worthless too early or too late.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::seconds(5);

/// Check settings, database, clock and ports, and say what to do
///
/// It takes the settings of the process that it is to check, changes nothing, and fails if anything needs doing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    postgres: PostgresArgs,
    #[command(flatten)]
    listen: PublicListenArgs,
    #[command(flatten)]
    public_tls: PublicTlsArgs,
    #[command(flatten)]
    suite_secret: SuiteSecretArgs,
    #[command(flatten)]
    auth_secret: AuthSecretArgs,
}

/// What was looked at, and what was found.
struct Finding {
    what: &'static str,
    state: State,
}

enum State {
    Good(String),
    /// What need not be done, and is good to know.
    Note(String),
    /// What is wrong, and what to do.
    Bad(String),
}

impl Finding {
    fn new(what: &'static str, found: Result<String, impl fmt::Display>) -> Self {
        let state = match found {
            Ok(text) => State::Good(text),
            Err(text) => State::Bad(text.to_string()),
        };
        Self { what, state }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, text) = match &self.state {
            State::Good(text) => ("ok  ", text),
            State::Note(text) => ("note", text),
            State::Bad(text) => ("BAD ", text),
        };
        write!(f, "{mark} {:<16} {text}", self.what)
    }
}

impl Doctor {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        let mut findings = vec![
            Finding::new("suite secret", secret(self.suite_secret.check(), "dev makes its own")),
            Finding::new("auth secret", secret(self.auth_secret.check(), "dev makes its own")),
            Finding::new("port", self.port().await),
        ];
        if let Some(tls) = self.public_tls.load(&Source::system()).transpose() {
            let usable = tls
                .map(|_| "can be used".to_owned())
                .map_err(|error| chain(error.as_ref()));
            findings.push(Finding::new("certificate", usable));
        }
        match self.look_at_database(&mut findings).await {
            Ok(()) => {}
            Err(error) => findings.push(Finding::new("database", Err::<String, _>(advised(&error)))),
        }
        for finding in &findings {
            println!("{finding}");
        }
        let bad = findings
            .iter()
            .filter(|finding| matches!(finding.state, State::Bad(_)))
            .count();
        if bad > 0 {
            bail!("{bad} of {} need doing", findings.len());
        }
        Ok(())
    }

    async fn port(&self) -> Result<String, String> {
        let address = self.listen.listen;
        match tokio::net::TcpListener::bind(address).await {
            Ok(_) => Ok(format!("{address} is free")),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                if self.public_tls.is_set() {
                    // Whose certificate it shows proves nothing here: it may be one that this machine does not trust.
                    Ok(format!("{address} is taken, and not looked into through TLS"))
                } else if answers(address).await {
                    Ok(format!("{address} is taken by a suite that answers"))
                } else {
                    Err(format!(
                        "{address} is taken by something else: free it, or choose another with --listen"
                    ))
                }
            }
            Err(error) => Err(format!(
                "{address} cannot be listened on ({error}): choose another with --listen"
            )),
        }
    }

    async fn look_at_database(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let data = self.data.path();
        if self.database.url()?.is_none() && !data.join("postgres").exists() {
            findings.push(Finding::new(
                "database",
                Err::<String, _>(format!(
                    "none is set, and {} holds none: set DATABASE_URL, or let `tidings dev` make one",
                    data.display()
                )),
            ));
            return Ok(());
        }
        let (database, _held) = Database::beside(&self.database, &data, self.postgres.options()).await?;
        let examined = self.examine(&database, findings).await;
        database.stop().await;
        examined
    }

    async fn examine(&self, database: &Database, findings: &mut Vec<Finding>) -> Result<()> {
        let mut connection = database.connect().await?;
        findings.push(Finding::new("database", Ok::<_, String>(database.persistence.clone())));
        findings.push(Finding::new("version", version(&mut connection).await));
        findings.push(Finding::new(
            "durability",
            durability(&mut connection, self.database.unsafe_allow_loss).await,
        ));
        findings.push(Finding::new("clock", clock(&mut connection, &Source::system()).await));
        for service in &migrations() {
            let schema = service.schema;
            findings.push(Finding::new(role_of(schema), role(&mut connection, schema).await));
            let fits = migrate::check_version(&mut connection, service).await;
            findings.push(Finding {
                what: schema_of(schema),
                state: fit(fits),
            });
        }
        Ok(())
    }
}

fn secret(given: Result<bool>, otherwise: &str) -> Result<String, String> {
    match given {
        Ok(true) => Ok("is set".to_owned()),
        Ok(false) => Ok(format!("is not set ({otherwise}; other commands need it)")),
        Err(error) => Err(chain(error.as_ref())),
    }
}

fn fit(fits: Result<(), migrate::Error>) -> State {
    match fits {
        Ok(()) => State::Good("is what this version needs".to_owned()),
        Err(migrate::Error::SchemaNewer { found, known, .. }) => State::Note(format!(
            "is newer than this version (at {found}, known {known}), which works on it: during an upgrade or after a rollback"
        )),
        Err(error) => State::Bad(chain(&error)),
    }
}

/// What is wrong with the database, and what to do where that can be told.
fn advised(error: &anyhow::Error) -> String {
    let text = chain(error.as_ref());
    let cause = error.chain().find_map(|cause| cause.downcast_ref());
    let code = cause
        .and_then(sqlx::Error::as_database_error)
        .and_then(sqlx::error::DatabaseError::code);
    let advice = match (cause, code.as_deref()) {
        (Some(sqlx::Error::Io(_)), _) => "is it running, and is the address right?",
        (_, Some(code)) if code.starts_with("28") => "are user and password right, and may the user come from here?",
        (_, Some("3D000")) => "is the name right? `create database` makes one",
        _ => return text,
    };
    format!("{text}: {advice}")
}

/// Whether a suite's gateway listens there.
async fn answers(address: std::net::SocketAddr) -> bool {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let limit = std::time::Duration::from_secs(2);
    let Ok(endpoint) = tonic::transport::Endpoint::from_shared(format!("http://{address}")) else {
        return false;
    };
    let Ok(channel) = endpoint.connect_timeout(limit).timeout(limit).connect().await else {
        return false;
    };
    let mut client = HealthClient::new(channel);
    client.check(HealthCheckRequest::default()).await.is_ok()
}

async fn version(connection: &mut PgConnection) -> Result<String, String> {
    let number: i32 = ask(connection, "select current_setting('server_version_num')::int").await?;
    let major = number / 10_000;
    if u32::try_from(major).is_ok_and(|major| major >= MAJOR_MIN) {
        Ok(format!("PostgreSQL {major}.{}", number % 10_000))
    } else {
        Err(format!("PostgreSQL {major} is too old: {MAJOR_MIN} or newer is needed"))
    }
}

async fn durability(connection: &mut PgConnection, allow_loss: bool) -> Result<String, String> {
    let durability = tidings_db::durability(connection)
        .await
        .map_err(|error| chain(&error))?;
    let off = durability.off().join(", ");
    match (durability.is_durable(), allow_loss) {
        (true, _) => Ok("what is acknowledged survives a crash".to_owned()),
        (false, true) => Ok(format!("{off} off, which --unsafe-allow-loss accepts")),
        (false, false) => Err(format!(
            "{off} off: switch it on in postgresql.conf, or messages are lost in a crash"
        )),
    }
}

async fn clock(connection: &mut PgConnection, source: &Source) -> Result<String, String> {
    let before = source.now();
    let theirs: OffsetDateTime = ask(connection, "select clock_timestamp()").await?;
    let took: Duration = source.now() - before;
    let ours: OffsetDateTime = before + took / 2;
    let difference: Duration = (theirs - ours).abs();
    if difference <= CLOCK_DIFFERENCE_MAX {
        Ok(format!(
            "differs from the database's by {} ms",
            difference.whole_milliseconds()
        ))
    } else {
        Err(format!(
            "differs from the database's by {} s: have both keep time by NTP",
            difference.whole_seconds()
        ))
    }
}

async fn role(connection: &mut PgConnection, schema: Schema) -> Result<String, String> {
    let role = schema.role();
    let can: Option<bool> = sqlx::query_scalar(
        "select pg_has_role(current_user, oid, 'member') or current_user = rolname from pg_roles where rolname = $1",
    )
    .bind(role)
    .fetch_optional(connection)
    .await
    .map_err(|error| chain(&error))?;
    match can {
        Some(true) => Ok(format!("{role} is there")),
        Some(false) => Err(format!(
            "{role} is there, but this URL's user may not take it on: `grant {role} to <user>`, or give the service a URL of its own"
        )),
        None => Err(format!("{role} is missing: run `tidings migrate`")),
    }
}

async fn ask<T>(connection: &mut PgConnection, statement: &'static str) -> Result<T, String>
where
    T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
{
    sqlx::query_scalar(statement)
        .fetch_one(connection)
        .await
        .map_err(|error| chain(&error))
}

const fn role_of(schema: Schema) -> &'static str {
    match schema {
        Schema::Auth => "role of auth",
        Schema::Users => "role of user",
        Schema::Chats => "role of chat",
        Schema::Messages => "role of message",
    }
}

const fn schema_of(schema: Schema) -> &'static str {
    match schema {
        Schema::Auth => "schema auth",
        Schema::Users => "schema users",
        Schema::Chats => "schema chats",
        Schema::Messages => "schema messages",
    }
}
