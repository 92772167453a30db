use std::time::Duration;

use tidings_db::DatabaseCause;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Problem, Violations};
use tonic::Status;

use crate::permissions;

/// When to ask again for a change that takes its time: what paces it moves on by the minute.
const ON_ITS_WAY_RETRY: Duration = Duration::from_secs(60);

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or the caller may not know of it.
    #[error("not found")]
    NotFound,
    /// Fields are wrong.
    #[error("fields are not valid")]
    Fields(Violations),
    /// The username belongs to somebody else, or is reserved.
    #[error("the username is taken")]
    UsernameTaken,
    /// The address belongs to somebody else.
    #[error("the address is taken")]
    EmailTaken,
    /// The role's name or the external id is another's.
    #[error("the name is taken")]
    NameTaken,
    /// The `request_id` or `user_id` was used for something else.
    #[error("the request id was used for something else")]
    RequestIdReused,
    /// The caller lacks a permission.
    #[error("the caller lacks a permission")]
    PermissionMissing(PermissionNumber),
    /// The caller's account may no longer act, though the token has not been refused yet.
    #[error("the caller's account is not active")]
    CallerInactive,
    /// The resource is not at the revision that the change is based on.
    #[error("the resource has changed")]
    EtagMismatch,
    /// A role that is there from the start does not change.
    #[error("the role is built in")]
    BuiltIn,
    /// The caller's rank is below the user's or the role's.
    #[error("the caller's rank is too low")]
    RankTooLow,
    /// Nobody active would be an admin any more.
    #[error("it is the last admin")]
    LastAdmin,
    /// The account was discarded, activated or deleted.
    #[error("the state forbids it")]
    StateUnsuitable,
    /// The change is stored, but has not reached everybody yet whom it is about.
    #[error("the change is on its way")]
    OnItsWay,
    /// One may not have more of these.
    #[error("the quota {quota} is reached")]
    QuotaExceeded {
        /// What there are too many of.
        quota: &'static str,
        /// How many one may have.
        limit: u32,
    },
    /// The feed's entries after that number are no longer kept.
    #[error("the position is no longer kept")]
    CursorExpired {
        /// The first number that is kept.
        first: i64,
    },
    /// The feed has not come to that number.
    #[error("the position is beyond the head")]
    CursorInvalid,
    /// The process stops.
    #[error("draining")]
    Draining,
    /// Something that the middleware's contract has a word for.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] tidings_db::Error),
}

/// The number of a permission, which a newer version may have given out.
pub type PermissionNumber = i32;

impl Error {
    /// Fails when anything is wrong.
    pub(crate) fn if_any(violations: Violations) -> Result<(), Self> {
        if violations.is_empty() {
            Ok(())
        } else {
            Err(Self::Fields(violations))
        }
    }

    /// What a constraint that refused a row means to the caller.
    pub(crate) fn of_constraint(error: tidings_db::Error) -> Self {
        match error.constraint() {
            Some("users_username_key") => Self::UsernameTaken,
            Some("users_email_key") => Self::EmailTaken,
            Some("users_external_id_key" | "roles_name_key") => Self::NameTaken,
            _ => Self::Database(error),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::of_constraint(error.into())
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
        match error {
            Error::NotFound => Self::not_found(),
            Error::Fields(violations) => Self::fields(violations),
            Error::UsernameTaken => Self::new(ErrorReason::UsernameTaken),
            Error::EmailTaken => Self::new(ErrorReason::EmailTaken),
            Error::NameTaken => Self::new(ErrorReason::NameTaken),
            Error::RequestIdReused => Self::new(ErrorReason::RequestIdReused),
            Error::PermissionMissing(number) => {
                Self::new(ErrorReason::PermissionMissing).with("permission", permissions::name(number))
            }
            Error::CallerInactive => Self::new(ErrorReason::LoginSessionRevoked),
            Error::EtagMismatch => Self::new(ErrorReason::EtagMismatch),
            Error::BuiltIn => Self::new(ErrorReason::KindUnsuitable),
            Error::StateUnsuitable => Self::new(ErrorReason::StateUnsuitable),
            Error::RankTooLow => Self::new(ErrorReason::RankTooLow),
            Error::LastAdmin => Self::new(ErrorReason::LastAdmin),
            Error::OnItsWay => Self::new(ErrorReason::DependencyUnavailable).retry_after(ON_ITS_WAY_RETRY),
            Error::QuotaExceeded { quota, limit } => Self::new(ErrorReason::QuotaExceeded)
                .with("quota", quota)
                .with("limit", limit),
            Error::CursorExpired { first } => Self::new(ErrorReason::CursorExpired).with("first_position", first),
            Error::CursorInvalid => {
                Self::new(ErrorReason::CursorInvalid).with_field("after_number", "must not be beyond the feed's head")
            }
            Error::Draining => Self::new(ErrorReason::Draining),
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
