//! Which passwords are not taken.

use std::path::PathBuf;

use clap::Args;

/// Which passwords are not taken, besides those that every deployment knows.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accounts")]
pub struct PasswordArgs {
    /// A file of SHA-1 hashes of breached passwords, which nobody may choose
    ///
    /// In the order of the hashes, a line each, `HASH` or `HASH:COUNT`, as the downloads of `Have I Been Pwned` are. It is
    /// searched on the disk, so it may be large, and nothing leaves this machine for it. The most common passwords are refused
    /// without it.
    #[arg(long, env = "TIDINGS_BREACHED_PASSWORDS_FILE", value_name = "FILE")]
    pub breached_passwords_file: Option<PathBuf>,
}
