//! The account that Postgres runs as: its server refuses to run as root.

use std::{
    fs, io,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{User, geteuid};

use super::Error;

/// An unprivileged account that a process of root hands the server to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` where this process is not root: then the server runs as the same account.
    /// For root it is `postgres`, which Debian's and Red Hat's packages make, else `nobody`.
    pub fn for_server() -> Result<Option<Self>, Error> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            let found = User::from_name(name).map_err(|errno| Error::Account(errno.into()))?;
            if let Some(user) = found.filter(|user| !user.uid.is_root()) {
                return Ok(Some(Self {
                    name: user.name,
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                }));
            }
        }
        Err(Error::Account(io::Error::new(
            io::ErrorKind::NotFound,
            "neither `postgres` nor `nobody` is a user of this system",
        )))
    }

    /// The account's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account's number.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Makes the account the owner of a file or folder.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    /// The nearest of a path's parents that the account may not enter. Access lists are not looked at.
    fn barred_at(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        for parent in path.ancestors().skip(1) {
            let folder = fs::metadata(parent)?;
            let needed = if folder.uid() == self.uid {
                0o100
            } else if folder.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if folder.mode() & needed == 0 {
                return Ok(Some(parent.to_owned()));
            }
        }
        Ok(None)
    }
}

/// Refuses a path that the server could not reach, before it says less clearly so itself.
pub fn check_reachable(account: Option<&Account>, path: &Path) -> Result<(), Error> {
    let Some(account) = account else {
        return Ok(());
    };
    let barred = account.barred_at(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })?;
    match barred {
        None => Ok(()),
        Some(folder) => Err(Error::Unreachable {
            path: path.to_owned(),
            folder,
            account: account.name.clone(),
        }),
    }
}

/// A command that runs as the account, away from this process' terminal, folder and environment: a `PGPORT` or
/// `PGOPTIONS` in the user's shell is meant for other servers.
pub fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null()).env_clear();
    for kept in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    if let Some(account) = account {
        // std clears the supplementary groups too when it changes the user.
        command.uid(account.uid).gid(account.gid);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_closed_to_the_account_is_named() {
        let account = Account {
            name: "somebody".to_owned(),
            uid: u32::MAX - 7,
            gid: u32::MAX - 7,
        };
        let parent = tempfile::tempdir().unwrap();
        let closed = parent.path().join("closed");
        fs::create_dir(&closed).unwrap();
        for (mode, barred) in [(0o755, false), (0o711, false), (0o700, true), (0o770, true)] {
            fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
            let outcome = check_reachable(Some(&account), &closed.join("pg"));
            assert_eq!(outcome.is_err(), barred, "{mode:o}: {outcome:?}");
        }
    }

    #[test]
    fn without_root_no_account_is_needed_and_with_root_it_is_never_root() {
        let account = Account::for_server().unwrap();
        assert_eq!(account.is_some(), geteuid().is_root());
        assert!(account.is_none_or(|account| account.uid != 0));
    }
}
