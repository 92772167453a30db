use tidings_ids::{RoleId, UserId};
use tidings_rpc::{Violations, text::TextRule};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{permissions::Permissions, user::etag, username::is_name};

/// `admin`, which has every permission and always a person who holds it and may act. The id stands in the migration.
pub const ADMIN: RoleId = RoleId::from_uuid(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// The name of [`ADMIN`], which the operator's accounts have.
pub const ADMIN_NAME: &str = "admin";
/// The role that people have from the start.
pub const MEMBER_NAME: &str = "member";
/// The role that programs have from the start.
pub const BOT_NAME: &str = "bot";

/// How high a role stands, and a user by the highest of their roles.
pub type Rank = i32;

/// Ranks go from 0 to this, which `admin` has.
pub const RANK_MAX: Rank = 1_000;

/// A role as stored.
#[derive(Debug, Clone)]
pub struct Role {
    /// The role's id.
    pub role_id: RoleId,
    /// What programs call it.
    pub name: String,
    /// What people call it.
    pub display_name: String,
    /// What it is for.
    pub description: String,
    /// What it allows.
    pub permissions: Permissions,
    /// How high it stands.
    pub rank: Rank,
    /// Whether it is there from the start and stays as it is.
    pub built_in: bool,
    /// Rises with each change.
    pub revision: i64,
    /// When it was created.
    pub create_time: OffsetDateTime,
}

impl Role {
    /// What a client sends back to say which version it has read.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(self.revision)
    }
}

/// A role to be created, checked.
#[derive(Debug, Clone)]
pub struct NewRole {
    /// What programs will call it.
    pub name: String,
    /// What people will call it.
    pub display_name: String,
    /// What it is for.
    pub description: String,
    /// What it allows.
    pub permissions: Permissions,
    /// How high it stands.
    pub rank: Rank,
}

impl NewRole {
    /// Adds what is wrong with it.
    pub fn check(&self, violations: &mut Violations) {
        if !is_name(&self.name) {
            violations.add("name", "must be 2 to 32 of a-z, 0-9, '.', '_' and '-'");
        }
        violations.check("display_name", TextRule::NAME.check(&self.display_name));
        violations.check("description", TextRule::DESCRIPTION.check(&self.description));
        check_rank(self.rank, violations);
    }
}

/// The fields of a role to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default)]
pub struct RoleChange {
    /// What people call it.
    pub display_name: Option<String>,
    /// What it is for; empty removes it.
    pub description: Option<String>,
    /// What it allows.
    pub permissions: Option<Permissions>,
    /// How high it stands.
    pub rank: Option<Rank>,
}

impl RoleChange {
    /// Adds what is wrong with the new values.
    pub fn check(&self, violations: &mut Violations) {
        if let Some(name) = &self.display_name {
            violations.check("display_name", TextRule::NAME.check(name));
        }
        if let Some(description) = &self.description {
            violations.check("description", TextRule::DESCRIPTION.check(description));
        }
        if let Some(rank) = self.rank {
            check_rank(rank, violations);
        }
    }

    /// The role after the change, and whether it is another one then.
    #[must_use]
    pub fn apply(self, role: &Role) -> (Role, bool) {
        let after = Role {
            display_name: self.display_name.unwrap_or_else(|| role.display_name.clone()),
            description: self.description.unwrap_or_else(|| role.description.clone()),
            permissions: self.permissions.unwrap_or_else(|| role.permissions.clone()),
            rank: self.rank.unwrap_or(role.rank),
            ..role.clone()
        };
        let changed = after.display_name != role.display_name
            || after.description != role.description
            || after.permissions != role.permissions
            || after.rank != role.rank;
        (after, changed)
    }
}

fn check_rank(rank: Rank, violations: &mut Violations) {
    if !(0..=RANK_MAX).contains(&rank) {
        violations.add("rank", format!("must be from 0 to {RANK_MAX}"));
    }
}

/// Who holds which role.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Who holds it.
    pub user_id: UserId,
    /// The role.
    pub role_id: RoleId,
    /// The role's name.
    pub role_name: String,
    /// Who assigned it; nobody where it came with the account.
    pub assigner_user_id: Option<UserId>,
    /// When.
    pub create_time: OffsetDateTime,
}
