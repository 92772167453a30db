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

use std::{collections::HashMap, net::IpAddr, num::NonZeroU32, time::Duration};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use tidings_authn::SuiteSecret;
use tidings_db::transaction;
use tidings_ids::UserId;
use tidings_rpc::RateKey;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::{
    Error,
    account::{Identifier, fold},
    auth::Auth,
    device::Device,
    store::{
        accounts::{self, Account},
        throttles::{self, Bucket, Row},
    },
};

/// Failures are limited within this time.
const WINDOW: time::Duration = time::Duration::minutes(15);

/// Failures in a row are forgotten after this long without another: a row cannot be kept for ever for every name that anybody made
/// up.
const STREAK_KEPT_FOR: time::Duration = time::Duration::days(30);

/// What one wait for attempts of this process that may yet succeed takes, and all of them together.
const WAIT: Duration = Duration::from_millis(25);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How many failures there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Of one identifier from one network prefix, and of one known device, in 15 minutes.
    pub window_max: NonZeroU32,
    /// Of one identifier from anywhere, and of one known device, since the last success.
    pub streak_max: NonZeroU32,
    /// Of all identifiers from anywhere, known devices aside, in a minute.
    pub minute_max: NonZeroU32,
    /// Answers to one network prefix in 15 minutes that a username or an address is taken.
    pub taken_max: NonZeroU32,
}

const fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("a limit is not zero")
}

impl Throttle {
    /// G28 grants an account 10 and 100, and it has two identifiers. 600 in a minute are what a large deployment's users mistype, and
    /// far below what guessing passwords of many accounts takes to get anywhere.
    pub const STANDARD: Self = Self {
        window_max: number(5),
        streak_max: number(50),
        minute_max: number(600),
        taken_max: number(30),
    };

    /// The limits, times `factor`, where one client plays many users.
    #[must_use]
    pub fn times(self, factor: NonZeroU32) -> Self {
        Self {
            window_max: self.window_max.saturating_mul(factor),
            streak_max: self.streak_max.saturating_mul(factor),
            minute_max: self.minute_max.saturating_mul(factor),
            taken_max: self.taken_max.saturating_mul(factor),
        }
    }
}

/// The attempts of this process on one bucket that are not settled.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    /// Not yet known to be admitted.
    asking: usize,
    admitted: usize,
}

/// Names the buckets, and knows which attempts of this process are not settled.
#[derive(Debug)]
pub(crate) struct Buckets {
    key: hmac::Key,
    limits: Throttle,
    open: Mutex<HashMap<Bucket, Open>>,
}

impl Buckets {
    pub(crate) fn new(secret: &SuiteSecret, limits: Throttle) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret.derive("login throttles")),
            limits,
            open: Mutex::default(),
        }
    }

    fn bucket(&self, kind: &str, parts: &[&[u8]]) -> Bucket {
        let mut context = hmac::Context::with_key(&self.key);
        for part in std::iter::once(kind.as_bytes()).chain(parts.iter().copied()) {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    fn name(&self, who: &Identifier) -> Bucket {
        let (kind, text) = match who {
            Identifier::Email(key) => ("address", key),
            Identifier::Username(name) => ("username", name),
        };
        self.bucket(kind, &[text.as_bytes()])
    }

    fn minute(&self, now: OffsetDateTime) -> Bucket {
        self.bucket("minute", &[&now.unix_timestamp().div_euclid(60).to_be_bytes()])
    }

    fn taken(&self, address: Option<IpAddr>) -> Bucket {
        self.bucket("taken names", &[&prefix(address)])
    }

    /// Whether an attempt on one of the buckets may yet turn out to be no failure.
    fn is_open(&self, counted: &[Counted], or_asks: bool) -> bool {
        let open = self.open.lock();
        let mut found = counted.iter().filter_map(|counted| open.get(&counted.bucket));
        found.any(|open| open.admitted > 0 || (or_asks && open.asking > 0))
    }

    fn open(&self, counted: Vec<Counted>, time: OffsetDateTime, known_device: bool) -> Attempt<'_> {
        {
            let mut open = self.open.lock();
            for counted in &counted {
                open.entry(counted.bucket).or_default().asking += 1;
            }
        }
        Attempt {
            buckets: self,
            counted,
            time,
            known_device,
            admitted: false,
        }
    }

    fn streaks_of(&self, account: &Account) -> Vec<Bucket> {
        let username = Identifier::Username(account.username.clone());
        let email = account.email.as_deref().map(|email| Identifier::Email(fold(email)));
        std::iter::once(username)
            .chain(email)
            .map(|identifier| self.name(&identifier))
            .collect()
    }
}

