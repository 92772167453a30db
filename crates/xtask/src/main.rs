//! What a developer types: `cargo xtask test` before a commit, and the commands that keep generated files fresh.
//!
//! | module | one job |
//! | --- | --- |
//! | [`tools`] | the programs that are not Rust crates, pinned, in `.tools/bin` |
//! | [`lint`] | format, clippy, dependencies, protos |
//! | [`compose`] | the compose file against the public schema |
//! | [`proto`] | buf: lint, format, breaking changes, the baseline |
//! | [`test`] | everything that must hold |
//! | [`database`] | a Postgres for as long as a command runs |
//! | [`queries`] | `.sqlx`, by which a build without a database checks its queries |
//! | [`workspace`] | where things are, and how programs are run |

mod compose;
mod database;
mod lint;
mod proto;
mod queries;
mod test;
mod tools;
mod workspace;

use std::ffi::OsString;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the tools and check formats, lints, dependencies and protos
    Lint,
    /// Bring what is needed and run every test
    Test {
        /// For `cargo test`, for example `-p tidings-db` instead of the whole workspace
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// What CI runs: lint, then test
    Ci,
    /// Install the pinned tools into .tools/bin
    Tools,
    /// Run a command with a Postgres of its own, for example `cargo xtask database -- cargo test -p tidings-db`
    Database {
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Refresh .sqlx of each service from its migrations and queries
    Sqlx {
        /// Change nothing, and fail where it is not fresh
        #[arg(long)]
        check: bool,
    },
    /// Take the protos as they are for what later versions are compared with, until there is a release
    ProtoBaseline,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Lint => lint::run_all(),
        Command::Test { arguments } => test::run_all(&arguments),
        Command::Ci => {
            lint::run_all()?;
            test::run_all(&[])
        }
        Command::Tools => tools::install(),
        Command::Database { command } => database::with(|url| database::run(&command, url)),
        Command::Sqlx { check } => database::with(|url| queries::refresh(url, check)),
        Command::ProtoBaseline => {
            tools::install()?;
            proto::write_baseline()
        }
    }
}
