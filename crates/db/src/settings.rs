use std::{str::FromStr as _, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::{Error, Schema};

/// How to connect to Postgres. Every wait has a limit.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `postgres://user:password@host:port/database`, with `sslmode`, `sslrootcert` and the rest as libpq names them.
    pub url: SecretString,
    /// Whose role to take on after connecting, where the URL logs in as somebody else. `None` keeps the role of the URL: for
    /// migrations, which own the schemas.
    pub schema: Option<Schema>,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// Connections in the pool. More than 16 a machine of two cores only adds contention (measured), so waiting is better done
    /// here than in Postgres.
    pub max_connections: u32,
    /// How long to wait for a connection, at most [`ACQUIRE_TIMEOUT_MAX`](Self::ACQUIRE_TIMEOUT_MAX).
    pub acquire_timeout: Duration,
    /// How long one statement may run. Below the deadline of a request, so that no statement outlives its caller for long.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How long a transaction may stand between two statements before Postgres ends it.
    pub idle_in_transaction_session_timeout: Duration,
    /// A connection that has rested longer than this is tried before it is handed out, so that a restart of Postgres costs no
    /// request its answer. One that was busy a moment ago is not: the round trip would be paid by every request.
    pub trusted_idle: Duration,
}

impl Settings {
    /// A request that waits longer than this for a connection had better be refused: its caller can retry elsewhere.
    pub const ACQUIRE_TIMEOUT_MAX: Duration = Duration::from_secs(1);

    /// How long Postgres may stay silent beyond its own time-outs before the connection is given up. It is for a server that is
    /// stopped or cut off, which cannot enforce any time-out itself.
    pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(5);

    /// The defaults of a service: 8 connections, 1 s to get one, 5 s a statement, 2 s for a lock, 5 s between statements, 1 s of trust.
    #[must_use]
    pub fn new(url: impl Into<SecretString>, schema: Schema, application_name: impl Into<String>) -> Self {
        Self {
            schema: Some(schema),
            ..Self::owner(url, application_name)
        }
    }

    /// The same for the owner of the schemas, who migrates: no change of role.
    #[must_use]
    pub fn owner(url: impl Into<SecretString>, application_name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: None,
            application_name: application_name.into(),
            max_connections: 8,
            acquire_timeout: Self::ACQUIRE_TIMEOUT_MAX,
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_session_timeout: Duration::from_secs(5),
            trusted_idle: Duration::from_secs(1),
        }
    }

    /// What sqlx connects with. All settings go into the start-up packet: they cost no round trip, and `RESET ALL` comes back to
    /// them. (PgBouncer refuses such options unless told otherwise; it must then run in session mode and pass them on.)
    pub(crate) fn options(&self, session: &[(&'static str, &'static str)]) -> Result<PgConnectOptions, Error> {
        let millis = |time: Duration| time.as_millis().to_string();
        let mut options = PgConnectOptions::from_str(self.url.expose_secret())?
            .application_name(&self.application_name)
            .options([("TimeZone", "UTC"), ("default_transaction_isolation", "read committed")])
            .options([
                ("statement_timeout", millis(self.statement_timeout)),
                ("lock_timeout", millis(self.lock_timeout)),
                (
                    "idle_in_transaction_session_timeout",
                    millis(self.idle_in_transaction_session_timeout),
                ),
            ]);
        if let Some(schema) = self.schema {
            options = options.options([("role", schema.role())]);
        }
        Ok(options.options(session.iter().copied()))
    }
}
