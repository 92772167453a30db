use sqlx::error::DatabaseError;

/// What went wrong in Postgres, by what a caller can do about it. The crate `rpc` turns each variant into a status.
///
/// `From<sqlx::Error>` classifies by SQLSTATE, see the table in `tests/it/errors.rs`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres cannot be reached, refuses us, or is starting or stopping. Before a commit: nothing has happened.
    #[error("postgres is unavailable")]
    Unavailable(#[source] sqlx::Error),

    /// No connection or memory is left. Nothing has happened; later it may.
    #[error("postgres is overloaded")]
    Overloaded(#[source] sqlx::Error),

    /// Another transaction was in the way: serialization failure, deadlock, or a lock not obtained in time. Nothing has happened.
    #[error("another transaction was in the way")]
    Conflict(#[source] sqlx::Error),

    /// A statement or a transaction took longer than it may. Nothing has happened.
    #[error("postgres took too long")]
    Timeout(#[source] sqlx::Error),

    /// The connection broke after `COMMIT` was sent: the transaction is either stored or not, and only a look-up of its
    /// `request_id` tells. Never retried here.
    #[error("the outcome of the commit is unknown")]
    CommitUnknown(#[source] sqlx::Error),

    /// The disk is full. Nothing has happened.
    #[error("the disk of postgres is full")]
    StorageFull(#[source] sqlx::Error),

    /// A named constraint refused the row. A service asks for the names it knows with [`constraint`](Self::constraint) and
    /// answers in its own words; any other is a bug.
    #[error("constraint {name} is violated")]
    Constraint {
        /// The constraint's name; for a unique index the index's.
        name: String,
        /// What Postgres said.
        #[source]
        source: sqlx::Error,
    },

    /// Anything that should not happen: bad SQL, a missing privilege, a value that does not fit.
    #[error("unexpected database error")]
    Bug(#[source] sqlx::Error),
}

impl Error {
    /// The name of the constraint that refused the row, if that is what happened.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether running the whole transaction again may succeed at once: serialization failures and deadlocks. A lock that was
    /// not obtained in time is not among them, as the caller has waited long enough.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict(source) if matches!(sqlstate(source).as_deref(), Some("40001" | "40P01")))
    }

    /// Whether it is certain that nothing was stored. False only where the outcome is unknown.
    #[must_use]
    pub fn is_certainly_not_applied(&self) -> bool {
        !matches!(self, Self::CommitUnknown(_))
    }

    /// The error of a `COMMIT`. Only what Postgres says about the transaction itself is a refusal; if the connection breaks, or
    /// the server ends it, the commit may have been written before.
    pub(crate) fn of_commit(error: sqlx::Error) -> Self {
        if !matches!(error, sqlx::Error::Database(_)) {
            return Self::CommitUnknown(error);
        }
        match Self::from(error) {
            Self::Unavailable(source) | Self::Timeout(source) => Self::CommitUnknown(source),
            refused => refused,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match class(database.as_ref()) {
                Class::Unavailable => Self::Unavailable(error),
                Class::Overloaded => Self::Overloaded(error),
                Class::Conflict => Self::Conflict(error),
                Class::Timeout => Self::Timeout(error),
                Class::StorageFull => Self::StorageFull(error),
                Class::Constraint(name) => Self::Constraint { name, source: error },
                Class::Bug => Self::Bug(error),
            },
            sqlx::Error::PoolTimedOut => Self::Overloaded(error),
            // `BeginFailed`: something other than a transaction came back, the connection is out of step.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
            _ => Self::Bug(error),
        }
    }
}

enum Class {
    Unavailable,
    Overloaded,
    Conflict,
    Timeout,
    StorageFull,
    Constraint(String),
    Bug,
}

fn class(error: &dyn DatabaseError) -> Class {
    let Some(code) = error.code() else {
        return Class::Bug;
    };
    match &*code {
        // unique, foreign key, check, exclusion; not-null (23502) is left out: it is a bug, as it has no name
        "23505" | "23503" | "23514" | "23P01" => Class::Constraint(error.constraint().unwrap_or_default().to_owned()),
        // serialization failure, deadlock, lock not available
        "40001" | "40P01" | "55P03" => Class::Conflict,
        // query canceled (statement time-out), idle in transaction, transaction time-out (Postgres 17)
        "57014" | "25P03" | "25P04" => Class::Timeout,
        // disk full
        "53100" => Class::StorageFull,
        // out of memory, too many connections, configuration limit
        "53200" | "53300" | "53400" => Class::Overloaded,
        // admin shutdown, crash shutdown, cannot connect now (starting up), idle session time-out
        "57P01" | "57P02" | "57P03" | "57P05" => Class::Unavailable,
        // no such database, dropped database, read-only: a standby that has not been promoted
        "3D000" | "57P04" | "25006" => Class::Unavailable,
        // connection exceptions, refused credentials, errors of the server's files
        code if code.starts_with("08") || code.starts_with("28") || code.starts_with("58") => Class::Unavailable,
        _ => Class::Bug,
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}
