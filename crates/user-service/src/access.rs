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
    },
    /// It gives a role to a user.
    AssignRole,
    /// It takes a role from a user.
    UnassignRole,
    /// It changes a role.
    UpdateRole,
    /// It deletes a role.
    DeleteRole,
}

impl Effect {
    /// What a call of the RPC does.
    pub fn of(policy: &Policy) -> Self {
        let on_user = |permission, own| Self::OnUser {
            permission,
            own,
            ends: false,
            deleted: false,
        };
        let ending = |own, ends, deleted| Self::OnUser {
            permission: Permission::UsersManage,
            own,
            ends,
            deleted,
        };
        match &*policy.method {
            "tidings.user.v1.RoleService/AssignRole" => Self::AssignRole,
            "tidings.user.v1.RoleService/UnassignRole" => Self::UnassignRole,
            "tidings.user.v1.RoleService/UpdateRole" => Self::UpdateRole,
            "tidings.user.v1.RoleService/DeleteRole" => Self::DeleteRole,
            "tidings.user.v1.UserService/SuspendUser" => ending(false, true, false),
            "tidings.user.v1.UserService/DeleteUser" => ending(true, true, true),
            "tidings.user.v1.UserService/UndeleteUser" => ending(false, false, true),
            "tidings.user.v1.UserService/UpdateUser" | "tidings.user.v1.UserService/ChangeUsername" => {
                on_user(Permission::UsersManage, true)
            }
            // Where the policy asks for it, the RPC is about others' accounts: auth asks `CheckAuthority` in each.
            _ => match policy.permission {
                permission @ (Permission::UsersManage | Permission::CredentialsManage) => on_user(permission, false),
                _ => Self::None,
            },
        }
    }
}
