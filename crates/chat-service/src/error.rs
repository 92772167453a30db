use tidings_db::DatabaseCause;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::Problem;
use tonic::Status;

use crate::call::Done;

/// Why a call was not answered as asked. Each variant is a reason of the error contract.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is none, or the caller may not know of it.
    #[error("not found")]
    NotFound,
    /// The caller is a member but may not do this.
    #[error("the caller may not do this")]
    PermissionMissing,
    /// The caller's role is not above the one that is given or taken.
    #[error("the caller's role is not high enough")]
    RankTooLow,
    /// One of the two users blocks the other.
    #[error("one of the two users blocks the other")]
    Blocked,
    /// The last owner would be gone.
    #[error("the last owner cannot go")]
    LastOwner,
    /// The user is a member with another role.
    #[error("the user is a member with another role")]
    AlreadyMember,
    /// The chat is of a kind that cannot do this.
    #[error("a chat of this kind cannot do this")]
    KindUnsuitable,
    /// The caller saw an older state.
    #[error("the etag is not the current one")]
    EtagMismatch,
    /// Another request had the same `request_id`.
    #[error("the request id was used for something else")]
    RequestIdReused,
    /// The call was made before and did this. Only rolls the second transaction back; [`Keeper::delivered`] makes it an answer.
    ///
    /// [`Keeper::delivered`]: crate::keeper::Keeper::delivered
    #[error("the call was made before")]
    Repeated(Done),
    /// There are as many as there may be.
    #[error("the quota {quota} of {limit} is reached")]
    QuotaExceeded { quota: &'static str, limit: u32 },
    /// The deployment has no default assistant.
    #[error("no assistant was named and there is no default")]
    NoAssistant,
    /// What the call did or wants to tell is stored, but the message service does not decide by it yet; or what became of it
    /// cannot be read. The caller repeats the call.
    #[error("the change is stored but not delivered")]
    Undelivered,
    /// What the contract calls it already: violations of fields, and what a peer answered.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// Postgres did not do what the call needs.
    #[error(transparent)]
    Database(#[from] tidings_db::Error),
}

impl Error {
    /// The same error once the effect is stored. The contract promises with some codes that nothing was done, which would be wrong
    /// by then; and the caller can only repeat the call.
    pub(crate) fn after_effect(self) -> Self {
        match self {
            Self::Problem(_) | Self::Database(_) => {
                tracing::warn!(error = %self, "a change is stored, but its answer could not be made");
                Self::Undelivered
            }
            other => other,
        }
    }
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
            _ => None,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let reason = match error {
            Error::NotFound => return Self::not_found(),
            Error::QuotaExceeded { quota, limit } => {
                return Self::new(ErrorReason::QuotaExceeded)
                    .with("quota", quota)
                    .with("limit", limit);
            }
            Error::Problem(problem) => return problem,
            Error::Database(error) => return error.into(),
            Error::PermissionMissing => ErrorReason::PermissionMissing,
            Error::RankTooLow => ErrorReason::RankTooLow,
            Error::Blocked => ErrorReason::Blocked,
            Error::LastOwner => ErrorReason::LastOwner,
            Error::AlreadyMember => ErrorReason::AlreadyMember,
            Error::KindUnsuitable => ErrorReason::KindUnsuitable,
            Error::EtagMismatch => ErrorReason::EtagMismatch,
            Error::RequestIdReused => ErrorReason::RequestIdReused,
            // It never leaves a transaction; and if it did, trying again would find what was done.
            Error::Repeated(_) => ErrorReason::Conflict,
            Error::NoAssistant => ErrorReason::FeatureDisabled,
            Error::Undelivered => ErrorReason::DependencyUnavailable,
        };
        Self::new(reason)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}
