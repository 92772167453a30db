//! Who may do what to roles and users: the rules, without a database.
//!
//! [`judge`] is the only place that decides it. The RPCs that change something ask it in the transaction of the effect, and
//! `AccessService` asks it for a decision and the rules that led there, so that what is told and what is done never differ.

use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_rpc::Problem;

use crate::{
    error::{Error, PermissionNumber},
    permissions::Permissions,
    role::{Rank, Role},
    user::Status,
};

/// Who wants to do something, as stored now.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Whether the account may act.
    pub status: Status,
    /// What the account's roles allow together.
    pub permissions: Permissions,
    /// The highest rank of the account's roles.
    pub rank: Rank,
    /// What the caller's token reaches, which may be less; `None` where no token is in play.
    pub reach: Option<Permissions>,
}

/// How an account comes in, which some RPCs go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person, who logs in.
    Person,
    /// A program that logs in, as the operator's own does.
    Program,
    /// A program that comes by API keys and never logs in.
    ServiceAccount,
}

/// For which kinds of accounts an RPC is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Who logs in, as it is about login sessions and what they begin with.
    LoggedIn,
    /// Persons. To programs it is what this permission is missing for.
    Persons(Permission),
    /// Programs. To persons it is what this permission is missing for, even if they hold it.
    Programs(Permission),
}

impl Audience {
    /// Whether the RPC is there for an account of this kind.
    #[must_use]
    pub fn includes(self, kind: Kind) -> bool {
        match self {
            Self::LoggedIn => kind != Kind::ServiceAccount,
            Self::Persons(_) => kind == Kind::Person,
            Self::Programs(_) => kind != Kind::Person,
        }
    }

    /// What others are refused with.
    #[must_use]
    pub fn refusal(self) -> Error {
        match self {
            Self::LoggedIn => Problem::new(ErrorReason::KindUnsuitable).into(),
            Self::Persons(permission) | Self::Programs(permission) => Error::PermissionMissing(permission as i32),
        }
    }
}

/// What somebody wants to do. What it is to be done to is `None` where there is no such thing.
#[derive(Debug, Clone, Copy)]
pub enum Deed<'a> {
    /// Something that asks for this permission and nothing else; [`Permission::Unspecified`] asks for none.
    Use(Permission),
    /// Something that is not there for every kind of account.
    CallAs {
        /// The actor's.
        kind: Kind,
        /// For whom it is there.
        audience: Audience,
    },
    /// Something done to a user's account, besides giving and taking roles.
    ActOnUser {
        /// What it asks for; [`Permission::Unspecified`] where users do it to themselves.
        permission: Permission,
        /// The rank of the user.
        user: Option<Rank>,
        /// Whether the account is that of the last person who is active and holds `admin`, and would not be active afterwards.
        last_admin: bool,
    },
    /// The actor gets into a user's account, whose roles allow this together: what is given is the account.
    TakeOver(&'a Permissions),
    /// A new user, who holds these roles from the start.
    CreateUser(&'a [Role]),
    /// A new role.
    CreateRole {
        /// What it will allow.
        permissions: &'a Permissions,
        /// How high it will stand.
        rank: Rank,
    },
    /// A role becomes another.
    UpdateRole {
        /// Before.
        before: Option<&'a Role>,
        /// After.
        after: Option<&'a Role>,
    },
    /// A role goes.
    DeleteRole(Option<&'a Role>),
    /// A user gets a role.
    AssignRole {
        /// The role.
        role: Option<&'a Role>,
        /// The rank of the user.
        user: Option<Rank>,
    },
    /// A user loses a role.
    UnassignRole {
        /// The role.
        role: Option<&'a Role>,
        /// The rank of the user.
        user: Option<Rank>,
        /// Whether it is `admin`, and no other person who is active holds it.
        last_admin: bool,
    },
}

/// A rule that a deed was held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The RPC is there for users or for everybody, which the middleware sees to.
    MethodOffered,
    /// The RPC is there for accounts of the actor's kind.
    KindIncluded(Kind),
    /// The actor's account may act.
    AccountActive(Status),
    /// The actor's roles allow it.
    PermissionHeld(Permission),
    /// The actor's token reaches it.
    PermissionInToken(Permission),
    /// There is such a role.
    RoleExists,
    /// There is such a user.
    UserExists,
    /// The role is not one that stays as it is.
    RoleChangeable,
    /// The actor holds what would be given or taken; otherwise the first permission that is lacking.
    GrantHeld(Option<PermissionNumber>),
    /// The actor does not stand below the role.
    RankReachesRole {
        /// The actor's.
        actor: Rank,
        /// The role's.
        role: Rank,
    },
    /// The actor does not stand below the user.
    RankReachesUser {
        /// The actor's.
        actor: Rank,
        /// The user's.
        user: Rank,
    },
    /// A person who is active holds `admin` afterwards.
    AdminRemains,
}

/// How a deed was judged.
#[derive(Debug)]
pub struct Verdict {
    /// The rules in order, up to the first that is not met; whether each is met.
    pub findings: Vec<(Rule, bool)>,
    /// Nothing where it may be done, or why not.
    pub outcome: Result<(), Error>,
}

impl Verdict {
    /// Nothing but this rule was looked at, and it is met.
    #[must_use]
    pub fn met(rule: Rule) -> Self {
        Self {
            findings: vec![(rule, true)],
            outcome: Ok(()),
        }
    }

    /// Nothing but this rule was looked at, and it is not met.
    #[must_use]
    pub fn unmet(rule: Rule, refusal: Error) -> Self {
        Self {
            findings: vec![(rule, false)],
            outcome: Err(refusal),
        }
    }
}

/// Judges a deed.
#[must_use]
pub fn judge(actor: &Actor, deed: Deed<'_>) -> Verdict {
    judge_all(actor, [deed])
}

/// Judges several deeds, which are to be done one after the other: what the middleware sees to, and then the RPC.
#[must_use]
pub fn judge_all<'a>(actor: &Actor, deeds: impl IntoIterator<Item = Deed<'a>>) -> Verdict {
    let mut trial = Trial {
        actor,
        findings: Vec::new(),
    };
    let outcome = deeds.into_iter().try_for_each(|deed| trial.judge(deed));
    Verdict {
        findings: trial.findings,
        outcome,
    }
}

