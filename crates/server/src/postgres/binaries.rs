//! The server's programs on this machine, and which of them to use.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Error,
    user::{self, Account},
};

/// The oldest major version that the suite's SQL is written for.
pub const MAJOR_MIN: u32 = 14;

/// A version of Postgres, by which the newest is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// What decides whether a data folder can be read: `15` of `15.18`.
    pub major: u32,
    /// `18` of `15.18`.
    pub minor: u32,
}

impl Version {
    /// Reads what `postgres --version` prints: `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `… 19beta1`.
    fn parse(printed: &str) -> Option<Self> {
        let number = printed.strip_prefix("postgres (PostgreSQL) ")?;
        let (major, rest) = leading_number(number)?;
        let minor = rest
            .strip_prefix('.')
            .and_then(leading_number)
            .map_or(0, |(minor, _)| minor);
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// A folder with `initdb` and `postgres` in it, which the server's account can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    version: Version,
}

impl Binaries {
    /// Looks a folder over: `None` where the programs are not there or cannot be run by the account.
    pub fn at(folder: &Path, account: Option<&Account>) -> Option<Self> {
        // Resolved, so that one server that is reached by several ways counts once.
        let folder = folder.canonicalize().ok()?;
        if !folder.join("initdb").is_file() || !folder.join("postgres").is_file() {
            return None;
        }
        let printed = user::command(&folder.join("postgres"), account)
            .arg("--version")
            .output()
            .ok()?;
        let version = Version::parse(&String::from_utf8_lossy(&printed.stdout))?;
        Some(Self { folder, version })
    }

    /// The version of the server.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The path of one of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl fmt::Display for Binaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.version, self.folder.display())
    }
}

/// Every server found: in `PATH`, where `pg_config` says, where packages put it, and in `extra` folders.
pub fn installed(account: Option<&Account>, extra: &[PathBuf]) -> Vec<Binaries> {
    let mut folders: BTreeSet<PathBuf> = extra.iter().cloned().collect();
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    folders.extend(pg_config());
    folders.extend(usual_folders());
    let mut found: Vec<Binaries> = Vec::new();
    for binaries in folders.iter().filter_map(|folder| Binaries::at(folder, account)) {
        if !found.contains(&binaries) {
            found.push(binaries);
        }
    }
    found
}

fn pg_config() -> Option<PathBuf> {
    let printed = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
    (printed.status.success() && !folder.is_empty()).then(|| PathBuf::from(folder))
}

/// Where the packages of Debian, Red Hat, Homebrew, a build from source and Postgres.app put a version's programs.
fn usual_folders() -> Vec<PathBuf> {
    let versions_in = [
        "/usr/lib/postgresql",
        "/usr",
        "/opt/homebrew/opt",
        "/usr/local/opt",
        "/usr/local",
        "/Applications/Postgres.app/Contents/Versions",
    ];
    versions_in
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten())
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| folder.join("postgres").is_file())
        .collect()
}

/// The major version that wrote a data folder, `None` where there is none yet.
pub fn version_of_data(data: &Path) -> Result<Option<u32>, Error> {
    let path = data.join("PG_VERSION");
    let failed = |source| Error::Io {
        path: path.clone(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The server to use: the newest, and for existing data the newest of the version that wrote it. `Ok(None)` means that
/// none was found at all, so that installing one is worth a thought.
pub fn choose(found: &[Binaries], written_by: Option<u32>) -> Result<Option<Binaries>, Error> {
    let fits = |binaries: &&Binaries| match written_by {
        Some(major) => binaries.version.major == major,
        None => binaries.version.major >= MAJOR_MIN,
    };
    let chosen = found.iter().filter(fits).max_by_key(|binaries| binaries.version);
    match (chosen, written_by) {
        (Some(binaries), _) => Ok(Some(binaries.clone())),
        (None, Some(major)) => Err(Error::OtherVersion {
            major,
            found: list(found),
        }),
        (None, None) if found.is_empty() => Ok(None),
        (None, None) => Err(Error::TooOld { found: list(found) }),
    }
}

fn list(found: &[Binaries]) -> String {
    if found.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = found.iter().map(Binaries::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(major: u32, minor: u32) -> Binaries {
        Binaries {
            folder: PathBuf::from(format!("/somewhere/{major}/bin")),
            version: Version { major, minor },
        }
    }

    #[test]
    fn versions_are_read_from_what_the_server_prints() {
        let read = |text| Version::parse(text).map(|version| (version.major, version.minor));
        assert_eq!(
            read("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some((15, 18))
        );
        assert_eq!(read("postgres (PostgreSQL) 18.4"), Some((18, 4)));
        assert_eq!(read("postgres (PostgreSQL) 19beta1"), Some((19, 0)));
        assert_eq!(read("psql (PostgreSQL) 15.18"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn the_newest_wins_for_new_data() {
        let found = [server(15, 18), server(17, 2), server(16, 9)];
        assert_eq!(choose(&found, None).unwrap(), Some(server(17, 2)));
    }

    #[test]
    fn existing_data_keeps_its_version() {
        let found = [server(15, 3), server(15, 18), server(17, 2)];
        assert_eq!(choose(&found, Some(15)).unwrap(), Some(server(15, 18)));
        let refused = choose(&found, Some(16)).unwrap_err();
        assert!(
            refused.to_string().contains("16") && refused.to_string().contains("17.2"),
            "{refused}"
        );
    }

    #[test]
    fn nothing_found_differs_from_nothing_new_enough() {
        assert_eq!(choose(&[], None).unwrap(), None);
        assert!(matches!(choose(&[server(13, 9)], None), Err(Error::TooOld { .. })));
    }

    #[test]
    fn a_folder_without_the_programs_is_no_server() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Binaries::at(folder.path(), None), None);
    }
}
