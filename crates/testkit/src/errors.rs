use std::fmt::Debug;

use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::problem;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The reason of an error.
///
/// # Panics
///
/// When the status has none, which breaks the error contract.
#[must_use]
pub fn reason_of(status: &Status) -> ErrorReason {
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"));
    assert_eq!(info.domain, "tidings", "the domain of {status:?}");
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
        .unwrap_or_else(|| panic!("{} is no reason of the contract", info.reason))
}

/// Why a call was refused, with exactly the code and the details that the contract promises for the reason.
///
/// # Panics
///
/// When it was not refused, or not as the contract says.
#[must_use]
pub fn refusal<T: Debug>(outcome: Result<T, Status>) -> ErrorReason {
    let status = outcome.expect_err("refused");
    let reason = reason_of(&status);
    let details = status.get_error_details();
    assert_eq!(status.code(), problem::contract(reason).0, "{status:?}");
    assert_eq!(
        details.retry_info().is_some(),
        problem::promises_retry(reason),
        "{status:?}"
    );
    assert_eq!(
        details.bad_request().is_some(),
        problem::promises_fields(reason),
        "{status:?}"
    );
    reason
}

/// The fields that a call was refused for, in order, each once.
///
/// # Panics
///
/// When it was not refused for its fields.
#[must_use]
pub fn wrong_fields<T: Debug>(outcome: Result<T, Status>) -> Vec<String> {
    let status = outcome.expect_err("refused");
    assert_eq!(reason_of(&status), ErrorReason::FieldInvalid, "{status:?}");
    let violations = status.get_details_bad_request().expect("fields").field_violations;
    let mut fields: Vec<String> = violations.into_iter().map(|violation| violation.field).collect();
    fields.sort();
    fields.dedup();
    fields
}

/// Holds a status to the error contract (`reliability.md` 2.0): a documented code, one `ErrorInfo`, the details that the code
/// promises, and no defect.
///
/// # Panics
///
/// When it breaks the contract.
pub fn assert_contract(status: &Status) {
    let reason = reason_of(status);
    let details = status.get_error_details();
    match status.code() {
        Code::Ok | Code::Unknown | Code::DataLoss | Code::Internal => panic!("{status:?} is no documented answer"),
        Code::InvalidArgument => {
            let fields = details.bad_request().map_or(0, |fields| fields.field_violations.len());
            assert!(fields > 0, "{status:?} names no field");
        }
        Code::Unavailable => assert!(details.retry_info().is_some(), "{status:?} has no RetryInfo"),
        Code::ResourceExhausted => {
            let for_good = matches!(reason, ErrorReason::MessageTooLarge | ErrorReason::QuotaExceeded);
            assert!(
                for_good || details.retry_info().is_some(),
                "{status:?} has no RetryInfo"
            );
        }
        _ => {}
    }
}