/// A deed being held to one rule after the other.
struct Trial<'a> {
    actor: &'a Actor,
    findings: Vec<(Rule, bool)>,
}

impl Trial<'_> {
    fn judge(&mut self, deed: Deed<'_>) -> Result<(), Error> {
        let status = self.actor.status;
        let active = status == Status::Active;
        self.hold_to(Rule::AccountActive(status), active, Error::CallerInactive)?;
        match deed {
            Deed::Use(permission) => self.permission(permission),
            Deed::CallAs { kind, audience } => {
                self.hold_to(Rule::KindIncluded(kind), audience.includes(kind), audience.refusal())
            }
            Deed::ActOnUser {
                permission,
                user,
                last_admin,
            } => {
                self.hold_to(Rule::UserExists, user.is_some(), Error::NotFound)?;
                self.permission(permission)?;
                self.user_rank(user)?;
                self.admin_remains(last_admin)
            }
            Deed::TakeOver(permissions) => self.grant(permissions),
            Deed::CreateUser(roles) => roles.iter().try_for_each(|role| {
                self.grant(&role.permissions)?;
                self.role_rank(role.rank)
            }),
            Deed::CreateRole { permissions, rank } => {
                self.permission(Permission::RolesManage)?;
                self.grant(permissions)?;
                self.role_rank(rank)
            }
            Deed::UpdateRole { before, after } => {
                self.permission(Permission::RolesManage)?;
                let before = self.role(before)?;
                let after = after.unwrap_or(before);
                self.changeable(before)?;
                self.grant(&after.permissions.changed_from(&before.permissions))?;
                self.role_rank(before.rank)?;
                self.role_rank(after.rank)
            }
            Deed::DeleteRole(role) => {
                self.permission(Permission::RolesManage)?;
                let role = self.role(role)?;
                self.changeable(role)?;
                self.grant(&role.permissions)?;
                self.role_rank(role.rank)
            }
            Deed::AssignRole { role, user } => {
                self.permission(Permission::RolesManage)?;
                self.role_of_user(role, user)
            }
            Deed::UnassignRole { role, user, last_admin } => {
                self.permission(Permission::RolesManage)?;
                self.role_of_user(role, user)?;
                self.admin_remains(last_admin)
            }
        }
    }

    fn role_of_user(&mut self, role: Option<&Role>, user: Option<Rank>) -> Result<(), Error> {
        let role = self.role(role)?;
        self.hold_to(Rule::UserExists, user.is_some(), Error::NotFound)?;
        self.grant(&role.permissions)?;
        self.role_rank(role.rank)?;
        self.user_rank(user)
    }

    fn permission(&mut self, permission: Permission) -> Result<(), Error> {
        if permission == Permission::Unspecified {
            return Ok(());
        }
        let refusal = || Error::PermissionMissing(permission as i32);
        let held = self.actor.permissions.has(permission);
        self.hold_to(Rule::PermissionHeld(permission), held, refusal())?;
        match &self.actor.reach {
            Some(reach) => self.hold_to(Rule::PermissionInToken(permission), reach.has(permission), refusal()),
            None => Ok(()),
        }
    }

    fn role<'r>(&mut self, role: Option<&'r Role>) -> Result<&'r Role, Error> {
        self.hold_to(Rule::RoleExists, role.is_some(), Error::NotFound)?;
        role.ok_or(Error::NotFound)
    }

    fn changeable(&mut self, role: &Role) -> Result<(), Error> {
        self.hold_to(Rule::RoleChangeable, !role.built_in, Error::BuiltIn)
    }

    /// Nobody gives or takes what they do not hold, nor with a token what it does not reach.
    fn grant(&mut self, permissions: &Permissions) -> Result<(), Error> {
        let missing = self.actor.permissions.first_missing(permissions);
        let missing = missing.or_else(|| self.actor.reach.as_ref()?.first_missing(permissions));
        let refusal = Error::PermissionMissing(missing.unwrap_or_default());
        self.hold_to(Rule::GrantHeld(missing), missing.is_none(), refusal)
    }

    fn role_rank(&mut self, role: Rank) -> Result<(), Error> {
        let actor = self.actor.rank;
        self.hold_to(Rule::RankReachesRole { actor, role }, actor >= role, Error::RankTooLow)
    }

    fn user_rank(&mut self, user: Option<Rank>) -> Result<(), Error> {
        let user = user.ok_or(Error::NotFound)?;
        let actor = self.actor.rank;
        self.hold_to(Rule::RankReachesUser { actor, user }, actor >= user, Error::RankTooLow)
    }

    fn admin_remains(&mut self, last_admin: bool) -> Result<(), Error> {
        self.hold_to(Rule::AdminRemains, !last_admin, Error::LastAdmin)
    }

    fn hold_to(&mut self, rule: Rule, met: bool, refusal: Error) -> Result<(), Error> {
        // A rule that was met once is not told again.
        if !self.findings.contains(&(rule, true)) {
            self.findings.push((rule, met));
        }
        if met { Ok(()) } else { Err(refusal) }
    }
}

#[cfg(test)]
mod tests;
