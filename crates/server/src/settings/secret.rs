//! Secrets come as text or as the path of a file, and are not printed.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

/// A file that should hold a secret and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSecretFile {
    /// It cannot be read.
    #[error("cannot read {}, which {flag} names", .path.display())]
    Unreadable {
        /// The setting.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds nothing.
    #[error("{}, which {flag} names, is empty", .path.display())]
    Empty {
        /// The setting.
        flag: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// Takes a flag's value as a secret, for clap.
pub fn parse(value: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(value))
}

/// The secret itself, or what is in the file, without the line's end. `flag` names the file's setting.
pub fn resolve(
    given: Option<&SecretString>,
    file: Option<&Path>,
    flag: &'static str,
) -> Result<Option<SecretString>, InvalidSecretFile> {
    match (given, file) {
        (Some(secret), _) => Ok(Some(secret.clone())),
        (None, Some(path)) => read(path, flag).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path, flag: &'static str) -> Result<SecretString, InvalidSecretFile> {
    let text = fs::read_to_string(path).map_err(|source| InvalidSecretFile::Unreadable {
        flag,
        path: path.to_owned(),
        source,
    })?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(InvalidSecretFile::Empty {
            flag,
            path: path.to_owned(),
        });
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_file_is_read_without_the_end_of_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, " kept as it is \n").unwrap();
        let secret = resolve(None, Some(&path), "--x-file").unwrap().unwrap();
        assert_eq!(secret.expose_secret(), " kept as it is ");
    }

    #[test]
    fn an_empty_or_absent_file_is_refused_with_the_settings_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let refused = resolve(None, Some(&path), "--x-file").unwrap_err();
        assert!(refused.to_string().contains("--x-file"), "{refused}");
        fs::write(&path, "\n").unwrap();
        let refused = resolve(None, Some(&path), "--x-file").unwrap_err();
        assert!(matches!(refused, InvalidSecretFile::Empty { .. }));
    }

    #[test]
    fn no_setting_is_no_secret() {
        assert!(resolve(None, None, "--x-file").unwrap().is_none());
    }
}
