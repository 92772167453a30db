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

    /// Words that make no password by themselves, such as the names of your organisation and its products
    ///
    /// At most 100, separated by commas, of 4 to 64 letters each. A password whose letters are only such words is refused, whatever
    /// digits and signs are added. `tidings` and the names in the host of --public-url are such words everywhere.
    #[arg(long, env = "TIDINGS_PASSWORD_WORDS", value_name = "WORDS", value_delimiter = ',')]
    pub password_words: Vec<String>,
}

impl PasswordArgs {
    /// Puts what was given into the configuration.
    pub fn apply(&self, config: &mut tidings_auth_service::Config) {
        config.breached_passwords_file.clone_from(&self.breached_passwords_file);
        config.password_words.clone_from(&self.password_words);
    }
}
