use tidings_proto_common::v1::{Authentication, ErrorReason, Permission};
use tidings_rpc::Policies;
use tidings_testkit::Method;
use tonic::Code;

use super::{Door, UNKNOWN, cast::Role, is_internal, policy, rows::Relation};

/// What a cell must answer.
#[derive(Debug)]
pub enum Expected {
    /// OK.
    Ok,
    /// Whatever the handler says of an empty request: the caller has come that far.
    Reached,
    /// This code with one of these reasons.
    Refused(Code, &'static [ErrorReason]),
}

/// What the policy in the proto and the relation in the table say.
pub fn expected(policies: &Policies, method: &Method, relation: Relation, role: Role, door: Door) -> Expected {
    before_relation(policies, method, role, door).unwrap_or_else(|| of_relation(relation, role))
}

/// What the policy in the proto says by itself; nothing where it depends on the relation.
pub fn before_relation(policies: &Policies, method: &Method, role: Role, door: Door) -> Option<Expected> {
    use ErrorReason as R;
    let policy = policy(policies, method);
    if is_internal(method) {
        return Some(match (door, role) {
            (Door::Gateway, _) => Expected::Refused(Code::Unimplemented, &[R::MethodUnknown]),
            // The end user's token opens nothing between services, whoever the user is.
            (Door::Service, Role::Service) => Expected::Reached,
            (Door::Service, _) => Expected::Refused(Code::Unauthenticated, &[R::TokenMissing]),
        });
    }
    if policy.authentication == Authentication::User {
        match role {
            // Who the service is does not count: only the user does (G19).
            Role::Anonymous | Role::Service => {
                return Some(Expected::Refused(Code::Unauthenticated, &[R::TokenMissing]));
            }
            Role::Expired => return Some(Expected::Refused(Code::Unauthenticated, &[R::TokenExpired])),
            Role::Revoked => return Some(Expected::Refused(Code::Unauthenticated, &[R::LoginSessionRevoked])),
            Role::Forged => return Some(Expected::Refused(Code::Unauthenticated, &[R::TokenInvalid])),
            _ => {}
        }
        if policy.permission != Permission::Unspecified && !holds(role, policy.permission) {
            return Some(Expected::Refused(Code::PermissionDenied, &[R::PermissionMissing]));
        }
        if role.is_bot() && is_for_persons(method) {
            return Some(Expected::Refused(Code::FailedPrecondition, &[R::KindUnsuitable]));
        }
    }
    None
}

/// What belongs to a login session or to a person's credentials, which a program does not have: so says `ServiceAccountService`.
fn is_for_persons(method: &Method) -> bool {
    match method.parent_service().full_name() {
        "tidings.auth.v1.CredentialService" | "tidings.auth.v1.LoginSessionService" => true,
        "tidings.auth.v1.AuthService" => matches!(method.name(), "Logout" | "LogoutAll"),
        _ => false,
    }
}

/// What the roles of the deployment hold from the start, by `api.md` and the proto's comments.
fn holds(role: Role, permission: Permission) -> bool {
    let members = [Permission::UsersList, Permission::GroupsCreate, Permission::ChatsCreate];
    match role {
        Role::Admin => true,
        Role::Product => members.contains(&permission) || permission == Permission::UserTokensCreate,
        role if role.is_bot() => permission == Permission::ResponsesCreate,
        _ => members.contains(&permission),
    }
}

fn of_relation(relation: Relation, role: Role) -> Expected {
    use ErrorReason as R;
    let unknown = Expected::Refused(UNKNOWN, &[R::NotFound]);
    let denied = Expected::Refused(Code::PermissionDenied, &[R::PermissionMissing]);
    let is_member = matches!(role, Role::Member | Role::Moderator | Role::Owner | Role::BotInside);
    match (relation, role) {
        (Relation::Anyone, _) => Expected::Ok,
        (Relation::InTime, _) => Expected::Reached,
        (Relation::Off, _) => Expected::Refused(Code::FailedPrecondition, &[R::FeatureDisabled]),
        (Relation::Product, Role::Product) => Expected::Ok,
        (Relation::Product, _) => denied,
        (Relation::Himself, Role::Owner | Role::Admin) => Expected::Ok,
        (Relation::Himself, _) => denied,
        (Relation::Operator, Role::Admin) => Expected::Ok,
        (Relation::Operator, _) => denied,
        (Relation::OnlyHimself, Role::Owner) => Expected::Ok,
        (Relation::OnlyHimself, _) => unknown,
        // All that follows is about a chat or group: a role of the deployment opens none, `admin` included.
        _ if !is_member => unknown,
        (Relation::Member, _) => Expected::Ok,
        (Relation::Manager, Role::Owner | Role::Moderator) => Expected::Ok,
        (Relation::Manager, _) => Expected::Refused(Code::PermissionDenied, &[R::PermissionMissing, R::RankTooLow]),
        (Relation::OnlyOwner | Relation::Sender, Role::Owner) => Expected::Ok,
        (Relation::OnlyOwner | Relation::Sender, _) => denied,
        (Relation::Leaver, Role::Owner) => Expected::Refused(Code::FailedPrecondition, &[R::LastOwner]),
        (Relation::Leaver, _) => Expected::Ok,
        (Relation::Responder, Role::BotInside) => Expected::Ok,
        (Relation::Responder, _) => denied,
    }
}
