//! A hundred thousand guesses, played against the counts as they are kept, without a password or a database.

use std::collections::HashMap;

use tidings_authn::SuiteSecret;
use tidings_ids::Source;

use super::*;
use crate::store::{
    accounts::Account,
    throttles::{Bucket, Row},
};

const GUESSES: u32 = 100_000;

/// What is counted, as the table has it.
struct Counts {
    buckets: Buckets,
    source: Source,
    rows: HashMap<Bucket, Row>,
    failures: HashMap<Bucket, i32>,
}

impl Counts {
    fn new() -> Self {
        let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long");
        Self {
            buckets: Buckets::new(&secret, Throttle::STANDARD),
            source: Source::seeded(1),
            rows: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Whether the password of this attempt is looked at, which is then wrong.
    fn guess(&mut self, who: &Identifier, device: Option<&Device>, address: IpAddr) -> bool {
        let admitted = self.admit(who, device, address).is_some();
        if admitted && device.is_none() {
            *self.failures.entry(self.buckets.minute(self.source.now())).or_default() += 1;
        }
        admitted
    }

    /// Whether the password of this attempt is looked at, which is then the account's.
    fn log_in(&mut self, account: &Account, device: Option<&Device>, address: IpAddr) -> bool {
        let who = Identifier::Username(account.username.clone());
        let Some(counted) = self.admit(&who, device, address) else {
            return false;
        };
        let mut streaks = self.buckets.streaks_of(account);
        for counted in counted {
            let row = self.rows.get_mut(&counted.bucket).expect("just counted");
            row.take_back(self.source.now());
            streaks.extend(counted.streak.then_some(counted.bucket));
        }
        for bucket in streaks {
            if let Some(row) = self.rows.get_mut(&bucket) {
                row.streak = 0;
            }
        }
        true
    }

    fn admit(&mut self, who: &Identifier, device: Option<&Device>, address: IpAddr) -> Option<Vec<counts::Counted>> {
        let (limits, now) = (self.buckets.limits, self.source.now());
        let failed = self.failures.get(&self.buckets.minute(now)).copied().unwrap_or(0);
        if device.is_none() && limits.refuses_until_next_minute(failed, now).is_some() {
            return None;
        }
        let counted = self.buckets.counting(who, device, Some(address));
        let empty = || Row {
            failure_times: Vec::new(),
            streak: 0,
            expire_time: now,
        };
        let rows = counted.iter().map(|counted| {
            let row = self.rows.get(&counted.bucket).cloned();
            (*counted, row.unwrap_or_else(empty))
        });
        let mut rows: Vec<_> = rows.collect();
        counts::add_to_all(&mut rows, limits, now).ok()?;
        self.rows
            .extend(rows.into_iter().map(|(counted, row)| (counted.bucket, row)));
        Some(counted)
    }
}

fn network(number: u32) -> IpAddr {
    let [_, a, b, c] = number.to_be_bytes();
    IpAddr::from([10 + a, b, c, 1])
}

const OWNERS_DEVICE: Device = Device { id: [7; 16] };

fn ada() -> Account {
    Account {
        user_id: Source::seeded(2).new_id(),
        username: "ada".to_owned(),
        email: Some("ada@example.org".to_owned()),
        password_hash: String::new(),
        password_version: 1,
        active: true,
        activation_due: false,
    }
}

#[test]
fn of_a_hundred_thousand_guesses_at_one_account_few_are_looked_at() {
    let (mut counts, ada) = (Counts::new(), ada());
    let who = Identifier::Username(ada.username.clone());
    let mut looked_at = 0;
    for guess in 0..GUESSES {
        // A day of them, from a thousand networks.
        counts.source.advance(Duration::from_millis(864));
        looked_at += u32::from(counts.guess(&who, None, network(guess % 1_000)));
    }
    assert_eq!(looked_at, Throttle::STANDARD.streak_max.get());
    assert!(
        counts.log_in(&ada, Some(&OWNERS_DEVICE), network(1)),
        "nobody locks it out"
    );
    // Which is a new start for all, and from one network a short one.
    let again = (0..GUESSES).filter(|_| counts.guess(&who, None, network(5)));
    assert_eq!(again.count(), 5);
}

#[test]
fn of_a_hundred_thousand_guesses_at_as_many_accounts_few_are_looked_at() {
    let (mut counts, ada) = (Counts::new(), ada());
    let mut looked_at = 0;
    for guess in 0..GUESSES {
        // Ten minutes of them, each from another network.
        counts.source.advance(Duration::from_millis(6));
        let who = Identifier::Username(format!("user{guess}"));
        looked_at += u32::from(counts.guess(&who, None, network(guess)));
        if guess.is_multiple_of(100) {
            assert!(
                counts.log_in(&ada, Some(&OWNERS_DEVICE), network(guess)),
                "after {guess}"
            );
        }
    }
    // Eleven minutes have a part of ten.
    let bound = 11 * Throttle::STANDARD.minute_max.get();
    assert!((1..=bound).contains(&looked_at), "{looked_at} of {GUESSES}");
}
