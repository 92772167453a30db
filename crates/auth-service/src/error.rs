use std::time::Duration;

use tidings_db::DatabaseCause;
use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_rpc::{Problem, Violations};

/// Why a call of this service fails, by what its caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are wrong.
    #[error("fields are not valid")]
    Fields(Violations),
    /// The username belongs to somebody else, or is reserved.
    #[error("the username is taken")]
    UsernameTaken,
    /// The address belongs to somebody else.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// Nobody may register.
    #[error("registration is closed")]
    RegistrationClosed,
    /// The `request_id` was used for something else.
    #[error("the request id was used for something else")]
    RequestIdReused,
    /// What was shown as a proof proves nothing. One answer for all reasons.
    #[error("the credentials are not valid")]
    CredentialsInvalid,
    /// The account is suspended; its password was proven.
    #[error("the account is suspended")]
    AccountSuspended,
    /// The account waits for its address to be verified; its password was proven.
    #[error("the e-mail address is not verified")]
    EmailUnverified,
    /// A refresh token was used twice, and its login session has been ended for it.
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// The password is proven, and a code is asked for besides.
    #[error("a second factor is asked for")]
    SecondFactorRequired,
    /// The call wants a proof besides the access token.
    #[error("a proof is asked for")]
    StepUpRequired,
    /// The login session has ended.
    #[error("the login session has ended")]
    LoginSessionEnded,
    /// There is no such thing, or none that the caller may know of.
    #[error("there is no such thing")]
    NotFound,
    /// The caller lacks a permission.
    #[error("the caller lacks the permission {0:?}")]
    PermissionMissing(Permission),
    /// The caller stands below the other user.
    #[error("the caller's rank is too low")]
    RankTooLow,
    /// Nobody would be an admin any more.
    #[error("the last admin remains")]
    LastAdmin,
    /// The thing, or what the caller proved themselves by, is of a kind that cannot do this.
    #[error("the kind forbids it")]
    KindUnsuitable,
    /// One may not have more of these.
    #[error("the quota {quota} is reached")]
    QuotaExceeded {
        /// What there are too many of.
        quota: &'static str,
        /// How many there may be.
        limit: u32,
    },
    /// The deployment does not offer it.
    #[error("the deployment does not offer it")]
    FeatureDisabled,
    /// The thing is not as the caller knows it.
    #[error("the thing has changed")]
    EtagMismatch,
    /// The thing is in a state that forbids this.
    #[error("the state forbids it")]
    StateUnsuitable,
    /// Too many attempts have failed; the next is looked at after so long.
    #[error("too many attempts")]
    RateLimited(Duration),
    /// The change lost a race and was not made.
    #[error("the change lost a race")]
    Conflict,
    /// More passwords wait to be hashed than may.
    #[error("too many passwords wait to be hashed")]
    Overloaded,
    /// The call's time is over.
    #[error("the call's time is over")]
    DeadlineExceeded,
    /// The user service, or what is needed of our own, cannot be had now.
    #[error("{0} cannot be reached")]
    Unavailable(&'static str),
    /// The feed no longer has the entry after this one.
    #[error("the feed begins with number {first}")]
    CursorExpired {
        /// The oldest entry that it has.
        first: i64,
    },
    /// The feed has no such entry yet.
    #[error("the feed is not that long")]
    CursorInvalid,
    /// Postgres.
    #[error(transparent)]
    Database(#[from] tidings_db::Error),
    /// A defect of ours.
    #[error("{0}")]
    Internal(String),
    /// A test stopped the call as if the process had died.
    #[cfg(feature = "testing")]
    #[error("a test stopped the call here")]
    Crashed,
}

impl Error {
    /// The name of the constraint that refused a row, if that is what happened.
    pub(crate) fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(error) => error.constraint(),
            _ => None,
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
        use ErrorReason as R;
        let reason = match error {
            Error::Fields(violations) => return Self::fields(violations),
            Error::Database(error) => return error.into(),
            Error::CursorExpired { first } => return Self::new(R::CursorExpired).with("first_position", first),
            Error::CursorInvalid => {
                return Self::new(R::CursorInvalid)
                    .with_field("after_number", "must not be beyond the head of the feed");
            }
            Error::Internal(_) => return Self::internal(&error),
            Error::RateLimited(wait) => return Self::new(R::RateLimited).retry_after(wait),
            Error::PermissionMissing(permission) => {
                let name = permission.as_str_name().trim_start_matches("PERMISSION_");
                return Self::new(R::PermissionMissing).with("permission", name);
            }
            Error::QuotaExceeded { quota, limit } => {
                return Self::new(R::QuotaExceeded).with("quota", quota).with("limit", limit);
            }
            Error::LastAdmin => R::LastAdmin,
            Error::KindUnsuitable => R::KindUnsuitable,
            Error::FeatureDisabled => R::FeatureDisabled,
            Error::NotFound => R::NotFound,
            Error::RankTooLow => R::RankTooLow,
            Error::EtagMismatch => R::EtagMismatch,
            Error::StateUnsuitable => R::StateUnsuitable,
            Error::UsernameTaken => R::UsernameTaken,
            Error::EmailTaken => R::EmailTaken,
            Error::RegistrationClosed => R::FeatureDisabled,
            Error::RequestIdReused => R::RequestIdReused,
            Error::CredentialsInvalid => R::CredentialsInvalid,
            Error::AccountSuspended => R::AccountSuspended,
            Error::EmailUnverified => R::EmailUnverified,
            Error::RefreshTokenReused => R::RefreshTokenReused,
            Error::SecondFactorRequired => R::SecondFactorRequired,
            Error::StepUpRequired => R::StepUpRequired,
            Error::LoginSessionEnded => R::LoginSessionRevoked,
            Error::Conflict => R::Conflict,
            Error::Overloaded => R::Overloaded,
            Error::DeadlineExceeded => R::DeadlineExceeded,
            Error::Unavailable(_) => R::DependencyUnavailable,
            #[cfg(feature = "testing")]
            Error::Crashed => R::DependencyUnavailable,
        };
        Self::new(reason)
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}
