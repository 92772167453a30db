//! Everything that must hold: the contract, the freshness of what is generated, and every test on a real Postgres.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    database::{self, URL_VARIABLE},
    proto, queries, tools,
    workspace::{cargo, run},
};

/// Runs it. With arguments for `cargo test`, only the tests that they choose.
pub fn run_all(arguments: &[OsString]) -> Result<()> {
    tools::install()?;
    let all = [OsString::from("--workspace")];
    if !arguments.is_empty() {
        // The tests from outside start what is built, which those of one package alone do not build anew.
        run(cargo().args(["build", "--workspace", "--bins"]))?;
        return database::with(|url| tests(arguments, url));
    }
    proto::check()?;
    database::with(|url| {
        queries::refresh(url, true)?;
        tests(&all, url)
    })
}

fn tests(arguments: &[OsString], url: &str) -> Result<()> {
    // Every failure is told, not only those of the first package that has some.
    run(cargo()
        .args(["test", "--no-fail-fast"])
        .args(arguments)
        .env(URL_VARIABLE, url))
}
