//! An end of somebody's rights is known everywhere (`reliability.md` G21): soon where processes hear of it, and where they hear
//! nothing they refuse. How soon is measured by `tidings-load revocations`; here only that it happens is asserted.

mod everywhere;
mod unheard;

use std::time::Duration;

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(60);
