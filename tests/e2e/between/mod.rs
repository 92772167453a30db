//! Between the services: mutual TLS (`reliability.md` A20, A68, B104, F64), seen from outside. What each side refuses in the
//! handshake is tested in `rpc`.

mod callers;
mod capture;
mod replacement;

use std::time::Duration;

use tidings_testkit::{Authority, Shape, Suite};

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(60);

/// Five processes that speak mutual TLS with each other.
async fn secured(authority: &Authority) -> Suite {
    let mut suite = Suite::prepare(Shape::Five, &[]).await;
    suite.secure(authority);
    suite.begin().await;
    suite
}
