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

#[cfg(test)]
mod tests {
    use tidings_rpc::Violations;

    use super::Permissions;

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
