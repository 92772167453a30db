//! What `AccessService` is asked, and which deeds of `authority.rs` an RPC comes down to.

use std::sync::Arc;

use tidings_ids::{RoleId, UserId};
use tidings_proto_common::v1::{Authentication, Permission};
use tidings_rpc::Policy;

use crate::{
    authority::{Audience, Verdict},
    permissions::Permissions,
    role::Role,
};

/// A question.
#[derive(Debug, Clone)]
pub struct Query {
    /// Who wants to do it.
    pub subject: UserId,
    /// What the token of the question reaches, where the question is about its holder.
    pub reach: Option<Permissions>,
    /// What they want to do.
    pub asked: Asked,
    /// To whom.
    pub user: Option<UserId>,
    /// The role that is given, taken, changed or deleted.
    pub role: Option<RoleId>,
}

/// What somebody wants to do.
#[derive(Debug, Clone)]
pub enum Asked {
    /// Something that this permission is asked for.
    Permission(Permission),
    /// A call of this RPC.
    Method(Arc<Policy>),
}

/// The answer.
#[derive(Debug)]
pub struct Decision {
    /// How it was judged.
    pub verdict: Verdict,
    /// The roles that the subject holds.
    pub roles: Vec<Role>,
}

/// What an RPC does to the user or role that it names, as far as permissions and ranks decide it beyond its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It acts on a user's account.
    OnUser {
        /// What it asks for.
        permission: Permission,
        /// Whether one may do it to oneself without.
        own: bool,
        /// Whether the account is not active afterwards.
        ends: bool,
        /// Whether it is there for deleted users too.
        deleted: bool,
        /// Whether it gets whoever does it to another into that account.
        takes_over: bool,
    },
    /// It shows what concerns a user: to others with this permission, whatever the ranks.
    OfOthers(Permission),
    /// It gives a role to a user.
    AssignRole,
    /// It takes a role from a user.
    UnassignRole,
    /// It changes a role.
    UpdateRole,
    /// It deletes a role.
    DeleteRole,
}

/// The RPCs that do something to whom or what they name, besides those of [`Effect::of`]'s last line.
const EFFECTS: [(&str, Effect); 17] = [
    ("tidings.user.v1.RoleService/AssignRole", Effect::AssignRole),
    ("tidings.user.v1.RoleService/UnassignRole", Effect::UnassignRole),
    ("tidings.user.v1.RoleService/UpdateRole", Effect::UpdateRole),
    ("tidings.user.v1.RoleService/DeleteRole", Effect::DeleteRole),
    (
        "tidings.user.v1.UserService/UpdateUser",
        own_or(Permission::UsersManage),
    ),
    (
        "tidings.user.v1.UserService/ChangeUsername",
        own_or(Permission::UsersManage),
    ),
    (
        "tidings.user.v1.UserService/SuspendUser",
        Effect::OnUser {
            permission: Permission::UsersManage,
            own: false,
            ends: true,
            deleted: false,
            takes_over: false,
        },
    ),
    (
        DELETE_USER,
        Effect::OnUser {
            permission: Permission::UsersManage,
            own: true,
            ends: true,
            deleted: true,
            takes_over: false,
        },
    ),
    (
        "tidings.user.v1.UserService/UndeleteUser",
        Effect::OnUser {
            permission: Permission::UsersManage,
            own: false,
            ends: false,
            deleted: true,
            takes_over: false,
        },
    ),
    (
        "tidings.auth.v1.CredentialService/SetPassword",
        take_over(Permission::CredentialsManage, false),
    ),
    (
        "tidings.auth.v1.CredentialService/RemoveTotp",
        take_over(Permission::CredentialsManage, true),
    ),
    (
        "tidings.auth.v1.CredentialService/ListCredentials",
        Effect::OfOthers(Permission::CredentialsManage),
    ),
    (
        "tidings.auth.v1.LoginSessionService/ListLoginSessions",
        Effect::OfOthers(Permission::CredentialsManage),
    ),
    (
        "tidings.auth.v1.ServiceAccountService/DeleteServiceAccount",
        Effect::OnUser {
            permission: Permission::ServiceAccountsManage,
            own: false,
            ends: true,
            deleted: true,
            takes_over: false,
        },
    ),
    (
        "tidings.auth.v1.ServiceAccountService/RevokeApiKey",
        on_other(Permission::ServiceAccountsManage),
    ),
    (
        "tidings.auth.v1.ServiceAccountService/CreateApiKey",
        on_other(Permission::ServiceAccountsManage),
    ),
    (CREATE_USER_TOKEN, take_over(Permission::UserTokensCreate, false)),
];

/// Deletes an account, which programs do not do to themselves.
const DELETE_USER: &str = "tidings.user.v1.UserService/DeleteUser";

/// Brings in a product's user, which is for the product's program.
const CREATE_USER_TOKEN: &str = "tidings.auth.v1.AuthService/CreateUserToken";

const AUTH: &str = "tidings.auth.v1.";

/// What of auth an API key's access token may call, as `persons.rs` has it there. All else that auth asks a user for belongs to login
/// sessions.
const FOR_KEYS: [&str; 5] = [
    CREATE_USER_TOKEN,
    "tidings.auth.v1.AuthService/IntrospectToken",
    "tidings.auth.v1.AuthService/RotateSigningKey",
    "tidings.auth.v1.ServiceAccountService/",
    "tidings.auth.v1.AuthAuditService/",
];

