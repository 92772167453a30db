use tidings_proto_common::v1::{Authentication, ErrorReason, Permission};
use tidings_rpc::Policies;
use tidings_testkit::Method;
use tonic::Code;

use super::{UNKNOWN, is_internal, rows::Relation, scene::Role};

/// What a cell must answer.
#[derive(Debug)]
pub enum Expected {
    /// OK.
    Ok,
    /// This code with one of these reasons.
    Refused(Code, &'static [ErrorReason]),
}

/// What the policy in the proto and the relation in the table say.
pub fn expected(policies: &Policies, method: &Method, relation: Relation, role: Role) -> Expected {
    use ErrorReason as R;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let policy = policies.get(&path).expect("every RPC has a policy");
    if is_internal(method) {
        return Expected::Refused(Code::Unimplemented, &[R::MethodUnknown]);
    }
    if policy.authentication == Authentication::User {
        match role {
            Role::Anonymous => return Expected::Refused(Code::Unauthenticated, &[R::TokenMissing]),
            Role::Expired => return Expected::Refused(Code::Unauthenticated, &[R::TokenExpired]),
            _ => {}
        }
        if policy.permission != Permission::Unspecified && !holds(role, policy.permission) {
            return Expected::Refused(Code::PermissionDenied, &[R::PermissionMissing]);
        }
    }
    of_relation(relation, role)
}

/// What the roles of the deployment hold from the start, by `api.md` and the proto's comments.
fn holds(role: Role, permission: Permission) -> bool {
    let members = [Permission::UsersList, Permission::GroupsCreate, Permission::ChatsCreate];
    role == Role::Admin || members.contains(&permission)
}

fn of_relation(relation: Relation, role: Role) -> Expected {
    use ErrorReason as R;
    match (relation, role) {
        (Relation::Anyone, _) => Expected::Ok,
        (Relation::Member, Role::Member | Role::Owner) => Expected::Ok,
        (Relation::Manager | Relation::Sender, Role::Owner) => Expected::Ok,
        (Relation::Manager, Role::Member) => {
            Expected::Refused(Code::PermissionDenied, &[R::PermissionMissing, R::RankTooLow])
        }
        (Relation::Sender, Role::Member) => Expected::Refused(Code::PermissionDenied, &[R::PermissionMissing]),
        (Relation::Leaver, Role::Member) => Expected::Ok,
        (Relation::Leaver, Role::Owner) => Expected::Refused(Code::FailedPrecondition, &[R::LastOwner]),
        (Relation::Responder, Role::Owner | Role::Member) => {
            Expected::Refused(Code::PermissionDenied, &[R::PermissionMissing])
        }
        // A role of the deployment opens no chat, `admin` included.
        (Relation::Member | Relation::Manager | Relation::Sender | Relation::Leaver | Relation::Responder, _) => {
            Expected::Refused(UNKNOWN, &[R::NotFound])
        }
        (Relation::Himself, Role::Owner) => Expected::Ok,
        (Relation::Himself, Role::Admin) => Expected::Ok,
        (Relation::Himself, _) => Expected::Refused(Code::PermissionDenied, &[R::PermissionMissing]),
        (Relation::OnlyHimself, Role::Owner) => Expected::Ok,
        (Relation::OnlyHimself, _) => Expected::Refused(UNKNOWN, &[R::NotFound]),
    }
}
