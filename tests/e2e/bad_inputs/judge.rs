use std::panic::{AssertUnwindSafe, catch_unwind};

use prost_reflect::{DynamicMessage, SerializeOptions};
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::{Method, assert_contract, reason_of};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::{documented::Documented, fields::Field, values::Wants};

/// What came back.
pub type Outcome = Result<DynamicMessage, Status>;

/// What is wrong with the answer to a spoilt field. `absent` is the first answer about something that is not there: all others
/// must be the same.
pub fn judge(
    documented: &Documented,
    method: &Method,
    field: &Field,
    wants: Wants,
    outcome: &Outcome,
    absent: &mut Option<Status>,
) -> Option<String> {
    let status = match (wants, outcome) {
        (Wants::Accepted | Wants::Shown | Wants::Either, Ok(_)) => return None,
        (Wants::Accepted | Wants::Shown, Err(status)) => return Some(format!("must be OK, got {}", told(status))),
        (wants, Ok(message)) => return Some(format!("must be refused ({wants:?}), got OK {}", shown(message))),
        (_, Err(status)) => status,
    };
    if let Some(broken) = breach(documented, method, status) {
        return Some(broken);
    }
    let reason = reason_of(status);
    let wrong = |must: &str| Some(format!("must be {must}, got {}", told(status)));
    match wants {
        Wants::Invalid | Wants::InvalidAndKept if reason != ErrorReason::FieldInvalid => wrong("FIELD_INVALID"),
        Wants::InvalidPageToken if reason != ErrorReason::PageTokenInvalid => wrong("PAGE_TOKEN_INVALID"),
        Wants::Invalid | Wants::InvalidAndKept | Wants::InvalidPageToken if !names(status, &field.path()) => {
            wrong(&format!("about {}", field.path()))
        }
        Wants::Absent if reason != ErrorReason::NotFound => wrong("NOT_FOUND"),
        Wants::Absent => {
            let first = absent.get_or_insert_with(|| status.clone());
            let alike = first.message() == status.message() && first.details() == status.details();
            if alike {
                None
            } else {
                wrong(&format!("like {}", told(first)))
            }
        }
        Wants::Taken if !matches!(reason, ErrorReason::UsernameTaken | ErrorReason::NameTaken) => {
            wrong("a name that is taken")
        }
        Wants::Refused(reasons) if !reasons.contains(&reason) => wrong(&format!("one of {reasons:?}")),
        _ => None,
    }
}

/// How a status breaks the error contract, or says what the RPC's comment does not.
pub fn breach(documented: &Documented, method: &Method, status: &Status) -> Option<String> {
    // The contract's own check says what is wrong by a panic, since most tests end there.
    let checked = catch_unwind(AssertUnwindSafe(|| assert_contract(status)));
    if checked.is_err() {
        return Some(format!("breaks the error contract: {status:?}"));
    }
    let reason = reason_of(status);
    (!documented.has(method, reason)).then(|| format!("answers {reason:?}, which its comment does not name"))
}

/// Whether a violation is about this field or something in it.
pub fn names(status: &Status, path: &str) -> bool {
    let violations = status.get_details_bad_request().map(|request| request.field_violations);
    violations.into_iter().flatten().any(|violation| {
        let rest = violation.field.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

fn told(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details
        .error_info()
        .map_or("no reason", |info| info.reason.as_str())
        .to_owned();
    let fields = details.bad_request().map(|request| &request.field_violations);
    let fields: Vec<String> = fields
        .into_iter()
        .flatten()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect();
    format!("{:?} {reason} {fields:?}", status.code())
}

fn shown(message: &DynamicMessage) -> String {
    let json = message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
    let text = json.unwrap_or_default().to_string();
    text.chars().take(200).collect()
}
