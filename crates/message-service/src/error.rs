use tidings_db::DatabaseCause;
use tidings_rpc::Problem;
use tonic::Status;

/// Why a call was not answered as asked: in the contract's own words, or because Postgres did not do what the call needs. What the
/// send path has to say is told apart in [`Outcome`](crate::send::Outcome).
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A reason of the contract.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// Postgres.
    #[error(transparent)]
    Database(#[from] tidings_db::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl DatabaseCause for Error {
    fn database_cause(&self) -> Option<&tidings_db::Error> {
        match self {
            Self::Database(error) => Some(error),
            Self::Problem(_) => None,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Problem(problem) => problem,
            Error::Database(error) => error.into(),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}
