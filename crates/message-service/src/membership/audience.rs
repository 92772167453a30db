//! The row of an audience, whose lock every transaction of a membership change holds.

use sqlx::PgConnection;
use tidings_ids::AudienceId;

use super::change::AudienceChange;
use crate::Error;

/// Changes that are known after they were applied. As many as one might still be handed over a second time, by somebody who does not know
/// that they were applied; half a KiB of the row.
const MARKS_MAX: usize = 64;

/// How far an audience is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    /// The number of the last change that is applied.
    pub(super) number: i64,
    /// The marks of the last changes, the newest last.
    marks: Vec<i64>,
}

impl Applied {
    /// Whether what is handed over can be what was handed over before, as far as it was. Where nothing that is still known is among
    /// it, it cannot be seen, and counts as another's.
    pub(super) fn agrees(&self, changes: &[AudienceChange]) -> bool {
        let known_after = self.number - i64::try_from(self.marks.len()).unwrap_or(self.number);
        let mut repeated = changes.iter().filter(|change| change.number <= self.number).peekable();
        if repeated.peek().is_none() {
            return true;
        }
        let mut known = repeated.filter(|change| change.number > known_after).peekable();
        known.peek().is_some()
            && known.all(|change| {
                let place = usize::try_from(change.number - known_after - 1).ok();
                place.and_then(|place| self.marks.get(place)) == Some(&change.mark)
            })
    }

    /// The next change is applied.
    pub(super) fn apply(&mut self, change: &AudienceChange) {
        self.number = change.number;
        if self.marks.len() == MARKS_MAX {
            self.marks.remove(0);
        }
        self.marks.push(change.mark);
    }
}

/// Locks the audience's row, making it if this is the first that is heard of it, and returns how far it is.
pub(super) async fn lock_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<Applied, Error> {
    if let Some(applied) = lock_known_audience(tx, audience_id).await? {
        return Ok(applied);
    }
    sqlx::query!(
        "insert into messages.audiences (audience_id) values ($1) on conflict (audience_id) do nothing",
        audience_id.uuid(),
    )
    .execute(&mut *tx)
    .await?;
    let nothing = Applied {
        number: 0,
        marks: Vec::new(),
    };
    Ok(lock_known_audience(tx, audience_id).await?.unwrap_or(nothing))
}

async fn lock_known_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<Option<Applied>, Error> {
    Ok(sqlx::query_as!(
        Applied,
        "select applied_number as number, recent_marks as marks
         from messages.audiences
         where audience_id = $1
         for update",
        audience_id.uuid(),
    )
    .fetch_optional(tx)
    .await?)
}

/// Says how far the audience is.
pub(super) async fn set_applied(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    applied: &Applied,
) -> Result<(), Error> {
    sqlx::query!(
        "update messages.audiences
         set applied_number = $2, recent_marks = $3
         where audience_id = $1 and applied_number < $2",
        audience_id.uuid(),
        applied.number,
        &applied.marks,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends the audience; whether it had not been ended before.
pub(super) async fn close_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update messages.audiences
         set removed = true
         where audience_id = $1 and not removed",
        audience_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;

    use super::{Applied, MARKS_MAX};
    use crate::membership::{AudienceChange, Change, mark};

    /// Changes of one history, which differ from those of another.
    fn changes(numbers: std::ops::RangeInclusive<i64>, history: i32) -> Vec<AudienceChange> {
        let actor_id = Source::seeded(1).new_id();
        let change = |number| AudienceChange {
            number,
            actor_id,
            mark: mark(actor_id, number, history),
            change: Change::AudienceRemoved,
        };
        numbers.map(change).collect()
    }

    fn applied(last: i64) -> Applied {
        let mut applied = Applied {
            number: 0,
            marks: Vec::new(),
        };
        for change in changes(1..=last, 1) {
            applied.apply(&change);
        }
        applied
    }

    #[test]
    fn what_was_applied_agrees_and_nothing_else_under_its_numbers() {
        for last in [0, 1, 10, 63, 64, 65, 300] {
            let known = applied(last);
            assert!(known.agrees(&changes(last + 1..=last + 5, 1)), "new ones");
            assert!(known.agrees(&changes(1..=last + 5, 1)), "all once more");
            if last > 0 {
                assert!(known.agrees(&changes(last..=last, 1)));
                assert!(!known.agrees(&changes(last..=last, 2)));
                assert!(!known.agrees(&changes(1..=last + 1, 2)));
                let mut mixed = changes(1..=last + 1, 1);
                mixed[usize::try_from(last - 1).expect("small")].mark += 1;
                assert!(!known.agrees(&mixed));
            }
        }
    }

    #[test]
    fn what_is_too_long_ago_to_be_known_does_not_agree() {
        let known = applied(300);
        let first_known = 300 - i64::try_from(MARKS_MAX).expect("small") + 1;
        assert!(known.agrees(&changes(first_known..=first_known, 1)));
        assert!(!known.agrees(&changes(first_known - 1..=first_known - 1, 1)));
    }
}
