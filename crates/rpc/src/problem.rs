//! The error contract: a reason, its code, its text, its details.

use std::{collections::HashMap, fmt, time::Duration};

use tidings_proto_common::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::Violations;

/// The `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "tidings";

/// An error as the contract has it (`reliability.md` 2.0): a reason, from which the code and the text follow, and details.
///
/// The text is fixed by the reason and holds nothing of the request. What varies goes into the details.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    reason: ErrorReason,
    metadata: Vec<(&'static str, String)>,
    violations: Violations,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem with this reason. Reasons that promise a `RetryInfo` begin with one of a second.
    #[must_use]
    pub fn new(reason: ErrorReason) -> Self {
        let retry_after = promises_retry(reason).then_some(Duration::from_secs(1));
        Self {
            reason,
            metadata: Vec::new(),
            violations: Violations::new(),
            retry_after,
        }
    }

    /// `NOT_FOUND`: there is no such thing, or the caller may not know of it. Always the same bytes.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorReason::NotFound)
    }

    /// `INVALID_ARGUMENT` for one field.
    #[must_use]
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = Violations::new();
        violations.add(field, description);
        Self::fields(violations)
    }

    /// `INVALID_ARGUMENT` for the fields with violations.
    #[must_use]
    pub fn fields(violations: Violations) -> Self {
        Self {
            violations,
            ..Self::new(ErrorReason::FieldInvalid)
        }
    }

    /// Adds a violation, for reasons that name a field.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.add(field, description);
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Says when a retry makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A defect of ours: logged here, once, with its causes; the caller learns nothing of them.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let mut chain = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            chain = format!("{chain}: {error}");
            cause = error.source();
        }
        tracing::error!(error = %chain, "a call failed by a defect");
        Self::new(ErrorReason::Internal)
    }

    /// What programs tell it apart by.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// The fields that are wrong, where fields are.
    #[must_use]
    pub fn violations(&self) -> &Violations {
        &self.violations
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(contract(self.reason).1)
    }
}

impl std::error::Error for Problem {}

impl From<Violations> for Problem {
    fn from(violations: Violations) -> Self {
        Self::fields(violations)
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let (code, text) = contract(problem.reason);
        let metadata: HashMap<String, String> = problem
            .metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let mut details = ErrorDetails::with_error_info(reason_name(problem.reason), DOMAIN, metadata);
        for violation in problem.violations {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        if let Some(wait) = problem.retry_after {
            details.set_retry_info(Some(wait));
        }
        Status::with_error_details(code, text, details)
    }
}

impl From<tidings_authn::Refusal> for Problem {
    fn from(refusal: tidings_authn::Refusal) -> Self {
        use tidings_authn::Refusal;
        Self::new(match refusal {
            Refusal::TokenMissing => ErrorReason::TokenMissing,
            Refusal::TokenInvalid => ErrorReason::TokenInvalid,
            Refusal::TokenExpired => ErrorReason::TokenExpired,
            Refusal::SessionRevoked => ErrorReason::LoginSessionRevoked,
            Refusal::Untrusted => ErrorReason::DependencyUnavailable,
            Refusal::ServiceNotPermitted => ErrorReason::PermissionMissing,
        })
    }
}

impl From<tidings_db::Error> for Problem {
    /// The one place where a database error becomes an answer, and so where it is logged.
    fn from(error: tidings_db::Error) -> Self {
        use tidings_db::Error;
        let reason = match &error {
            Error::Unavailable(_) => ErrorReason::DependencyUnavailable,
            Error::Overloaded(_) => ErrorReason::Overloaded,
            Error::Conflict(_) => ErrorReason::Conflict,
            Error::Timeout(_) => ErrorReason::DeadlineExceeded,
            Error::CommitUnknown(_) => ErrorReason::CommitUnknown,
            Error::StorageFull(_) => ErrorReason::StorageFull,
            Error::Constraint { .. } | Error::Bug(_) => return Self::internal(&error),
        };
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::warn!(error = %error, cause, "the database did not do what a call needed");
        Self::new(reason)
    }
}

impl Problem {
    /// What a peer answered, as our caller may see it: the peer's own reason and details where it gave them, else that the peer
    /// cannot be reached.
    #[must_use]
    pub fn from_peer(status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)));
        let Some(reason) = reason else {
            if status.code() == Code::DeadlineExceeded || status.code() == Code::Cancelled {
                return Self::new(ErrorReason::DeadlineExceeded);
            }
            tracing::warn!(code = ?status.code(), message = status.message(), "a peer cannot be reached");
            return Self::new(ErrorReason::DependencyUnavailable);
        };
        if matches!(contract(reason).0, Code::Internal | Code::Unimplemented) {
            return Self::new(ErrorReason::DependencyUnavailable);
        }
        let mut problem = Self::new(reason);
        if let Some(fields) = details.bad_request() {
            for violation in &fields.field_violations {
                problem
                    .violations
                    .add(violation.field.clone(), violation.description.clone());
            }
        }
        if let Some(wait) = details.retry_info().and_then(|info| info.retry_delay) {
            problem.retry_after = Some(wait);
        }
        problem
    }
}

