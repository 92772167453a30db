//! What `AccessService` is asked, and which deeds of `authority.rs` an RPC comes down to.

use std::sync::Arc;

use tidings_ids::{RoleId, UserId};
use tidings_proto_common::v1::Permission;
use tidings_rpc::Policy;

use crate::{authority::Verdict, permissions::Permissions, role::Role};

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
        "tidings.user.v1.UserService/DeleteUser",
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
    (
        "tidings.auth.v1.AuthService/CreateUserToken",
        take_over(Permission::UserTokensCreate, false),
    ),
];

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
    use tidings_rpc::Policies;

    use super::{EFFECTS, Effect};

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
