use tidings_db::DatabaseCause;
use tidings_proto_common::v1::ErrorReason;
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
    /// The login session has ended.
    #[error("the login session has ended")]
    LoginSessionEnded,
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
            Error::UsernameTaken => R::UsernameTaken,
            Error::EmailTaken => R::EmailTaken,
            Error::RegistrationClosed => R::FeatureDisabled,
            Error::RequestIdReused => R::RequestIdReused,
            Error::CredentialsInvalid => R::CredentialsInvalid,
            Error::AccountSuspended => R::AccountSuspended,
            Error::EmailUnverified => R::EmailUnverified,
            Error::RefreshTokenReused => R::RefreshTokenReused,
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
