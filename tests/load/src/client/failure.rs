//! What a call failed with, as far as a program can tell it apart.

use std::time::Duration;

use tidings_proto_common::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A call that was refused, or was given up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{method}: {code:?}{}{}{}: {message}", self.reason_text(), self.fields_text(), self.attempts_text())]
pub struct Failure {
    /// The RPC.
    pub method: &'static str,
    /// The gRPC code.
    pub code: Code,
    /// The reason, where the server gave one that is known.
    pub reason: Option<ErrorReason>,
    /// The fields that the server named.
    pub fields: Vec<String>,
    /// When the server asks to be tried again.
    pub retry_after: Option<Duration>,
    /// The server's words, or the transport's.
    pub message: String,
    /// How often the call was tried.
    pub attempts: u32,
}

impl Failure {
    /// What a status says.
    #[must_use]
    pub fn of(method: &'static str, status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .filter(|info| info.domain == "tidings")
            .and_then(|info| ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)));
        let fields = details
            .bad_request()
            .map(|request| {
                request
                    .field_violations
                    .iter()
                    .map(|violation| violation.field.clone())
                    .collect()
            })
            .unwrap_or_default();
        Self {
            method,
            code: status.code(),
            reason,
            fields,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            message: status.message().to_owned(),
            attempts: 1,
        }
    }

    /// An answer that lacks what the contract promises.
    #[must_use]
    pub fn malformed(method: &'static str, what: &str) -> Self {
        Self {
            method,
            code: Code::DataLoss,
            reason: None,
            fields: Vec::new(),
            retry_after: None,
            message: format!("the answer has no {what}"),
            attempts: 1,
        }
    }

    /// Whether the same call can succeed later. What carries no reason comes from the transport, and every call made here may be
    /// repeated; what carries one is a matter of the reason.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.reason {
            Some(reason) => matches!(
                reason,
                ErrorReason::RateLimited
                    | ErrorReason::SlowMode
                    | ErrorReason::Overloaded
                    | ErrorReason::SlowConsumer
                    | ErrorReason::Draining
                    | ErrorReason::DependencyUnavailable
                    | ErrorReason::CommitUnknown
                    | ErrorReason::StorageFull
                    | ErrorReason::Conflict
                    | ErrorReason::DeadlineExceeded
                    | ErrorReason::Cancelled
            ),
            None => matches!(
                self.code,
                Code::Unavailable
                    | Code::Unknown
                    | Code::Internal
                    | Code::Cancelled
                    | Code::Aborted
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
            ),
        }
    }

    /// Whether another access token might help.
    #[must_use]
    pub fn is_about_the_token(&self) -> bool {
        self.code == Code::Unauthenticated && self.reason != Some(ErrorReason::CredentialsInvalid)
    }

    /// The code with the reason, as statistics name it.
    #[must_use]
    pub fn label(&self) -> String {
        match self.reason {
            Some(reason) => reason.as_str_name().trim_start_matches("ERROR_REASON_").to_owned(),
            None => format!("{:?} (no reason)", self.code),
        }
    }

    fn reason_text(&self) -> String {
        self.reason.map(|_| format!(" {}", self.label())).unwrap_or_default()
    }

    fn fields_text(&self) -> String {
        if self.fields.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.fields.join(", "))
        }
    }

    fn attempts_text(&self) -> String {
        if self.attempts > 1 {
            format!(" after {} attempts", self.attempts)
        } else {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use tidings_proto_common::v1::ErrorReason;
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::Failure;

    fn status(code: Code, reason: &str) -> Status {
        let mut details = ErrorDetails::with_error_info(reason, "tidings", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(250)));
        details.add_bad_request_violation("text", "must hold something visible");
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn a_status_is_read_with_its_details() {
        let failure = Failure::of("SendMessage", &status(Code::InvalidArgument, "FIELD_INVALID"));
        assert_eq!(failure.reason, Some(ErrorReason::FieldInvalid));
        assert_eq!(failure.fields, ["text"]);
        assert_eq!(failure.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(
            failure.to_string(),
            "SendMessage: InvalidArgument FIELD_INVALID (text): no"
        );
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        let transient = |status: &Status| Failure::of("SendMessage", status).is_transient();
        assert!(transient(&status(Code::ResourceExhausted, "RATE_LIMITED")));
        assert!(transient(&status(Code::Unavailable, "COMMIT_UNKNOWN")));
        assert!(transient(&status(Code::Aborted, "CONFLICT")));
        assert!(transient(&Status::unknown("transport error")));
        assert!(transient(&Status::deadline_exceeded("no answer in time")));
        assert!(!transient(&status(Code::Internal, "INTERNAL")));
        assert!(!transient(&status(Code::Aborted, "ETAG_MISMATCH")));
        assert!(!transient(&status(Code::ResourceExhausted, "QUOTA_EXCEEDED")));
        assert!(!transient(&Status::unauthenticated("no")));
    }

    #[test]
    fn a_wrong_password_is_not_mended_by_another_token() {
        assert!(Failure::of("SendMessage", &status(Code::Unauthenticated, "TOKEN_EXPIRED")).is_about_the_token());
        assert!(!Failure::of("Login", &status(Code::Unauthenticated, "CREDENTIALS_INVALID")).is_about_the_token());
    }
}