/// The network that an address lies in, in bytes; of no address, none.
fn prefix(address: Option<IpAddr>) -> Vec<u8> {
    match address.map(RateKey::prefix) {
        Some(RateKey::Prefix(IpAddr::V4(network))) => network.octets().to_vec(),
        Some(RateKey::Prefix(IpAddr::V6(network))) => network.octets().to_vec(),
        _ => Vec::new(),
    }
}

/// A bucket, and what of it counts.
#[derive(Debug, Clone, Copy)]
struct Counted {
    bucket: Bucket,
    window: bool,
    streak: bool,
}

/// An attempt that was admitted, and counts as a failure until it is settled.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    buckets: &'a Buckets,
    counted: Vec<Counted>,
    time: OffsetDateTime,
    known_device: bool,
    admitted: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut open = self.buckets.open.lock();
        for counted in &self.counted {
            let Some(found) = open.get_mut(&counted.bucket) else {
                continue;
            };
            if self.admitted {
                found.admitted -= 1;
            } else {
                found.asking -= 1;
            }
            if found.admitted + found.asking == 0 {
                open.remove(&counted.bucket);
            }
        }
    }
}

impl Attempt<'_> {
    fn admit(mut self) -> Self {
        {
            let mut open = self.buckets.open.lock();
            for counted in &self.counted {
                let found = open.entry(counted.bucket).or_default();
                found.asking -= 1;
                found.admitted += 1;
            }
        }
        self.admitted = true;
        self
    }
}

/// Admits an attempt to prove whom `who` names, or says when the next one is. No password is looked at before.
pub(crate) async fn admit<'a>(
    auth: &'a Auth,
    who: &Identifier,
    device: Option<&Device>,
    address: Option<IpAddr>,
) -> Result<Attempt<'a>, Error> {
    let buckets = &auth.throttle;
    let name = buckets.name(who);
    let counted = match device {
        Some(device) => vec![Counted {
            bucket: buckets.bucket("device", &[&device.id]),
            window: true,
            streak: true,
        }],
        None => vec![
            Counted {
                bucket: buckets.bucket("identifier and network", &[&name, &prefix(address)]),
                window: true,
                streak: false,
            },
            Counted {
                bucket: name,
                window: false,
                streak: true,
            },
        ],
    };
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
        if failed >= signed(limits.minute_max) {
            let left = 60 - now.unix_timestamp().rem_euclid(60);
            return Err(Error::RateLimited(Duration::from_secs(left.unsigned_abs())));
        }
    }
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let mut rows = Vec::new();
        for counted in &attempt.counted {
            let mut row = throttles::lock(&mut *tx, &counted.bucket, now).await?;
            if let Some(wait) = row.refuses(*counted, limits, now) {
                return Err(Error::RateLimited(wait));
            }
            row.add(*counted, now);
            rows.push(row);
        }
        for (counted, row) in attempt.counted.iter().zip(&rows) {
            throttles::save(&mut *tx, &counted.bucket, row).await?;
        }
        Ok(())
    })
}

fn signed(limit: NonZeroU32) -> i32 {
    i32::try_from(limit.get()).unwrap_or(i32::MAX)
}

