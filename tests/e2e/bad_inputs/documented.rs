use std::collections::{BTreeMap, BTreeSet};

use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_rpc::problem::reason_name;
use tidings_testkit::Method;

use crate::matrix::policies;

/// What any RPC may answer with: the protos say so once, of credentials, limits and availability.
const GENERIC: [ErrorReason; 15] = [
    ErrorReason::TokenMissing,
    ErrorReason::TokenInvalid,
    ErrorReason::TokenExpired,
    ErrorReason::LoginSessionRevoked,
    ErrorReason::FieldInvalid,
    ErrorReason::MessageTooLarge,
    ErrorReason::RateLimited,
    ErrorReason::Overloaded,
    ErrorReason::DependencyUnavailable,
    ErrorReason::Draining,
    ErrorReason::DeadlineExceeded,
    ErrorReason::Cancelled,
    ErrorReason::MethodUnknown,
    ErrorReason::ProtocolUnsupported,
    ErrorReason::Conflict,
];

/// The reasons that each RPC's comment, or its service's, names in backticks.
#[derive(Debug)]
pub struct Documented(BTreeMap<String, BTreeSet<String>>);

impl Documented {
    /// Reads the comments of these RPCs.
    pub fn read(methods: &[Method]) -> Self {
        let named = methods.iter().map(|method| {
            let service = method.parent_service();
            let mut words = quoted(&comment(method, service.path()));
            for word in quoted(&comment(method, method.path())) {
                // "as `CheckAccess`": what another RPC of the service says counts here too.
                if let Some(other) = service.methods().find(|other| other.name() == word) {
                    words.extend(quoted(&comment(&other, other.path())));
                }
                words.push(word);
            }
            (method.full_name().to_owned(), words.into_iter().collect())
        });
        Self(named.collect())
    }

    /// Whether a client can know that this RPC may answer with this reason.
    pub fn has(&self, method: &Method, reason: ErrorReason) -> bool {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let policy = policies().get(&path).expect("every RPC has a policy");
        // The option in the proto asks for the permission, so it says this too.
        let by_policy = reason == ErrorReason::PermissionMissing && policy.permission != Permission::Unspecified;
        by_policy || GENERIC.contains(&reason) || self.0[method.full_name()].contains(reason_name(reason))
    }
}

/// What stands in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The comment before what stands at this path of the method's file.
fn comment(method: &Method, path: &[i32]) -> String {
    let file = method.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info
        .into_iter()
        .flat_map(|info| &info.location)
        .find(|location| location.path == path);
    let comment = location.and_then(|location| location.leading_comments.clone());
    comment.unwrap_or_else(|| panic!("{} has no comment", method.full_name()))
}
