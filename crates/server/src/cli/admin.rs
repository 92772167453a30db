//! `tidings admin`, and the administrator of `dev`.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use tidings_auth_service::{Config, MailTransport, NewAccount, Registration};
use tidings_authn::SuiteSecret;
use tidings_ids::Source;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Drain, Limits, Problem};

use super::whole::finish;
use crate::{
    database::Database,
    process,
    settings::{DataArgs, DatabaseArgs, PostgresArgs, secret},
    suite::{Base, Peers, services},
};

const EXAMPLES: &str = "\
Examples:
  tidings admin create --username ada --email ada@example.org
      On DATABASE_URL, or on the private database of the data folder; prints a new password
  tidings admin create --username ada --email ada@example.org --password-file /run/secrets/ada";

/// Make administrators
#[derive(Debug, Args)]
pub struct Admin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an administrator
    Create(Box<Create>),
}

/// Make an administrator
///
/// It works on the database itself, and so needs no other administrator; nobody becomes one by registering first. The suite may
/// be running or not.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct Create {
    /// The name to log in with
    #[arg(long, value_name = "NAME")]
    username: String,

    /// The address, which counts as verified
    #[arg(long, value_name = "ADDRESS")]
    email: String,

    /// The name that others see; without it, the username
    #[arg(long, value_name = "TEXT", default_value = "")]
    display_name: String,

    /// The password; without it and the file, one is made and printed
    #[arg(
        long,
        env = "TIDINGS_PASSWORD",
        value_name = "TEXT",
        hide_env_values = true,
        value_parser = secret::parse,
        conflicts_with = "password_file"
    )]
    password: Option<SecretString>,

    /// A file that holds the password
    #[arg(long, env = "TIDINGS_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    postgres: PostgresArgs,
}

impl Admin {
    /// Runs it.
    pub async fn run(self) -> Result<()> {
        let Command::Create(create) = self.command;
        create.run().await
    }
}

impl Create {
    async fn run(self) -> Result<()> {
        let _telemetry = process::warnings_only("tidings-admin")?;
        let source = Source::system();
        let given = secret::resolve(self.password.as_ref(), self.password_file.as_deref(), "--password-file")?;
        let is_made = given.is_none();
        let password = given.unwrap_or_else(|| new_password(&source));
        let (database, _held) = Database::beside(&self.database, &self.data.path(), self.postgres.options()).await?;
        let admin = NewAccount {
            username: self.username.clone(),
            email: self.email.clone(),
            password: password.clone(),
            display_name: self.display_name.clone(),
        };
        let made = self.make(&database, admin, &source).await;
        database.stop().await;
        made?;
        println!("administrator {} is made", self.username);
        if is_made {
            println!("password: {}", password.expose_secret());
        }
        Ok(())
    }

    /// Auth and user are put together in this process for it, without a port.
    async fn make(&self, database: &Database, admin: NewAccount, source: &Source) -> Result<()> {
        let drain = Drain::new();
        let base = Base::new(
            passing_secret(source)?,
            Limits::default(),
            drain.clone(),
            source.clone(),
        );
        let peers = Peers::all_local();
        let config = Config::new(
            passing_secret(source)?,
            Registration::Closed,
            String::from("http://localhost"),
            String::from("Tidings <no-reply@localhost>"),
            MailTransport::Folder(std::env::temp_dir()),
        );
        let (auth, handle) = services::auth(&base, &peers, &self.database, &database.url, config)?;
        let user = services::user(&base, &self.database, &database.url)?;
        for part in [&auth, &user] {
            part.fit()
                .await
                .context("run `tidings migrate` first, or start the suite once")?;
            peers.fill(&part.stack);
        }
        let made = handle.create_admin(admin).await.map_err(told);
        finish(&drain).await;
        made
    }
}

/// Makes the administrator of `dev` if there is none of the name, and says where the password is.
pub async fn ensure(auth: &services::AuthHandle, username: &str, secrets: &Path, source: &Source) -> Result<String> {
    let path = secrets.join(format!("admin-{username}"));
    let password = kept_or_new(&path, source)?;
    let admin = NewAccount {
        username: username.to_owned(),
        email: format!("{username}@localhost.localdomain"),
        password,
        display_name: String::new(),
    };
    match auth.create_admin(admin).await {
        Ok(()) => {}
        Err(problem) if problem.reason() == ErrorReason::UsernameTaken => {}
        Err(problem) => return Err(told(problem)).context(format!("cannot make the administrator {username}")),
    }
    Ok(format!("{username}, password in {}", path.display()))
}

/// The password in the file, or a new one that is kept there from now on. A file that cannot be read is no missing one.
fn kept_or_new(path: &Path, source: &Source) -> Result<SecretString> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(SecretString::from(text.trim())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let password = new_password(source);
            keep(path, &password).with_context(|| format!("cannot keep a password in {}", path.display()))?;
            Ok(password)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read the password in {}", path.display())),
    }
}

fn keep(path: &Path, password: &SecretString) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", password.expose_secret())
}

/// 96 bits in letters that can be typed.
fn new_password(source: &Source) -> SecretString {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letters = source
        .random::<20>()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    SecretString::from(String::from_iter(letters))
}

/// A secret for as long as this process lives: its two services prove themselves to each other only.
fn passing_secret(source: &Source) -> Result<SuiteSecret> {
    let text = String::from_iter(source.random::<32>().map(|byte| format!("{byte:02x}")));
    Ok(SuiteSecret::new(&text)?)
}

/// What was refused, for a person.
fn told(problem: Problem) -> anyhow::Error {
    let fields: Vec<String> = problem
        .violations()
        .clone()
        .into_iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect();
    if fields.is_empty() {
        anyhow!("{problem}")
    } else {
        anyhow!("{}", fields.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_made_once_and_only_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::seeded(1);
        let path = folder.path().join("admin-ada");
        let made = kept_or_new(&path, &source).unwrap();
        let kept = kept_or_new(&path, &source).unwrap();
        assert_eq!(made.expose_secret(), kept.expose_secret());

        fs::write(&path, [0xff]).unwrap();
        let refused = kept_or_new(&path, &source).unwrap_err();
        assert!(refused.to_string().starts_with("cannot read the password"), "{refused}");
    }
}
