//! The secrets of a deployment, and those that `dev` makes for itself.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use tidings_authn::SuiteSecret;
use tidings_ids::Source;

use super::secret;

const HOW_TO_MAKE: &str = "`head -c 48 /dev/urandom | base64` makes one";

/// The secret that all processes of a deployment share.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Secrets")]
pub struct SuiteSecretArgs {
    /// The secret that all processes of a deployment share: they prove by it to each other who they are
    ///
    /// At least 32 characters; `head -c 48 /dev/urandom | base64` makes one.
    #[arg(
        long,
        env = "TIDINGS_SUITE_SECRET",
        value_name = "TEXT",
        hide_env_values = true,
        value_parser = secret::parse,
        conflicts_with = "suite_secret_file"
    )]
    suite_secret: Option<SecretString>,

    /// A file that holds it
    #[arg(long, env = "TIDINGS_SUITE_SECRET_FILE", value_name = "FILE")]
    suite_secret_file: Option<PathBuf>,
}

/// The secret that only auth has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Secrets")]
pub struct AuthSecretArgs {
    /// The secret that only auth has: it seals signing keys and authenticates refresh tokens
    ///
    /// At least 32 characters. With another one, all login sessions end.
    #[arg(
        long,
        env = "TIDINGS_AUTH_SECRET",
        value_name = "TEXT",
        hide_env_values = true,
        value_parser = secret::parse,
        conflicts_with = "auth_secret_file"
    )]
    auth_secret: Option<SecretString>,

    /// A file that holds it
    #[arg(long, env = "TIDINGS_AUTH_SECRET_FILE", value_name = "FILE")]
    auth_secret_file: Option<PathBuf>,
}

impl SuiteSecretArgs {
    const FILE_FLAG: &'static str = "--suite-secret-file";

    /// The secret; a process that serves others has no default for it.
    pub fn required(&self) -> Result<SuiteSecret> {
        required(self.given()?, Self::FILE_FLAG)
    }

    /// Whether one is set, and fit.
    pub fn check(&self) -> Result<bool> {
        check(self.given()?, Self::FILE_FLAG)
    }

    /// The secret, or one that is kept in this folder, made at the first start.
    pub fn given_or_kept(&self, folder: &Path, source: &Source) -> Result<SuiteSecret> {
        given_or_kept(self.given()?, &folder.join("suite"), Self::FILE_FLAG, source)
    }

    fn given(&self) -> Result<Option<SecretString>> {
        let file = self.suite_secret_file.as_deref();
        Ok(secret::resolve(self.suite_secret.as_ref(), file, Self::FILE_FLAG)?)
    }
}

impl AuthSecretArgs {
    const FILE_FLAG: &'static str = "--auth-secret-file";

    /// The secret; a process that serves others has no default for it.
    pub fn required(&self) -> Result<SuiteSecret> {
        required(self.given()?, Self::FILE_FLAG)
    }

    /// Whether one is set, and fit.
    pub fn check(&self) -> Result<bool> {
        check(self.given()?, Self::FILE_FLAG)
    }

    /// The secret, or one that is kept in this folder, made at the first start.
    pub fn given_or_kept(&self, folder: &Path, source: &Source) -> Result<SuiteSecret> {
        given_or_kept(self.given()?, &folder.join("auth"), Self::FILE_FLAG, source)
    }

    fn given(&self) -> Result<Option<SecretString>> {
        let file = self.auth_secret_file.as_deref();
        Ok(secret::resolve(self.auth_secret.as_ref(), file, Self::FILE_FLAG)?)
    }
}

fn check(given: Option<SecretString>, file_flag: &'static str) -> Result<bool> {
    match given {
        Some(secret) => parse(&secret, file_flag).map(|_fit| true),
        None => Ok(false),
    }
}

fn required(given: Option<SecretString>, file_flag: &'static str) -> Result<SuiteSecret> {
    match given {
        Some(secret) => parse(&secret, file_flag),
        None => bail!("{file_flag} is needed: the path of a file with at least 32 random characters; {HOW_TO_MAKE}"),
    }
}

fn given_or_kept(
    given: Option<SecretString>,
    path: &Path,
    file_flag: &'static str,
    source: &Source,
) -> Result<SuiteSecret> {
    let secret = match given {
        Some(secret) => secret,
        None => kept(path, source).with_context(|| format!("cannot keep a secret in {}", path.display()))?,
    };
    parse(&secret, file_flag)
}

fn parse(secret: &SecretString, file_flag: &'static str) -> Result<SuiteSecret> {
    // The reason never holds the secret.
    SuiteSecret::new(secret.expose_secret()).with_context(|| format!("the secret of {file_flag} cannot be used"))
}

/// The secret in the file, which is made with a random one if it is not there. A file is complete or absent, so that a start
/// that was cut off does not leave half a secret.
fn kept(path: &Path, source: &Source) -> io::Result<SecretString> {
    match std::fs::read_to_string(path) {
        Ok(text) => return Ok(SecretString::from(text.trim())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let secret = URL_SAFE_NO_PAD.encode(source.random::<48>());
    let unfinished = path.with_extension("unfinished");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_kept_secret_is_made_once_and_readable_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suite");
        let source = Source::system();
        let first = kept(&path, &source).unwrap();
        let second = kept(&path, &source).unwrap();
        assert_eq!(first.expose_secret(), second.expose_secret());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        parse(&first, "--x-file").unwrap();
    }

    #[test]
    fn a_sample_secret_is_refused_without_being_printed() {
        let sample = SecretString::from("example-example-example-example-example");
        let refused = parse(&sample, "--suite-secret-file").unwrap_err();
        let text = format!("{refused:#}");
        assert!(
            text.contains("--suite-secret-file") && !text.contains("example-example"),
            "{text}"
        );
    }

    #[test]
    fn what_is_needed_says_how_to_make_it() {
        let refused = required(None, "--auth-secret-file").unwrap_err().to_string();
        assert!(
            refused.contains("--auth-secret-file") && refused.contains("/dev/urandom"),
            "{refused}"
        );
    }
}