impl Row {
    /// How long the bucket takes no further attempt, in whole seconds, if it takes none now. Drops what counts no longer.
    fn refuses(&mut self, counted: Counted, limits: Throttle, now: OffsetDateTime) -> Option<Duration> {
        if now >= self.expire_time {
            *self = Self {
                failure_times: Vec::new(),
                streak: 0,
                expire_time: now,
            };
        }
        self.failure_times.retain(|time| *time > now - WINDOW);
        let max = usize::try_from(limits.window_max.get()).unwrap_or(usize::MAX);
        let in_window = self
            .failure_times
            .len()
            .checked_sub(max)
            .map(|over| self.failure_times[over] + WINDOW);
        let in_streak = (self.streak >= signed(limits.streak_max)).then_some(self.expire_time);
        let until = in_window
            .filter(|_| counted.window)
            .max(in_streak.filter(|_| counted.streak))?;
        let seconds = (until - now).whole_seconds().unsigned_abs() + 1;
        Some(Duration::from_secs(seconds))
    }

    fn add(&mut self, counted: Counted, now: OffsetDateTime) {
        if counted.window {
            self.failure_times.push(now);
            self.expire_time = self.expire_time.max(now + WINDOW);
        }
        if counted.streak {
            self.streak = self.streak.saturating_add(1);
            self.expire_time = self.expire_time.max(now + STREAK_KEPT_FOR);
        }
    }

    /// Takes an attempt back that was no failure.
    fn take_back(&mut self, time: OffsetDateTime) {
        if let Some(at) = self.failure_times.iter().position(|failure| *failure == time) {
            self.failure_times.remove(at);
        }
        self.streak = self.streak.saturating_sub(1).max(0);
    }
}

impl Attempt<'_> {
    /// It was a wrong guess: it stays counted.
    pub(crate) async fn failed(self, auth: &Auth) {
        if !self.known_device {
            let bucket = self.buckets.minute(self.time);
            let expire_time = self.time + time::Duration::minutes(2);
            report(
                throttles::add(&auth.pool, &bucket, expire_time)
                    .await
                    .map_err(Error::from),
            );
        }
    }

    /// It was no guess, or the right one that came to nothing for another reason: it does not count.
    pub(crate) async fn withdrawn(self, auth: &Auth) {
        report(self.take_back(auth).await);
    }

    /// It has proven who it is: the account has no failures in a row any more, by whichever of its identifiers they were.
    pub(crate) async fn succeeded(self, auth: &Auth, account: &Account) {
        report(self.take_back(auth).await);
        let mut streaks = self.buckets.streaks_of(account);
        streaks.extend(
            self.counted
                .iter()
                .filter(|counted| counted.streak)
                .map(|counted| counted.bucket),
        );
        report(throttles::forgive(&auth.pool, &streaks).await.map_err(Error::from));
    }

    async fn take_back(&self, auth: &Auth) -> Result<(), Error> {
        transaction!(&auth.pool, |tx| -> Result<_, Error> {
            for counted in &self.counted {
                let mut row = throttles::lock(&mut *tx, &counted.bucket, self.time).await?;
                row.take_back(self.time);
                throttles::save(&mut *tx, &counted.bucket, &row).await?;
            }
            Ok(())
        })
    }
}

/// The answer stands whether or not what is counted could be brought up to date: at worst an attempt counts that should not.
fn report(outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "an attempt to log in could not be settled and counts as a failure");
    }
}

/// Forgets an account's failures in a row, since its password is a new one: in the transaction that sets it.
pub(crate) async fn forgive(auth: &Auth, tx: &mut sqlx::PgConnection, user_id: UserId) -> Result<(), Error> {
    let Some(account) = accounts::get(&mut *tx, user_id).await? else {
        return Ok(());
    };
    Ok(throttles::forgive(tx, &auth.throttle.streaks_of(&account)).await?)
}

