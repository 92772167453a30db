use std::{collections::HashMap, net::IpAddr};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use tidings_authn::SuiteSecret;
use tidings_rpc::RateKey;
use time::OffsetDateTime;

use super::{Attempt, Throttle, counts::Counted};
use crate::{
    account::{Identifier, fold},
    device::Device,
    store::{accounts::Account, throttles::Bucket},
};

/// The attempts of this process on one bucket that are not settled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Open {
    /// Not yet known to be admitted.
    pub(super) asking: usize,
    pub(super) admitted: usize,
}

/// Names the buckets, and knows which attempts of this process are not settled.
#[derive(Debug)]
pub(crate) struct Buckets {
    key: hmac::Key,
    pub(super) limits: Throttle,
    pub(super) open: Mutex<HashMap<Bucket, Open>>,
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

    /// What an attempt to prove whom `who` names counts in.
    pub(super) fn counting(&self, who: &Identifier, device: Option<&Device>, address: Option<IpAddr>) -> Vec<Counted> {
        let Some(device) = device else {
            let name = self.name(who);
            return vec![
                Counted {
                    bucket: self.bucket("identifier and network", &[&name, &prefix(address)]),
                    window: true,
                    streak: false,
                },
                Counted {
                    bucket: name,
                    window: false,
                    streak: true,
                },
            ];
        };
        vec![Counted {
            bucket: self.bucket("device", &[&device.id]),
            window: true,
            streak: true,
        }]
    }

    pub(super) fn minute(&self, now: OffsetDateTime) -> Bucket {
        self.bucket("minute", &[&now.unix_timestamp().div_euclid(60).to_be_bytes()])
    }

    pub(super) fn taken(&self, address: Option<IpAddr>) -> Bucket {
        self.bucket("taken names", &[&prefix(address)])
    }

    /// Whether an attempt on one of the buckets may yet turn out to be no failure.
    pub(super) fn is_open(&self, counted: &[Counted], or_asks: bool) -> bool {
        let open = self.open.lock();
        let mut found = counted.iter().filter_map(|counted| open.get(&counted.bucket));
        found.any(|open| open.admitted > 0 || (or_asks && open.asking > 0))
    }

    pub(super) fn open(&self, counted: Vec<Counted>, time: OffsetDateTime, known_device: bool) -> Attempt<'_> {
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

    pub(super) fn streaks_of(&self, account: &Account) -> Vec<Bucket> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
