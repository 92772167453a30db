//! `tidings admin`, and the administrator of `dev`.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use tidings_auth_service::{Config, MailTransport, NameHolder, NewAccount, Registration};
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
#[command(after_help = EXAMPLES)]
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
    use ErrorReason as R;
    let file = PasswordFile::of(username, secrets);
    let kept = file.read()?;
    let is_kept = kept.is_some();
    let password = match kept {
        Some(password) => password,
        None => file.begin(source)?,
    };
    let admin = NewAccount {
        username: username.to_owned(),
        email: format!("{username}@localhost.localdomain"),
        password,
        display_name: String::new(),
    };
    if let Err(problem) = auth.create_admin(admin).await {
        let holder = match problem.reason() {
            R::UsernameTaken => Some(auth.name_holder(username).await.map_err(told)?),
            _ => None,
        };
        match (holder, problem.reason()) {
            (Some(NameHolder::Admin), _) if is_kept => {}
            (Some(NameHolder::Admin), _) => {
                file.forget()?;
                return Ok(format!("{username}, who was one before; the password is not kept here"));
            }
            (Some(NameHolder::Registration), _) => bail!(
                "{username} is held by a registration that has not come to its end: try again in a few minutes, or choose another name"
            ),
            (Some(NameHolder::Other), _) => {
                file.forget()?;
                bail!("{username} is taken by somebody who is no administrator; choose another name");
            }
            (None, reason) => {
                // After any other failure it may have been made all the same, with this password.
                if matches!(reason, R::FieldInvalid | R::EmailTaken) {
                    file.forget()?;
                }
                return Err(told(problem)).context(format!("cannot make the administrator {username}"));
            }
        }
    }
    file.finish()?;
    Ok(format!("{username}, password in {}", file.path.display()))
}

/// Where the password of `dev`'s administrator is kept. It is written under another name before there is the account, and gets its
/// own name after: so the file is there only for an account that was made, and no crash leaves an account whose password is lost.
#[derive(Debug)]
struct PasswordFile {
    path: PathBuf,
    unfinished: PathBuf,
}

impl PasswordFile {
    fn of(username: &str, secrets: &Path) -> Self {
        // A username may end as an extension does, so none is replaced. Its letters hold no `~`.
        Self {
            path: secrets.join(format!("admin-{username}")),
            unfinished: secrets.join(format!("admin-{username}~unfinished")),
        }
    }

    /// The password that is kept, or that of a start which was cut off. A file that cannot be read is no missing one.
    fn read(&self) -> Result<Option<SecretString>> {
        for path in [&self.path, &self.unfinished] {
            match fs::read_to_string(path) {
                // Without its line's end it was cut off while it was written, and so before it was used.
                Ok(text) if *path == self.unfinished && !text.ends_with('\n') => {}
                Ok(text) => return Ok(Some(SecretString::from(text.trim()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read the password in {}", path.display()));
                }
            }
        }
        Ok(None)
    }

    /// A new password, which is stored from now on.
    fn begin(&self, source: &Source) -> Result<SecretString> {
        let password = new_password(source);
        self.write(&password)
            .with_context(|| format!("cannot keep a password in {}", self.unfinished.display()))?;
        Ok(password)
    }

    fn write(&self, password: &SecretString) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.unfinished)?;
        writeln!(file, "{}", password.expose_secret())?;
        file.sync_all()
    }

    /// The account is made: its password is here.
    fn finish(&self) -> Result<()> {
        // Where it is kept from an earlier start there is nothing to do.
        absent_or(fs::rename(&self.unfinished, &self.path))
            .with_context(|| format!("cannot keep a password in {}", self.path.display()))
    }

    /// The account was refused: there is no password of it.
    fn forget(&self) -> Result<()> {
        absent_or(fs::remove_file(&self.unfinished))
            .with_context(|| format!("cannot remove {}", self.unfinished.display()))
    }
}

/// That there is no such file will do.
fn absent_or(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
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
        let file = PasswordFile::of("ada", folder.path());
        assert!(file.read().unwrap().is_none());
        let made = file.begin(&source).unwrap();
        // Cut off here, the next start goes on with it.
        assert!(!file.path.exists());
        let kept = file.read().unwrap().unwrap();
        assert_eq!(made.expose_secret(), kept.expose_secret());
        file.finish().unwrap();
        file.finish().unwrap();
        assert!(!file.unfinished.exists());
        let kept = file.read().unwrap().unwrap();
        assert_eq!(made.expose_secret(), kept.expose_secret());

        fs::write(&file.path, [0xff]).unwrap();
        let refused = file.read().unwrap_err();
        assert!(refused.to_string().starts_with("cannot read the password"), "{refused}");
    }

    #[test]
    fn half_a_password_is_none_and_one_of_nobody_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = PasswordFile::of("ada", folder.path());
        fs::write(&file.unfinished, "abcd").unwrap();
        assert!(file.read().unwrap().is_none());
        file.begin(&Source::seeded(1)).unwrap();
        assert!(file.read().unwrap().is_some());
        file.forget().unwrap();
        file.forget().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_that_is_no_username_names_no_file() {
        for (text, name) in [("ada", "ada"), ("Ada", "ada"), ("a.b-c_9", "a.b-c_9")] {
            assert_eq!(tidings_auth_service::username(text).unwrap_or_default(), name, "{text}");
        }
        for text in [
            "../../evil",
            "..a",
            "",
            "a",
            "a/b",
            "--",
            "a b",
            "ädä",
            "a\0b",
            &"a".repeat(33),
        ] {
            assert!(tidings_auth_service::username(text).is_err(), "{text:?}");
        }
    }
}
