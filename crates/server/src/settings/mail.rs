//! How mails leave.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use secrecy::SecretString;
use tidings_auth_service::{MailTransport, SmtpServer};

use super::{secret, url_password};

/// How mails leave.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailArgs {
    /// A mail server: `smtps://user:password@host:465`, or `smtp://user:password@host:587?tls=required`; without TLS only on
    /// this machine
    #[arg(
        long,
        env = "TIDINGS_SMTP_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = secret::parse,
        conflicts_with_all = ["smtp_url_file", "mail_dir"]
    )]
    smtp_url: Option<SecretString>,

    /// A file that holds the mail server's URL
    #[arg(
        long,
        env = "TIDINGS_SMTP_URL_FILE",
        value_name = "FILE",
        conflicts_with = "mail_dir"
    )]
    smtp_url_file: Option<PathBuf>,

    /// A certificate in PEM that the mail server's may be signed with, besides those that the system trusts
    #[arg(long, env = "TIDINGS_SMTP_CA_FILE", value_name = "FILE", conflicts_with = "mail_dir")]
    smtp_ca_file: Option<PathBuf>,

    /// Instead of sending mails, write them as files into this folder
    #[arg(long, env = "TIDINGS_MAIL_DIR", value_name = "FOLDER")]
    mail_dir: Option<PathBuf>,

    /// Whom mails come from
    #[arg(
        long,
        env = "TIDINGS_MAIL_FROM",
        value_name = "ADDRESS",
        default_value = "Tidings <no-reply@localhost>"
    )]
    pub mail_from: String,
}

impl MailArgs {
    /// How mails leave, `None` where nothing is said about it.
    fn given(&self) -> Result<Option<MailTransport>> {
        if let Some(folder) = &self.mail_dir {
            return Ok(Some(MailTransport::Folder(folder.clone())));
        }
        let url = secret::resolve(self.smtp_url.as_ref(), self.smtp_url_file.as_deref(), "--smtp-url-file")?;
        let Some(url) = url else { return Ok(None) };
        url_password::refuse_sample(&url, "the mail server")?;
        let authorities = self.smtp_ca_file.as_deref().map(|file| {
            std::fs::read(file).with_context(|| format!("--smtp-ca-file {} cannot be read", file.display()))
        });
        Ok(Some(MailTransport::Smtp(SmtpServer {
            url,
            authorities: authorities.transpose()?,
        })))
    }

    /// How mails leave; where nothing is said, as files into a folder.
    pub fn or_folder(&self, folder: &Path) -> Result<MailTransport> {
        Ok(self
            .given()?
            .unwrap_or_else(|| MailTransport::Folder(folder.to_owned())))
    }

    /// How mails leave; a process that serves others has no default for it.
    pub fn required(&self) -> Result<MailTransport> {
        match self.given()? {
            Some(transport) => Ok(transport),
            None => bail!("say how mails leave: set --smtp-url-file, or --mail-dir to have them as files"),
        }
    }
}
