//! A private Postgres, run as a child of this process.
//!
//! For `tidings dev` and for tests: nothing has to be installed or set up by hand, and nothing outlives the process.
//!
//! - [`binaries`] finds the server's programs, [`install`] brings them where there are none.
//! - [`folder`] makes the data folder, once, in one step.
//! - [`leftovers`] ends what a killed predecessor left running.
//! - [`supervisor`] owns the child: starts it, restarts it when it dies, stops it within a bound.
//! - [`Cluster`] puts them together.
//!
//! The server listens on a socket in a folder of mode 0700 and nowhere else, so that there is no port to clash, and no
//! password: who may enter the folder is the owner of the data anyway. It refuses to run as root, so a process of root
//! hands it to an unprivileged [`user`]. `fsync` stays on.

pub mod binaries;
mod cluster;
mod folder;
mod install;
mod leftovers;
mod supervisor;
mod user;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub use self::cluster::{Cluster, Options, SUPERUSER};

/// A word that ends the wait for a server. Its clones are one.
#[derive(Debug, Clone, Default)]
pub struct GiveUp(Arc<AtomicBool>);

impl GiveUp {
    /// Says it.
    pub fn say(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_said(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why there is no private Postgres.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server on this machine, and none could be brought.
    #[error(
        "no PostgreSQL server found on this machine{tried}; choose one of:
  - install it: `apt-get install postgresql` (Debian, Ubuntu), `dnf install postgresql-server` (Fedora, Red Hat),
    `brew install postgresql@17` (macOS), or name its folder with --postgres-bin-dir
  - use a database that runs already: set DATABASE_URL=postgres://user:password@host/database
  - run everything in containers: `docker compose -f deploy/compose.yaml up`"
    )]
    NotFound {
        /// What was tried to bring one, or empty.
        tried: String,
    },
    /// Only servers that are too old.
    #[error("PostgreSQL {} or newer is needed; found: {found}", binaries::MAJOR_MIN)]
    TooOld {
        /// The servers.
        found: String,
    },
    /// The data needs a server of the version that wrote it.
    #[error(
        "the data was written by PostgreSQL {major}, which is not here (found: {found}); install that version or name \
         its folder with --postgres-bin-dir, or start with another --data-dir"
    )]
    OtherVersion {
        /// The version that wrote the data.
        major: u32,
        /// The servers.
        found: String,
    },
    /// The folder that a setting names holds no server that can be run.
    #[error("no PostgreSQL server can be run from {}; --postgres-bin-dir names the folder of `initdb` and `postgres`", .0.display())]
    NotThere(PathBuf),
    /// Running as root, and no unprivileged account to hand the server to.
    #[error("PostgreSQL does not run as root, and no other account was found for it")]
    Account(#[source] io::Error),
    /// Running as root, and the unprivileged account cannot reach the folder.
    #[error(
        "PostgreSQL runs as `{account}` here, because it refuses root, and `{account}` may not enter {}, in which {} \
         lies; choose another folder with --data-dir",
        .folder.display(), .path.display()
    )]
    Unreachable {
        /// What is to be reached.
        path: PathBuf,
        /// The folder on the way that is closed.
        folder: PathBuf,
        /// The account.
        account: String,
    },
    /// `initdb` failed.
    #[error("initdb failed: {0}")]
    Initdb(String),
    /// The server ended, or did not get ready in time.
    #[error("PostgreSQL did not start: {why}; the end of {}:\n{tail}", .log.display())]
    Start {
        /// What was seen of it.
        why: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of its log.
        tail: String,
    },
    /// The wait was [given up](GiveUp), and what was started is ended.
    #[error("PostgreSQL is not waited for any longer")]
    GivenUp,
    /// What a predecessor left running does not end.
    #[error("process {0} of an earlier PostgreSQL still uses the data folder and cannot be ended")]
    Leftover(i32),
    /// A file or folder could not be used.
    #[error("cannot use {}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
