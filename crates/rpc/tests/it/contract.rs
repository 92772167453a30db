//! The error contract: what `errors.proto` promises is what callers get.

use prost_reflect::DescriptorPool;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::problem::{DOMAIN, Problem, contract, promises_fields, promises_retry, reason_name};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The reasons with the comments above them, from the descriptors.
fn documented() -> Vec<(ErrorReason, String)> {
    let pool = DescriptorPool::decode(tidings_proto_common::FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let reasons = pool
        .get_enum_by_name("tidings.common.v1.ErrorReason")
        .expect("the enum stands in errors.proto");
    let file = reasons.parent_file().file_descriptor_proto().clone();
    let comments = file.source_code_info.expect("descriptors keep their comments");
    reasons
        .values()
        .filter(|value| value.number() != 0)
        .map(|value| {
            let comment = comments
                .location
                .iter()
                .find(|location| location.path == value.path())
                .and_then(|location| location.leading_comments.clone());
            (
                ErrorReason::try_from(value.number()).expect("generated from the same file"),
                comment.unwrap_or_default(),
            )
        })
        .collect()
}

fn code_named(name: &str) -> Code {
    (0..=16)
        .map(Code::from_i32)
        .find(|code| screaming(*code) == name)
        .unwrap_or_else(|| panic!("{name} is no gRPC code"))
}

fn screaming(code: Code) -> String {
    let mut out = String::new();
    for (index, letter) in format!("{code:?}").char_indices() {
        if letter.is_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

#[test]
fn every_reason_comes_with_the_code_that_its_comment_names() {
    for (reason, comment) in documented() {
        let comment = comment.trim_start();
        let name = comment
            .strip_prefix('`')
            .and_then(|rest| rest.split_once("`:"))
            .map(|(name, _)| name);
        let name = name.unwrap_or_else(|| panic!("the comment of {reason:?} does not begin with a code"));
        assert_eq!(contract(reason).0, code_named(name), "{reason:?}");
    }
}

#[test]
fn every_reason_comes_with_the_details_that_its_comment_names() {
    for (reason, comment) in documented() {
        assert_eq!(
            comment.contains("`RetryInfo`"),
            promises_retry(reason),
            "RetryInfo of {reason:?}"
        );
        assert_eq!(
            comment.contains("`BadRequest`"),
            promises_fields(reason),
            "BadRequest of {reason:?}"
        );
        let status = Status::from(Problem::new(reason));
        let details = status.get_error_details();
        let info = details.error_info().expect("every status has an ErrorInfo");
        assert_eq!(
            (info.domain.as_str(), info.reason.as_str()),
            (DOMAIN, reason_name(reason))
        );
        assert_eq!(details.retry_info().is_some(), promises_retry(reason), "{reason:?}");
    }
}

#[test]
fn not_found_is_always_the_same_bytes() {
    let (one, other) = (Status::from(Problem::not_found()), Status::from(Problem::not_found()));
    assert_eq!(
        (one.code(), one.message(), one.details()),
        (other.code(), other.message(), other.details())
    );
}

#[test]
fn a_peers_problem_is_passed_on_and_its_defects_are_not() {
    let field = Problem::field("title", "must be short");
    assert_eq!(Problem::from_peer(&field.clone().into()), field);
    let defect = Status::from(Problem::new(ErrorReason::Internal));
    assert_eq!(Problem::from_peer(&defect).reason(), ErrorReason::DependencyUnavailable);
    let unreachable = Status::unavailable("tcp connect error");
    assert_eq!(
        Problem::from_peer(&unreachable).reason(),
        ErrorReason::DependencyUnavailable
    );
}