/// For whom an RPC that asks for a user is there, where it is not for accounts of every kind. `oneself` says that it is to be done to
/// who calls it.
pub fn audience(policy: &Policy, oneself: bool) -> Option<Audience> {
    let method = &*policy.method;
    let of_auth = method.starts_with(AUTH) && policy.authentication == Authentication::User;
    if method == CREATE_USER_TOKEN {
        Some(Audience::Programs(Permission::UserTokensCreate))
    } else if method == DELETE_USER && oneself {
        Some(DELETE_ONESELF)
    } else if of_auth && !is_for_keys(method) {
        Some(Audience::LoggedIn)
    } else {
        None
    }
}

/// A program ends with its service account, which is for who manages these.
pub const DELETE_ONESELF: Audience = Audience::Persons(Permission::UsersManage);

fn is_for_keys(method: &str) -> bool {
    FOR_KEYS
        .iter()
        .any(|permitted| method == *permitted || (permitted.ends_with('/') && method.starts_with(permitted)))
}

/// Done to oneself, or with this permission to others.
const fn own_or(permission: Permission) -> Effect {
    Effect::OnUser {
        permission,
        own: true,
        ends: false,
        deleted: false,
        takes_over: false,
    }
}

/// Done with this permission.
const fn on_other(permission: Permission) -> Effect {
    Effect::OnUser {
        permission,
        own: false,
        ends: false,
        deleted: false,
        takes_over: false,
    }
}

/// Done with this permission, and whoever does it can be the user then.
const fn take_over(permission: Permission, own: bool) -> Effect {
    Effect::OnUser {
        permission,
        own,
        ends: false,
        deleted: false,
        takes_over: true,
    }
}

impl Effect {
    /// What is done to a user where only a permission is asked for. Most permissions let their holder do nothing to accounts, so that
    /// how high a user stands does not count with them.
    pub fn of_permission(permission: Permission) -> Self {
        match permission {
            Permission::UsersManage
            | Permission::RolesManage
            | Permission::CredentialsManage
            | Permission::ServiceAccountsManage
            | Permission::UserTokensCreate => on_other(permission),
            Permission::Unspecified
            | Permission::UsersList
            | Permission::UsersReadPrivate
            | Permission::RolesRead
            | Permission::GroupsCreate
            | Permission::ChatsCreate
            | Permission::ResponsesCreate
            | Permission::TokensIntrospect
            | Permission::SigningKeysManage
            | Permission::AccessRead
            | Permission::AuditRead => Self::None,
        }
    }

    /// What a call of the RPC does.
    pub fn of(policy: &Policy) -> Self {
        let listed = EFFECTS.iter().find(|(method, _)| **method == *policy.method);
        match (listed, policy.permission) {
            (Some((_, effect)), _) => *effect,
            // Where the policy asks for one of these, the RPC is about another's account, and asks for their rank.
            (None, permission @ (Permission::UsersManage | Permission::CredentialsManage)) => on_other(permission),
            (None, _) => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_rpc::{Policies, Policy};

    use super::{DELETE_ONESELF, EFFECTS, Effect, FOR_KEYS, audience, is_for_keys};
    use crate::authority::Audience;

    fn policies() -> Policies {
        Policies::from_descriptors(&crate::SUITE).expect("valid")
    }

    #[test]
    fn every_rpc_that_acts_on_users_does_so_by_a_permission_that_does() {
        for policy in policies().iter() {
            if let Effect::OnUser { permission, .. } = Effect::of(policy) {
                let bare = Effect::of_permission(permission);
                assert!(matches!(bare, Effect::OnUser { .. }), "{}", policy.method);
            }
        }
    }

    #[test]
    fn what_of_auth_is_not_for_keys_is_for_who_logs_in() {
        let policies = policies();
        let of = |method: &str, oneself: bool| {
            let policy = policies.get(&format!("/{method}"));
            audience(policy.unwrap_or_else(|| panic!("there is no {method}")), oneself)
        };
        for method in [
            "tidings.auth.v1.AuthService/Logout",
            "tidings.auth.v1.AuthService/LogoutAll",
            "tidings.auth.v1.CredentialService/ChangePassword",
            "tidings.auth.v1.CredentialService/SetPassword",
            "tidings.auth.v1.LoginSessionService/ListLoginSessions",
        ] {
            assert_eq!(of(method, false), Some(Audience::LoggedIn), "{method}");
        }
        for method in [
            "tidings.auth.v1.AuthService/IntrospectToken",
            "tidings.auth.v1.AuthService/Login",
            "tidings.auth.v1.ServiceAccountService/CreateApiKey",
            "tidings.user.v1.UserService/DeleteUser",
            "tidings.user.v1.UserService/UpdateUser",
        ] {
            assert_eq!(of(method, false), None, "{method}");
        }
        assert_eq!(of("tidings.user.v1.UserService/DeleteUser", true), Some(DELETE_ONESELF));
        let there = |permitted: &&str| {
            let found = |policy: &Policy| policy.method.starts_with(*permitted) && is_for_keys(&policy.method);
            policies.iter().any(|policy| found(policy))
        };
        assert!(FOR_KEYS.iter().all(there));
    }

    #[test]
    fn every_rpc_that_is_listed_is_there_and_listed_once() {
        let policies = Policies::from_descriptors(&crate::SUITE).expect("valid");
        for (method, effect) in EFFECTS {
            let policy = policies.get(&format!("/{method}"));
            let policy = policy.unwrap_or_else(|| panic!("there is no {method}"));
            assert_eq!(Effect::of(policy), effect, "{method} is listed twice");
            if let Effect::OnUser {
                own: false, permission, ..
            } = effect
            {
                assert_eq!(policy.permission, permission, "{method}");
            }
        }
    }
}
