//! What a process can be told: one small struct a concern, put together by each command.
//!
//! Every setting is a flag and an environment variable `TIDINGS_…` of the same name, and a secret is also the path of a file
//! that holds it. `--help` is made from the comments here, so that it is the manual.

mod assistant;
mod database;
mod external;
mod gateway;
mod limits;
mod listen;
mod mail;
mod passwords;
mod postgres;
mod registration;
pub mod secret;
mod secrets;
mod telemetry;
mod tls;
mod url_password;

use std::path::PathBuf;

use clap::Args;

pub use self::{
    assistant::{Assistant, AssistantArgs},
    database::{DatabaseArgs, shown},
    external::ExternalArgs,
    gateway::{GatewayArgs, GatewayDefaults},
    limits::LimitsArgs,
    listen::{PeerArgs, PublicListenArgs, PublicUrlArgs, ServicePorts},
    mail::MailArgs,
    passwords::PasswordArgs,
    postgres::PostgresArgs,
    registration::RegistrationArgs,
    secrets::{AuthSecretArgs, SuiteSecretArgs},
    telemetry::TelemetryArgs,
    tls::{PublicTlsArgs, TlsArgs, is_loopback},
};

/// Where a suite keeps what is not in the database.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub struct DataArgs {
    /// The folder for everything that is kept: the private Postgres, secrets, attachments, mails
    ///
    /// Without it: `.tidings` in the working directory, and for root `/var/lib/tidings`, since Postgres runs as another
    /// account then, to which root's own folders are closed. One process at a time may use a folder.
    #[arg(long, env = "TIDINGS_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

impl DataArgs {
    /// The folder named, or the default one.
    pub fn path(&self) -> PathBuf {
        self.data_dir
            .clone()
            .unwrap_or_else(crate::data_dir::DataDir::default_path)
    }
}
