use crate::Error;

/// What a member is in an audience. A greater one includes the rights of a lesser one. The numbers are those of
/// `tidings.common.v1.ChatRole` and of the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[repr(i16)]
pub(crate) enum Role {
    Member = 1,
    Admin = 2,
    Owner = 3,
}

impl Role {
    /// The audience's own affairs, such as its titles and who is in it, are for admins and owners.
    pub(crate) fn require_admin(self) -> Result<(), Error> {
        if self >= Self::Admin {
            Ok(())
        } else {
            Err(Error::PermissionMissing)
        }
    }

    /// Ending an audience is for owners.
    pub(crate) fn require_owner(self) -> Result<(), Error> {
        if self == Self::Owner {
            Ok(())
        } else {
            Err(Error::PermissionMissing)
        }
    }

    /// Whether who has this role may make somebody a member with the role `granted`. Nobody grants what they do not have, and
    /// only owners make admins.
    pub(crate) fn check_grant(self, granted: Self) -> Result<(), Error> {
        self.require_admin()?;
        if self == Self::Owner || granted == Self::Member {
            Ok(())
        } else {
            Err(Error::RankTooLow)
        }
    }

    /// Whether who has this role may remove another who has the role `other`. Owners may remove each other.
    pub(crate) fn check_removal(self, other: Self) -> Result<(), Error> {
        self.require_admin()?;
        if self == Self::Owner || other < self {
            Ok(())
        } else {
            Err(Error::RankTooLow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{self, Admin, Member, Owner};
    use crate::Error;

    const ALL: [Role; 3] = [Member, Admin, Owner];

    #[test]
    fn nobody_grants_at_or_above_their_own_role_except_owners() {
        for mine in ALL {
            for granted in ALL {
                let allowed = mine.check_grant(granted).is_ok();
                assert_eq!(
                    allowed,
                    mine == Owner || (mine == Admin && granted < mine),
                    "{mine:?} grants {granted:?}"
                );
            }
        }
    }

    #[test]
    fn nobody_removes_at_or_above_their_own_role_except_owners() {
        for mine in ALL {
            for other in ALL {
                let allowed = mine.check_removal(other).is_ok();
                assert_eq!(
                    allowed,
                    mine == Owner || (mine == Admin && other < mine),
                    "{mine:?} removes {other:?}"
                );
            }
        }
    }

    #[test]
    fn members_lack_the_right_and_admins_the_rank() {
        assert!(matches!(Member.check_grant(Member), Err(Error::PermissionMissing)));
        assert!(matches!(Member.check_removal(Member), Err(Error::PermissionMissing)));
        assert!(matches!(Admin.check_grant(Admin), Err(Error::RankTooLow)));
        assert!(matches!(Admin.check_removal(Owner), Err(Error::RankTooLow)));
    }
}
