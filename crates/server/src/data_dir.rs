//! The folder in which one suite keeps what it must not lose, held by one process at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the folder.
    #[error(
        "the data folder {} is in use by {holder}: stop that one, or give this one a folder of its own with --data-dir",
        .path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who holds it, as far as it said so.
        holder: String,
    },
    /// The folder could not be made, opened or locked.
    #[error("cannot use the data folder {}; choose another with --data-dir", .path.display())]
    Io {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A data folder that this process holds until the value is dropped.
///
/// The lock is the kernel's (`flock`), not the file's existence, so that it is gone with its holder, however that ended.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// The folder used where none is named: `.tidings` in the working directory, and for root `/var/lib/tidings`,
    /// because root's own folders are closed to the unprivileged account that Postgres must run as.
    pub fn default_path() -> PathBuf {
        if nix::unistd::geteuid().is_root() {
            PathBuf::from("/var/lib/tidings")
        } else {
            PathBuf::from(".tidings")
        }
    }

    /// Makes the folder if it is not there and takes it for this process.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        // Root's data folder may be entered, not listed, by others: Postgres, which is not root, has its folder inside.
        let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(failed(path))?;
        let path = path.canonicalize().map_err(failed(path))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder, as an absolute path without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder inside this one that only this process' account may enter: made if it is not there, and closed to others if
    /// it was open to them.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o700)))
            .map_err(|source| Error::Io {
                path: path.clone(),
                source,
            })?;
        Ok(path)
    }
}

fn lock(folder: &Path) -> Result<Flock<File>, Error> {
    let path = folder.join("lock");
    let failed = |source| Error::Io {
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, errno)| {
        if errno == Errno::EWOULDBLOCK {
            Error::InUse {
                path: folder.to_owned(),
                holder: holder(&mut file),
            }
        } else {
            failed(errno.into())
        }
    })?;
    lock.set_len(0).map_err(failed)?;
    writeln!(lock, "{}", std::process::id()).map_err(failed)?;
    Ok(lock)
}

fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_the_second_is_told_who() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let first = DataDir::open(&path).unwrap();

        let refused = DataDir::open(&path).unwrap_err();
        assert!(matches!(refused, Error::InUse { .. }));
        assert!(
            refused.to_string().contains(&std::process::id().to_string()),
            "{refused}"
        );

        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_subfolder_that_was_open_to_others_is_closed() {
        let parent = tempfile::tempdir().unwrap();
        let data = DataDir::open(&parent.path().join("data")).unwrap();
        let open = data.path().join("secrets");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        let path = data.subfolder("secrets").unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_cannot_be_made_names_itself_and_the_setting() {
        let refused = DataDir::open(Path::new("/proc/tidings-cannot-be-here")).unwrap_err();
        assert!(refused.to_string().contains("/proc/tidings-cannot-be-here"));
        assert!(refused.to_string().contains("--data-dir"));
    }
}
