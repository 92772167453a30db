//! Who may register.

use clap::{Args, ValueEnum};
use tidings_auth_service::Registration;

/// Who may register.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accounts")]
pub struct RegistrationArgs {
    /// Who may register
    #[arg(long, env = "TIDINGS_REGISTRATION", value_name = "WHO")]
    registration: Option<Who>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Everybody, at once; the answer tells whether an address is in use (what `dev` does)
    Open,
    /// Everybody who proves their address by mail (what the others do)
    Verified,
    /// Nobody
    Closed,
}

impl RegistrationArgs {
    /// What is set, else `default`.
    pub fn or(&self, default: Registration) -> Registration {
        match self.registration {
            Some(Who::Open) => Registration::Open,
            Some(Who::Verified) => Registration::Verified,
            Some(Who::Closed) => Registration::Closed,
            None => default,
        }
    }
}
