//! How many wrong guesses are listened to (`reliability.md` G28, A22, A23).
//!
//! Each attempt to log in is counted as a failure before its password is looked at, and taken back when it was none: so that of
//! many at once no more are looked at than of as many in a row. What is counted together is a bucket:
//!
//! - the identifier and the network prefix that the attempt comes from: a few in 15 minutes;
//! - the identifier: many since the last success;
//! - all accounts together: very many in a minute;
//! - or, for a device that shows the token of an earlier login to this account, that device alone: a few in 15 minutes, many since
//!   its last success. Whatever others do does not touch it, so nobody can lock it out.
//!
//! Buckets are keyed hashes of what the caller sent. Whether there is such an account shows in none of them, and each path asks the
//! same statements. An account has two identifiers, so each gets half of what G28 grants an account: were they counted together,
//! failures with one would tell that the other is the same account's.

mod attempt;
mod buckets;
mod counts;
mod limits;
mod names;

use std::{net::IpAddr, time::Duration};

use tidings_db::transaction;
use tidings_ids::UserId;
use tokio::time::Instant;

pub use self::limits::Throttle;
pub(crate) use self::names::{count_taken, permit_names};
pub(crate) use self::{attempt::Attempt, buckets::Buckets};
use crate::{
    Error,
    account::Identifier,
    auth::Auth,
    device::Device,
    store::{accounts, throttles},
};

/// What one wait for attempts of this process that may yet succeed takes, and all of them together.
const WAIT: Duration = Duration::from_millis(25);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Admits an attempt to prove whom `who` names, or says when the next one is. No password is looked at before.
pub(crate) async fn admit<'a>(
    auth: &'a Auth,
    who: &Identifier,
    device: Option<&Device>,
    address: Option<IpAddr>,
) -> Result<Attempt<'a>, Error> {
    let buckets = &auth.throttle;
    let counted = buckets.counting(who, device, address);
    let begun = Instant::now();
    let mut first = true;
    loop {
        let now = auth.now();
        // Noted before it is counted, so that whoever is refused for it finds it here.
        let attempt = buckets.open(counted.clone(), now, device.is_some());
        let refused = match count(auth, &attempt).await {
            Ok(()) => return Ok(attempt.admit()),
            Err(Error::RateLimited(wait)) => wait,
            Err(error) => return Err(error),
        };
        drop(attempt);
        // Perhaps only by attempts that are about to succeed, as of a program that logs in many times at once.
        if begun.elapsed() >= WAIT_MAX || !buckets.is_open(&counted, first) {
            return Err(Error::RateLimited(refused));
        }
        first = false;
        tokio::time::sleep(WAIT).await;
    }
}

/// Counts the attempt in its buckets, all or none.
async fn count(auth: &Auth, attempt: &Attempt<'_>) -> Result<(), Error> {
    let (limits, now) = (attempt.buckets.limits, attempt.time);
    if !attempt.known_device {
        let failed = throttles::streak(&auth.pool, &attempt.buckets.minute(now)).await?;
        if let Some(wait) = limits.refuses_until_next_minute(failed, now) {
            return Err(Error::RateLimited(wait));
        }
    }
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let mut rows = Vec::new();
        for counted in &attempt.counted {
            rows.push((*counted, throttles::lock(&mut *tx, &counted.bucket, now).await?));
        }
        counts::add_to_all(&mut rows, limits, now).map_err(Error::RateLimited)?;
        for (counted, row) in &rows {
            throttles::save(&mut *tx, &counted.bucket, row).await?;
        }
        Ok(())
    })
}

/// Forgets an account's failures in a row, since its password is a new one: in the transaction that sets it.
pub(crate) async fn forgive(auth: &Auth, tx: &mut sqlx::PgConnection, user_id: UserId) -> Result<(), Error> {
    let Some(account) = accounts::get(&mut *tx, user_id).await? else {
        return Ok(());
    };
    Ok(throttles::forgive(tx, &auth.throttle.streaks_of(&account)).await?)
}

#[cfg(test)]
mod tests;
