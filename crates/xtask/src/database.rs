//! A Postgres of its own for as long as something runs: found or installed as `tidings dev` does, gone afterwards.

use std::{ffi::OsString, fs::Permissions, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result};
use tidings_server::{
    data_dir::DataDir,
    postgres::{Cluster, Options, SUPERUSER},
};

use crate::workspace::{command, run as run_command};

/// Where tests find the server: `tidings_db::testing` reads it.
pub const URL_VARIABLE: &str = "TIDINGS_TEST_DATABASE_URL";

/// Every test has pools of its own, and as many tests run at once as there are processors.
const CONNECTIONS_MAX: u16 = 400;

/// Calls `action` with the URL of a superuser to a database of a fresh server.
pub fn with(action: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    // Not listed by others, but entered: where this is root, the server is not.
    let folder = tempfile::Builder::new()
        .prefix("tidings-test-")
        .permissions(Permissions::from_mode(0o711))
        .tempdir()?;
    let data_dir = DataDir::open(folder.path())?;
    let options = Options {
        connections_max: CONNECTIONS_MAX,
        ..Options::default()
    };
    let cluster = Cluster::start(&data_dir, &options).context("no PostgreSQL for the tests")?;
    eprintln!("> PostgreSQL {} in {}", cluster.version(), folder.path().display());
    let outcome = action(&cluster.url(SUPERUSER, "postgres"));
    cluster.stop();
    outcome
}

/// Runs a command that finds the server in its environment.
pub fn run(words: &[OsString], url: &str) -> Result<()> {
    let (program, arguments) = words.split_first().context("no command given")?;
    run_command(command(program).args(arguments).env(URL_VARIABLE, url))
}
