use time::{Duration, OffsetDateTime};

use crate::{
    error::Error,
    user::{Status, etag},
};

/// An account whose row is locked until the transaction ends.
#[derive(Debug, Clone)]
pub struct Account {
    /// Whether it may act.
    pub status: Status,
    /// Which version of the profile it has.
    pub revision: i64,
    /// The name; none once a deletion is final.
    pub username: Option<String>,
    /// The names of its roles.
    pub roles: Vec<String>,
    /// Since when it is deleted.
    pub delete_time: Option<OffsetDateTime>,
    /// What it is again when it is restored.
    pub deleted_status: Option<Status>,
    /// Whether it cannot be restored any more.
    pub deletion_final: bool,
}

/// What can become of an account that was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It may not act.
    Suspend,
    /// It may act again.
    Reactivate,
    /// It may not act, and shows only as deleted.
    Delete,
    /// It is what it was before.
    Undelete,
}

impl Step {
    /// Whether the account may not act afterwards.
    #[must_use]
    pub fn ends(self) -> bool {
        matches!(self, Self::Suspend | Self::Delete)
    }
}

impl Account {
    /// What a client sends back to say which version it has read.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(self.revision)
    }

    /// The status after the step; `None` where the account is there already.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for who is not seen, `STATE_UNSUITABLE` for who was deleted longer ago than `kept_for`.
    pub fn after(&self, step: Step, now: OffsetDateTime, kept_for: Duration) -> Result<Option<Status>, Error> {
        match (step, self.status) {
            (_, Status::Pending | Status::Discarded) | (Step::Suspend | Step::Reactivate, Status::Deleted) => {
                Err(Error::NotFound)
            }
            (Step::Suspend, Status::Active) => Ok(Some(Status::Suspended)),
            (Step::Reactivate, Status::Suspended) => Ok(Some(Status::Active)),
            (Step::Delete, Status::Active | Status::Suspended) => Ok(Some(Status::Deleted)),
            (Step::Undelete, Status::Deleted) => {
                let restorable = self.delete_time.is_some_and(|since| since + kept_for > now) && !self.deletion_final;
                match self.deleted_status.filter(|_| restorable) {
                    Some(before) => Ok(Some(before)),
                    None => Err(Error::StateUnsuitable),
                }
            }
            (Step::Suspend, Status::Suspended)
            | (Step::Reactivate, Status::Active)
            | (Step::Delete, Status::Deleted)
            | (Step::Undelete, Status::Active | Status::Suspended) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::{Account, Step};
    use crate::{error::Error, user::Status};

    const KEPT_FOR: Duration = Duration::days(30);

    fn account(status: Status) -> Account {
        Account {
            status,
            revision: 1,
            username: Some("ada".to_owned()),
            roles: Vec::new(),
            delete_time: None,
            deleted_status: None,
            deletion_final: false,
        }
    }

    fn after(account: &Account, step: Step, now: i64) -> Result<Option<Status>, Error> {
        account.after(step, OffsetDateTime::UNIX_EPOCH + Duration::seconds(now), KEPT_FOR)
    }

    #[test]
    fn each_step_leads_where_it_says_and_is_nothing_when_repeated() {
        let ways = [
            (Step::Suspend, Status::Active, Some(Status::Suspended)),
            (Step::Suspend, Status::Suspended, None),
            (Step::Reactivate, Status::Suspended, Some(Status::Active)),
            (Step::Reactivate, Status::Active, None),
            (Step::Delete, Status::Active, Some(Status::Deleted)),
            (Step::Delete, Status::Suspended, Some(Status::Deleted)),
            (Step::Delete, Status::Deleted, None),
            (Step::Undelete, Status::Active, None),
            (Step::Undelete, Status::Suspended, None),
        ];
        for (step, from, to) in ways {
            assert_eq!(
                after(&account(from), step, 0).expect("permitted"),
                to,
                "{step:?} {from:?}"
            );
        }
    }

    #[test]
    fn who_is_not_seen_is_not_found() {
        for step in [Step::Suspend, Step::Reactivate, Step::Delete, Step::Undelete] {
            for status in [Status::Pending, Status::Discarded] {
                assert!(matches!(after(&account(status), step, 0), Err(Error::NotFound)));
            }
        }
        for step in [Step::Suspend, Step::Reactivate] {
            assert!(matches!(
                after(&account(Status::Deleted), step, 0),
                Err(Error::NotFound)
            ));
        }
    }

    #[test]
    fn the_deleted_come_back_as_they_were_for_thirty_days() {
        let month = KEPT_FOR.whole_seconds();
        for before in [Status::Active, Status::Suspended] {
            let deleted = Account {
                delete_time: Some(OffsetDateTime::UNIX_EPOCH),
                deleted_status: Some(before),
                ..account(Status::Deleted)
            };
            assert_eq!(
                after(&deleted, Step::Undelete, month - 1).expect("in time"),
                Some(before)
            );
            assert!(matches!(
                after(&deleted, Step::Undelete, month),
                Err(Error::StateUnsuitable)
            ));
            let wiped = Account {
                deletion_final: true,
                ..deleted
            };
            assert!(matches!(after(&wiped, Step::Undelete, 0), Err(Error::StateUnsuitable)));
        }
    }
}
