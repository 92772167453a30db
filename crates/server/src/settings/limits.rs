//! How much a process lets through.

use std::num::NonZeroU32;

use clap::Args;
use tidings_rpc::Limits;

/// How much a process lets through.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitsArgs {
    /// Multiplies the rate limits of all calls; raise it for imports and load tests
    #[arg(long, env = "TIDINGS_RATE_FACTOR", value_name = "NUMBER", default_value = "1")]
    rate_factor: NonZeroU32,

    /// Calls at work at once in a service; more are refused with `OVERLOADED`
    #[arg(long, env = "TIDINGS_CALLS_MAX", value_name = "NUMBER", default_value_t = Limits::default().calls_max)]
    calls_max: usize,

    /// Streams open at once in a service; more are refused with `OVERLOADED`
    #[arg(long, env = "TIDINGS_STREAMS_MAX", value_name = "NUMBER", default_value_t = Limits::default().streams_max)]
    streams_max: usize,

    /// Streams that one user has open at once in a service
    #[arg(
        long,
        env = "TIDINGS_STREAMS_PER_USER_MAX",
        value_name = "NUMBER",
        default_value_t = Limits::default().streams_per_user_max
    )]
    streams_per_user_max: usize,
}

impl LimitsArgs {
    /// The limits of the middleware.
    pub fn limits(&self) -> Limits {
        Limits {
            calls_max: self.calls_max,
            streams_max: self.streams_max,
            streams_per_user_max: self.streams_per_user_max,
            rate_factor: self.rate_factor,
            ..Limits::default()
        }
    }
}
