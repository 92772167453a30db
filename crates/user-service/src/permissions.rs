use std::collections::BTreeSet;

use tidings_proto_common::v1::Permission;
use tidings_rpc::Violations;

use crate::error::PermissionNumber;

/// A set of permissions, by number: a newer version may have stored some that this one does not know, which it passes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions(BTreeSet<PermissionNumber>);

impl Permissions {
    /// More in one request are refused unread.
    const LISTED_MAX: usize = 100;

    /// Reads the list of a request: duplicates count once, unknown numbers are refused.
    pub fn parse(field: &str, numbers: &[PermissionNumber], violations: &mut Violations) -> Self {
        if numbers.len() > Self::LISTED_MAX {
            violations.add(field, format!("must have at most {} entries", Self::LISTED_MAX));
            return Self::default();
        }
        for (index, number) in numbers.iter().enumerate() {
            if Permission::try_from(*number).is_err() || *number == Permission::Unspecified as i32 {
                violations.add(format!("{field}[{index}]"), "must be a permission");
            }
        }
        Self(numbers.iter().copied().collect())
    }

    /// Whether the permission is in the set.
    #[must_use]
    pub fn has(&self, permission: Permission) -> bool {
        self.0.contains(&(permission as i32))
    }

    /// All that is in one of these.
    #[must_use]
    pub fn of_all<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        Self(sets.into_iter().flat_map(|set| set.0.iter().copied()).collect())
    }

    /// The first of the others that is not in this set.
    #[must_use]
    pub fn first_missing(&self, others: &Self) -> Option<PermissionNumber> {
        others.0.difference(&self.0).next().copied()
    }

    /// What is in one of the two but not in both: what a change from one to the other gives and takes.
    #[must_use]
    pub fn changed_from(&self, before: &Self) -> Self {
        Self(self.0.symmetric_difference(&before.0).copied().collect())
    }

    /// The numbers, rising.
    #[must_use]
    pub fn numbers(&self) -> Vec<PermissionNumber> {
        self.0.iter().copied().collect()
    }
}

impl From<Vec<PermissionNumber>> for Permissions {
    fn from(numbers: Vec<PermissionNumber>) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl From<&[Permission]> for Permissions {
    fn from(permissions: &[Permission]) -> Self {
        Self(permissions.iter().map(|permission| *permission as i32).collect())
    }
}

/// All permissions that there are, in the order of their numbers.
pub fn all() -> impl Iterator<Item = Permission> {
    // An enum's numbers have no holes here, which a test holds it to.
    (1..).map_while(|number| Permission::try_from(number).ok())
}

/// The permission's name as the middleware tells it too: without the enum's prefix.
#[must_use]
pub fn name(number: PermissionNumber) -> String {
    match Permission::try_from(number) {
        Ok(permission) => permission.as_str_name().trim_start_matches("PERMISSION_").to_owned(),
        Err(_) => number.to_string(),
    }
}

/// What the permission allows, for people.
#[must_use]
pub fn description(permission: Permission) -> &'static str {
    match permission {
        Permission::Unspecified => "Nothing.",
        Permission::UsersList => "List and look up users.",
        Permission::UsersReadPrivate => "See other users' e-mail addresses and roles.",
        Permission::UsersManage => "Change other users' accounts.",
        Permission::RolesRead => "List roles and who holds them.",
        Permission::RolesManage => "Create, change, delete, assign and unassign roles.",
        Permission::GroupsCreate => "Create groups.",
        Permission::ChatsCreate => "Open direct chats, conversations and assistant sessions.",
        Permission::ResponsesCreate => "Write responses to messages, as bots do.",
        Permission::CredentialsManage => {
            "Set other users' passwords, remove their second factors, and see and end their login sessions."
        }
        Permission::ServiceAccountsManage => "Create, list and delete service accounts and their API keys.",
        Permission::UserTokensCreate => "Bring in users of another product by external id, and get tokens for them.",
        Permission::TokensIntrospect => "Ask what a token is worth.",
        Permission::SigningKeysManage => "Rotate the keys that access tokens are signed with.",
        Permission::AccessRead => "Ask what other users may do, and why.",
        Permission::AuditRead => "Read and verify the audit trails.",
    }
}

#[cfg(test)]
mod tests {
    use tidings_rpc::Violations;

    use super::{Permission, Permissions};

    fn set(numbers: &[i32]) -> Permissions {
        numbers.to_vec().into()
    }

    #[test]
    fn the_first_that_is_missing_is_told() {
        let held = set(&[1, 4, 5]);
        assert_eq!(held.first_missing(&set(&[])), None);
        assert_eq!(held.first_missing(&set(&[4, 1])), None);
        assert_eq!(held.first_missing(&set(&[4, 8, 3])), Some(3));
    }

    #[test]
    fn every_permission_is_listed_and_described() {
        let listed: Vec<_> = super::all().map(|permission| permission as i32).collect();
        let known: Vec<_> = (1..10_000)
            .filter(|number| Permission::try_from(*number).is_ok())
            .collect();
        assert_eq!(listed, known);
        assert!(super::all().all(|permission| !super::description(permission).is_empty()));
    }

    #[test]
    fn a_change_is_what_it_gives_and_what_it_takes() {
        assert_eq!(set(&[1, 2]).changed_from(&set(&[2, 3])), set(&[1, 3]));
        assert_eq!(set(&[1]).changed_from(&set(&[1])), set(&[]));
    }

    #[test]
    fn unknown_permissions_are_refused_where_they_stand() {
        let mut violations = Violations::new();
        Permissions::parse("permissions", &[1, 0, 999, -1, 1], &mut violations);
        let fields: Vec<_> = violations.into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["permissions[1]", "permissions[2]", "permissions[3]"]);

        let mut violations = Violations::new();
        Permissions::parse("permissions", &[1; 101], &mut violations);
        assert!(!violations.is_empty());
    }
}
