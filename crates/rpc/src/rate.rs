use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DashMapStateStore,
};
use parking_lot::Mutex;
use tidings_ids::UserId;
use tidings_proto_common::v1::{ErrorReason, RateClass};
use tokio::time::Instant;

use crate::Problem;

/// Whose calls count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// A user's, from wherever they come.
    User(UserId),
    /// Those of a network: a /24 of IPv4 or a /56 of IPv6, as one customer has it.
    Prefix(IpAddr),
    /// Those whose origin the transport does not tell.
    Unknown,
}

impl RateKey {
    /// The key of the network that the address lies in.
    #[must_use]
    pub fn prefix(address: IpAddr) -> Self {
        Self::Prefix(match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                IpAddr::from([a, b, c, 0])
            }
            IpAddr::V6(address) => {
                let mut octets = address.octets();
                octets[7..].fill(0);
                IpAddr::from(octets)
            }
        })
    }
}

type Limiter = RateLimiter<RateKey, DashMapStateStore<RateKey>, DefaultClock>;

/// The limits of all rate classes (GCRA). The numbers stand in the comments of `RateClass`.
#[derive(Debug)]
pub struct RateLimits {
    read: Limiter,
    write: Limiter,
    send: Limiter,
    credential: Limiter,
    stream: Limiter,
    clock: DefaultClock,
    swept: Mutex<Instant>,
}

impl RateLimits {
    /// Keys that are back at their full burst are forgotten this often.
    const SWEEP_EVERY: Duration = Duration::from_secs(60);

    /// The limits, times `factor`: 1 in production, more where one client plays many users.
    #[must_use]
    pub fn new(factor: NonZeroU32) -> Self {
        let limiter = |per_second: u32, burst: u32| {
            let times = |number: u32| {
                NonZeroU32::new(number)
                    .expect("limits are not zero")
                    .saturating_mul(factor)
            };
            RateLimiter::dashmap(Quota::per_second(times(per_second)).allow_burst(times(burst)))
        };
        Self {
            read: limiter(100, 200),
            write: limiter(20, 100),
            send: limiter(20, 100),
            credential: limiter(1, 20),
            stream: limiter(2, 20),
            clock: DefaultClock::default(),
            swept: Mutex::new(Instant::now()),
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`, with the time after which a call passes.
    pub fn check(&self, class: RateClass, key: RateKey) -> Result<(), Problem> {
        let Some(limiter) = self.limiter(class) else {
            return Ok(());
        };
        self.sweep();
        limiter.check_key(&key).map_err(|not_until| {
            let wait = not_until
                .wait_time_from(self.clock.now())
                .max(Duration::from_millis(50));
            Problem::new(ErrorReason::RateLimited).retry_after(wait)
        })
    }

    fn limiter(&self, class: RateClass) -> Option<&Limiter> {
        match class {
            RateClass::Read => Some(&self.read),
            RateClass::Write => Some(&self.write),
            RateClass::Send => Some(&self.send),
            RateClass::Credential => Some(&self.credential),
            RateClass::Stream => Some(&self.stream),
            RateClass::Internal | RateClass::Unspecified => None,
        }
    }

    fn sweep(&self) {
        {
            let mut swept = self.swept.lock();
            if swept.elapsed() < Self::SWEEP_EVERY {
                return;
            }
            *swept = Instant::now();
        }
        for limiter in [&self.read, &self.write, &self.send, &self.credential, &self.stream] {
            limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, num::NonZeroU32};

    use tidings_ids::Source;
    use tidings_proto_common::v1::RateClass;

    use super::{RateKey, RateLimits};

    #[test]
    fn one_caller_at_the_limit_does_not_slow_another() {
        let limits = RateLimits::new(NonZeroU32::MIN);
        let source = Source::seeded(1);
        let (greedy, modest) = (RateKey::User(source.new_id()), RateKey::User(source.new_id()));
        let passed = (0..100)
            .filter(|_| limits.check(RateClass::Credential, greedy).is_ok())
            .count();
        assert!((20..=25).contains(&passed), "{passed} passed");
        assert!(limits.check(RateClass::Credential, modest).is_ok());
        assert!(limits.check(RateClass::Read, greedy).is_ok());
    }

    #[test]
    fn addresses_of_one_network_share_a_limit() {
        let key = |text: &str| RateKey::prefix(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(key("192.0.2.1"), key("192.0.2.200"));
        assert_ne!(key("192.0.2.1"), key("192.0.3.1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("2001:db8:0:aa01::1"), key("2001:db8:0:aa02::1"));
        assert_ne!(key("2001:db8:0:ab00::1"), key("2001:db8:0:aa00::1"));
    }
}