/// The reason's name without the enum's prefix.
#[must_use]
pub fn reason_name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// The code and the text of a reason. A test compares the code with the comment in `errors.proto`.
#[must_use]
pub fn contract(reason: ErrorReason) -> (Code, &'static str) {
    use ErrorReason as R;
    match reason {
        R::TokenMissing => (Code::Unauthenticated, "the call carries no access token"),
        R::TokenInvalid => (Code::Unauthenticated, "the access token is not valid"),
        R::TokenExpired => (Code::Unauthenticated, "the access token has expired"),
        R::LoginSessionRevoked => (Code::Unauthenticated, "the login session has ended"),
        R::CredentialsInvalid => (Code::Unauthenticated, "the credentials are not valid"),
        R::StepUpRequired => (Code::Unauthenticated, "a recent proof of the password is needed"),
        R::RefreshTokenReused => (
            Code::Unauthenticated,
            "the refresh token was used before and its login session has ended",
        ),
        R::AccountSuspended => (Code::PermissionDenied, "the account is suspended"),
        R::PermissionMissing => (Code::PermissionDenied, "the caller may not do this"),
        R::NotAMember => (Code::PermissionDenied, "the caller is no member of the chat"),
        R::RankTooLow => (Code::PermissionDenied, "the caller's role is not high enough"),
        R::FieldInvalid => (Code::InvalidArgument, "one or more fields are not valid"),
        R::PageTokenInvalid => (Code::InvalidArgument, "the page token is not valid for this call"),
        R::RequestIdReused => (Code::AlreadyExists, "the request id was used for something else"),
        R::EtagMismatch => (Code::Aborted, "the resource has changed since it was read"),
        R::UsernameTaken => (Code::AlreadyExists, "the username is taken"),
        R::EmailTaken => (Code::AlreadyExists, "the e-mail address is taken"),
        R::AlreadyMember => (Code::AlreadyExists, "the user is a member already"),
        R::LastOwner => (
            Code::FailedPrecondition,
            "the last owner cannot leave, be removed or lose the role",
        ),
        R::ChatArchived => (Code::FailedPrecondition, "the chat is archived"),
        R::MemberMuted => (Code::FailedPrecondition, "the caller is muted in the chat"),
        R::SlowMode => (Code::ResourceExhausted, "the chat is in slow mode"),
        R::CursorExpired => (Code::OutOfRange, "the position is no longer kept"),
        R::CursorInvalid => (Code::InvalidArgument, "the position does not belong to this log"),
        R::SlowConsumer => (Code::ResourceExhausted, "the stream was not read fast enough"),
        R::Draining => (Code::Unavailable, "the server is shutting down"),
        R::OffsetConflict => (Code::Aborted, "other bytes stand at the offset"),
        R::ResponseFinished => (Code::FailedPrecondition, "the response is finished"),
        R::UploadExpired => (Code::FailedPrecondition, "the upload has expired"),
        R::ChecksumMismatch => (Code::FailedPrecondition, "the uploaded bytes are not those announced"),
        R::RateLimited => (Code::ResourceExhausted, "too many calls"),
        R::QuotaExceeded => (Code::ResourceExhausted, "a quota is reached"),
        R::Overloaded => (Code::ResourceExhausted, "the server takes no more work now"),
        R::MessageTooLarge => (Code::ResourceExhausted, "the request is too large"),
        R::FeatureDisabled => (Code::FailedPrecondition, "the feature is switched off"),
        R::DependencyUnavailable => (Code::Unavailable, "something that the call needs cannot be reached"),
        R::CommitUnknown => (Code::Unavailable, "whether the change was stored is not known"),
        R::StorageFull => (Code::Unavailable, "the storage is full"),
        R::NotFound => (Code::NotFound, "not found"),
        R::Conflict => (Code::Aborted, "the change lost a race and was not made"),
        R::KindUnsuitable => (Code::FailedPrecondition, "things of this kind cannot do this"),
        R::StateUnsuitable => (Code::FailedPrecondition, "the thing is in a state that forbids this"),
        R::NameTaken => (Code::AlreadyExists, "the name is taken"),
        R::AlreadyVerified => (Code::FailedPrecondition, "the e-mail address is verified already"),
        R::SecondFactorRequired => (Code::Unauthenticated, "a second factor is needed"),
        R::Blocked => (Code::PermissionDenied, "one of the two users has blocked the other"),
        R::LastAdmin => (Code::FailedPrecondition, "the last active admin stays"),
        R::EmailUnverified => (Code::FailedPrecondition, "the e-mail address is not verified yet"),
        R::DeadlineExceeded => (Code::DeadlineExceeded, "the call's time is over"),
        R::Cancelled => (Code::Cancelled, "the call was given up"),
        R::MethodUnknown => (Code::Unimplemented, "there is no such method here"),
        R::ProtocolUnsupported => (Code::Unimplemented, "the method is not called in this way"),
        R::Internal | R::Unspecified => (Code::Internal, "the server has a defect"),
    }
}

/// Whether the contract promises a `RetryInfo` with the reason.
#[must_use]
pub fn promises_retry(reason: ErrorReason) -> bool {
    use ErrorReason as R;
    matches!(
        reason,
        R::SlowMode
            | R::SlowConsumer
            | R::Draining
            | R::RateLimited
            | R::Overloaded
            | R::DependencyUnavailable
            | R::CommitUnknown
            | R::StorageFull
            | R::Conflict
    )
}

/// Whether the contract promises a `BadRequest` with the reason.
#[must_use]
pub fn promises_fields(reason: ErrorReason) -> bool {
    matches!(
        reason,
        ErrorReason::FieldInvalid | ErrorReason::PageTokenInvalid | ErrorReason::CursorInvalid
    )
}
