//! How a process finds its database.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, builder::BoolishValueParser};
use secrecy::{ExposeSecret as _, SecretString};
use tidings_db::{Schema, Settings};

use super::{secret, url_password};

/// The variable that many platforms set, read where ours is not set.
const COMMON_VARIABLE: &str = "DATABASE_URL";

/// How a process finds its database.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// Postgres 14 or newer: `postgres://user:password@host:5432/database`
    ///
    /// `sslmode`, `sslrootcert` and the rest as libpq names them. Without this and the file, `DATABASE_URL` counts. The user
    /// is either the owner of the schemas (or a superuser), and each service takes on its own role, or the service's role.
    #[arg(
        long,
        env = "TIDINGS_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = secret::parse,
        conflicts_with = "database_url_file"
    )]
    database_url: Option<SecretString>,

    /// A file that holds the URL
    #[arg(long, env = "TIDINGS_DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,

    /// Connections of each service at most
    ///
    /// More than 16 on a machine of two cores only make Postgres slower; calls wait here instead.
    #[arg(
        long,
        env = "TIDINGS_DATABASE_CONNECTIONS_MAX",
        value_name = "NUMBER",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(2..=1_000)
    )]
    database_connections_max: u32,

    /// Serve although Postgres is set to lose what it acknowledged
    ///
    /// With `fsync`, `synchronous_commit` or `full_page_writes` off, a crash loses messages that were answered with OK.
    #[arg(
        long,
        env = "TIDINGS_UNSAFE_ALLOW_LOSS",
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_name = "BOOL",
        hide_default_value = true,
        value_parser = BoolishValueParser::new()
    )]
    pub unsafe_allow_loss: bool,
}

impl DatabaseArgs {
    /// The URL where one is given: by flag, by our variable, by file, or by the variable that platforms set. Its password must not be
    /// that of an example.
    pub fn url(&self) -> Result<Option<SecretString>> {
        let given = secret::resolve(
            self.database_url.as_ref(),
            self.database_url_file.as_deref(),
            "--database-url-file",
        )?;
        let url = given.or_else(|| {
            let common = env::var(COMMON_VARIABLE).ok().filter(|url| !url.is_empty());
            common.map(SecretString::from)
        });
        if let Some(url) = &url {
            url_password::refuse_sample(url, "the database")?;
        }
        Ok(url)
    }

    /// The URL, for a process that cannot do without.
    pub fn required_url(&self) -> Result<SecretString> {
        match self.url()? {
            Some(url) => Ok(url),
            None => bail!(
                "no database given: set --database-url, TIDINGS_DATABASE_URL, --database-url-file or {COMMON_VARIABLE} \
                 (`tidings dev` brings a database of its own)"
            ),
        }
    }

    /// How a service connects: with its own role.
    pub fn service_settings(&self, url: &SecretString, schema: Schema) -> Settings {
        Settings {
            max_connections: self.database_connections_max,
            ..Settings::new(url.clone(), schema, format!("tidings-{schema}"))
        }
    }
}

/// A database's address as it may be printed: without user, password and options.
pub fn shown(url: &SecretString) -> Result<String> {
    let options: sqlx::postgres::PgConnectOptions = url
        .expose_secret()
        .parse()
        .context("the database URL cannot be understood: it looks like postgres://user:password@host:5432/database")?;
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    Ok(format!(
        "{} at {host}",
        options.get_database().unwrap_or("its user's database")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_shown_without_what_opens_it() {
        let shown = shown(&SecretString::from(
            "postgres://owner:hunter2@db.internal:6432/tidings?sslmode=require",
        ))
        .unwrap();
        assert_eq!(shown, "tidings at db.internal:6432");
        let refused = super::shown(&SecretString::from("hunter2")).unwrap_err();
        assert!(!format!("{refused:#}").contains("hunter2"), "{refused:#}");
    }
}
