//! Random moments, from a seed that is printed.

use std::{env, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidings_ids::Source;

/// Names a seed, to repeat a run.
const SEED_VARIABLE: &str = "TIDINGS_FAULT_SEED";

/// Says how many rounds a test plays.
const ROUNDS_VARIABLE: &str = "TIDINGS_FAULT_ROUNDS";

/// The rounds without that variable: a run of all fault tests takes a few minutes then.
const ROUNDS_DEFAULT: usize = 2;

/// Where a test's random numbers come from.
#[derive(Debug)]
pub struct Chance {
    seed: u64,
    rng: StdRng,
}

impl Chance {
    /// The chance of one test, whose seed it prints.
    pub fn of(test: &str) -> Self {
        let seed = number(SEED_VARIABLE).unwrap_or_else(|| u64::from_be_bytes(Source::system().random()) >> 32);
        eprintln!("{test}: {SEED_VARIABLE}={seed}");
        Self {
            seed,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..=high)
    }

    /// A moment between now and `limit`.
    pub fn moment(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.rng.random())
    }

    /// One of several.
    pub fn choose<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let last = among.len().checked_sub(1)?;
        among.get(self.rng.random_range(0..=last))
    }
}

/// How many rounds a test plays.
pub fn rounds() -> usize {
    number(ROUNDS_VARIABLE)
        .and_then(|rounds| usize::try_from(rounds).ok())
        .unwrap_or(ROUNDS_DEFAULT)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}