/// Whether this network may still be told that a name is taken, whatever name it asks for.
pub(crate) async fn permit_names(auth: &Auth, address: Option<IpAddr>) -> Result<(), Error> {
    let (limits, now) = (auth.throttle.limits, auth.now());
    let taken = throttles::get(&auth.pool, &auth.throttle.taken(address)).await?;
    let Some(mut row) = taken else { return Ok(()) };
    let limits = Throttle {
        window_max: limits.taken_max,
        ..limits
    };
    let counted = Counted {
        bucket: auth.throttle.taken(address),
        window: true,
        streak: false,
    };
    row.refuses(counted, limits, now)
        .map_or(Ok(()), |wait| Err(Error::RateLimited(wait)))
}

/// Counts the answer that a name is taken.
pub(crate) async fn count_taken(auth: &Auth, address: Option<IpAddr>) -> Result<(), Error> {
    let (bucket, now) = (auth.throttle.taken(address), auth.now());
    let counted = Counted {
        bucket,
        window: true,
        streak: false,
    };
    let limits = Throttle {
        window_max: auth.throttle.limits.taken_max,
        ..auth.throttle.limits
    };
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let mut row = throttles::lock(&mut *tx, &bucket, now).await?;
        // Of many at once some are beyond the limit: the row does not grow for them.
        if row.refuses(counted, limits, now).is_none() {
            row.add(counted, now);
            throttles::save(&mut *tx, &bucket, &row).await?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;

    use super::*;

    const BOTH: Counted = Counted {
        bucket: [0; 32],
        window: true,
        streak: true,
    };

    #[test]
    fn a_window_slides_and_a_streak_does_not() {
        let source = Source::seeded(1);
        let limits = Throttle {
            window_max: number(2),
            streak_max: number(4),
            ..Throttle::STANDARD
        };
        let mut row = Row {
            failure_times: Vec::new(),
            streak: 0,
            expire_time: source.now(),
        };
        for _ in 0..2 {
            for _ in 0..2 {
                assert_eq!(row.refuses(BOTH, limits, source.now()), None);
                row.add(BOTH, source.now());
                source.advance(Duration::from_secs(60));
            }
            let wait = row.refuses(BOTH, limits, source.now()).expect("two in the window");
            if row.streak < 4 {
                assert_eq!(wait, Duration::from_secs(13 * 60 + 1));
            } else {
                assert!(wait > Duration::from_secs(29 * 24 * 3_600), "{wait:?}");
            }
            source.advance(Duration::from_secs(15 * 60));
        }
        assert!(row.refuses(BOTH, limits, source.now()).is_some(), "four in a row");
        source.advance(Duration::from_secs(30 * 24 * 3_600));
        assert_eq!(row.refuses(BOTH, limits, source.now()), None, "forgotten");
    }

    #[test]
    fn what_is_taken_back_was_not_counted() {
        let source = Source::seeded(1);
        let mut row = Row {
            failure_times: Vec::new(),
            streak: 0,
            expire_time: source.now(),
        };
        row.add(BOTH, source.now());
        row.add(BOTH, source.now());
        row.take_back(source.now());
        assert_eq!((row.failure_times.len(), row.streak), (1, 1));
        row.take_back(source.now());
        row.take_back(source.now());
        assert_eq!((row.failure_times.len(), row.streak), (0, 0));
    }

    #[test]
    fn buckets_are_told_apart_by_all_their_parts() {
        let secret = |text: &str| SuiteSecret::new(&format!("{text}-0c9f6ad2b1e84e7fa3d5c7b09d1e2f34")).expect("long");
        let buckets = Buckets::new(&secret("a"), Throttle::STANDARD);
        let all = [
            buckets.name(&Identifier::Username("ada".to_owned())),
            buckets.name(&Identifier::Email("ada".to_owned())),
            buckets.bucket("a", &[b"bc"]),
            buckets.bucket("ab", &[b"c"]),
            buckets.bucket("a", &[b"b", b"c"]),
            Buckets::new(&secret("b"), Throttle::STANDARD).name(&Identifier::Username("ada".to_owned())),
            buckets.taken(None),
            buckets.taken("192.0.2.1".parse().ok()),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(
            buckets.taken("192.0.2.1".parse().ok()),
            buckets.taken("192.0.2.9".parse().ok())
        );
    }
}
