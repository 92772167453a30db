//! Finding users whom one has not met.

use tidings_db::transaction;

use super::Directory;
use crate::{
    error::Error,
    search::Query,
    store::{
        search::{self, LookupKey, Place},
        users,
    },
    user::{Status, User},
};

/// Words of the index that one call looks at: some 10 ms of work. A query of one letter meets a tenth of all names, most of
/// which may not have its other words.
const SCAN_MAX: i64 = 2_000;

/// Users whose words one transaction makes anew.
const REFRESH_BATCH: i64 = 200;

/// A page of users who were found.
#[derive(Debug, Clone)]
pub(crate) struct Hits {
    /// The users, in order of the word that they were found by, and then of id.
    pub users: Vec<User>,
    /// After which the next page begins; `None` for the last page.
    pub next: Option<Place>,
}

impl Directory {
    /// The user with exactly this key.
    pub(crate) async fn look_up(&self, key: &LookupKey) -> Result<User, Error> {
        let user_id = search::look_up(&self.pool, key).await?.ok_or(Error::NotFound)?;
        let user = self.user(user_id).await?;
        // Deleted since.
        if is_found(&user) {
            Ok(user)
        } else {
            Err(Error::NotFound)
        }
    }

    /// The next users with words that begin with those of the query.
    pub(crate) async fn search(&self, query: &Query, after: Option<&Place>, size: u32) -> Result<Hits, Error> {
        let mut found = search::find(&self.pool, query, after, SCAN_MAX, i64::from(size) + 1).await?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let next = if found.hits.len() > size {
            found.hits.truncate(size);
            found.hits.last().cloned()
        } else {
            found.stopped_at
        };
        let user_ids: Vec<_> = found.hits.iter().map(|hit| hit.user_id).collect();
        let mut users = users::find(&self.pool, &user_ids).await?;
        users.retain(is_found);
        users.sort_by_key(|user| user_ids.iter().position(|id| *id == user.user_id));
        Ok(Hits { users, next })
    }

    /// Makes the words of users anew that are not those of their names, some of them: of all who registered with a release that knew no
    /// words. Returns whether there may be more.
    pub(crate) async fn refresh_words(&self) -> Result<bool, Error> {
        let count = transaction!(&self.pool, |tx| -> Result<_, Error> {
            let user_ids = search::lock_stale(tx, REFRESH_BATCH).await?;
            for user_id in &user_ids {
                search::refresh(tx, *user_id).await?;
            }
            Ok(user_ids.len())
        })?;
        Ok(i64::try_from(count).is_ok_and(|count| count >= REFRESH_BATCH))
    }
}

fn is_found(user: &User) -> bool {
    matches!(user.status, Status::Active | Status::Suspended)
}
