//! A private server for one data folder, from finding its programs to stopping it.

use std::path::{Path, PathBuf};

use super::{
    Error, GiveUp,
    binaries::{self, Binaries, Version},
    folder, install,
    supervisor::{Launch, Supervisor},
    user::{self, Account},
};
use crate::data_dir::DataDir;

/// The server's superuser.
pub const SUPERUSER: &str = "tidings";

/// The server's folder in the data folder of a suite.
const DATA_FOLDER: &str = "postgres";

/// What a private server is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of `initdb` and `postgres`; without it they are looked for.
    pub bin_dir: Option<PathBuf>,
    /// Whether a machine without a server gets one.
    pub install: bool,
    /// How many connections it takes.
    pub connections_max: u16,
    /// Ends the wait for it.
    pub give_up: GiveUp,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bin_dir: None,
            install: true,
            // Postgres' own default: five pools of a suite and somebody's psql fit.
            connections_max: 100,
            give_up: GiveUp::default(),
        }
    }
}

/// A running private server; dropping it stops the server.
#[derive(Debug)]
pub struct Cluster {
    supervisor: Supervisor,
    version: Version,
    data: PathBuf,
    socket_folder: PathBuf,
}

impl Cluster {
    /// Starts the server of a data folder, which is made if it is not there, and waits until it takes connections.
    ///
    /// Blocks: a second for new data, well below one for existing data, up to a minute where a crash left much to
    /// replay, and longer where a server has to be installed first. Once the wait is given up, 20 seconds at the most.
    pub fn start(data_dir: &DataDir, options: &Options) -> Result<Self, Error> {
        let account = Account::for_server()?;
        let data = data_dir.path().join(DATA_FOLDER);
        user::check_reachable(account.as_ref(), &data)?;
        let written_by = binaries::version_of_data(&data)?;
        let binaries = find(data_dir.path(), account.as_ref(), options, written_by)?;
        if written_by.is_none() {
            folder::create(&data, &binaries, account.as_ref())?;
        }
        let socket_folder = folder::create_for_socket(&data, account.as_ref())?;
        let version = binaries.version();
        tracing::debug!(%binaries, account = account.as_ref().map(Account::name), "starting PostgreSQL");
        let launch = Launch {
            binaries,
            account,
            data: data.clone(),
            socket_folder: socket_folder.clone(),
            log: data_dir.path().join("postgres.log"),
            connections_max: options.connections_max,
        };
        let supervisor = Supervisor::start(launch, &options.give_up)?;
        Ok(Self {
            supervisor,
            version,
            data,
            socket_folder,
        })
    }

    /// The server's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The folder of its data.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The address of a database for one of the server's users, without a password: none is asked.
    pub fn url(&self, user: &str, database: &str) -> String {
        url(&self.socket_folder, user, database)
    }

    /// The same for the server that another process runs in a data folder, if there is one.
    pub fn url_in(data_dir: &Path, user: &str, database: &str) -> String {
        url(&folder::of_socket(&data_dir.join(DATA_FOLDER)), user, database)
    }

    /// Stops the server: within five seconds, mostly within a tenth of one.
    pub fn stop(mut self) {
        self.supervisor.stop();
    }
}

fn find(
    data_dir: &Path,
    account: Option<&Account>,
    options: &Options,
    written_by: Option<u32>,
) -> Result<Binaries, Error> {
    if let Some(folder) = &options.bin_dir {
        let given = Binaries::at(folder, account).ok_or_else(|| Error::NotThere(folder.clone()))?;
        return binaries::choose(&[given], written_by)?.ok_or_else(|| Error::NotThere(folder.clone()));
    }
    let packages = data_dir.join(install::PACKAGED_FOLDER);
    let look = || binaries::choose(&binaries::installed(account, &install::packaged(&packages)), written_by);
    if let Some(found) = look()? {
        return Ok(found);
    }
    if options.install {
        install::install(&packages, look, &options.give_up)
    } else {
        Err(Error::NotFound { tried: String::new() })
    }
}

fn url(socket_folder: &Path, user: &str, database: &str) -> String {
    let host = percent_encoded(&socket_folder.to_string_lossy());
    format!("postgres:///{database}?host={host}&user={user}")
}

/// A path as the value of a URL's query.
fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_in_a_url_whatever_it_holds() {
        assert_eq!(percent_encoded("/var/lib/tidings-1"), "/var/lib/tidings-1");
        assert_eq!(percent_encoded("/a b&c=ü"), "/a%20b%26c%3D%C3%BC");
    }
}
