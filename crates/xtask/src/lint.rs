//! What needs no database and no running suite: formats, lints, dependencies, protos.

use anyhow::Result;

use crate::{
    compose, proto, tools,
    workspace::{cargo, run},
};

/// Runs all of it; the first complaint ends it.
pub fn run_all() -> Result<()> {
    tools::install()?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    proto::check()?;
    compose::check()?;
    // What cargo-deny knows from elsewhere than this tree, known weaknesses, needs a network: it has its own schedule.
    run(cargo().args(["deny", "--all-features", "check", "bans", "licenses", "sources"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny=warnings"]))
}
