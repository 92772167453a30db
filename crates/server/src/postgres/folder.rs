//! The server's data folder, and the folder of its socket.

use std::{
    fs::{self, DirBuilder},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use super::{
    Error, SUPERUSER,
    binaries::Binaries,
    user::{self, Account},
};

/// Whoever can reach the socket may be any of the server's users: its folder is open to nobody but the data's owner.
const HBA: &str = "# Only local connections, through a socket in a folder of mode 0700.\nlocal all all trust\n";

/// What differs from the server's own defaults, in a file that its owner may edit. Modest, since `dev` runs on laptops:
/// a quarter of a gigabyte for the cache, costs for an SSD, and no compiler, which for short statements only costs time.
const SETTINGS: &str = "
# Written once, when this folder was made; change it as you like.
shared_buffers = 256MB
jit = off
random_page_cost = 1.1
log_min_messages = warning
timezone = 'UTC'
log_timezone = 'UTC'
";

/// The longest path of a socket that every system takes, its closing zero included (macOS; Linux takes four more).
const SOCKET_PATH_BYTES_MAX: usize = 104;
/// How the server names its socket, by the port that it would have.
pub const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// Makes the data folder with `initdb`. It gets its name last, so that one that was interrupted is not mistaken for it.
pub fn create(data: &Path, binaries: &Binaries, account: Option<&Account>) -> Result<(), Error> {
    let unfinished = data.with_extension("unfinished");
    remove(&unfinished, account)?;
    make_private(&unfinished, account)?;
    let mut initdb = user::command(&binaries.program("initdb"), account);
    initdb
        .arg("-D")
        .arg(&unfinished)
        .args(["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8"])
        .args(locale(binaries))
        .arg("--no-instructions");
    let output = initdb.output().map_err(in_path(&binaries.program("initdb")))?;
    if !output.status.success() {
        return Err(Error::Initdb(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    fs::write(unfinished.join("pg_hba.conf"), HBA).map_err(in_path(&unfinished))?;
    let settings = unfinished.join("postgresql.conf");
    let given = fs::read_to_string(&settings).map_err(in_path(&settings))?;
    fs::write(&settings, given + SETTINGS).map_err(in_path(&settings))?;
    fs::rename(&unfinished, data).map_err(in_path(data))
}

/// Text in Unicode's order of code points, upper and lower case by Unicode: from 17 on the server brings that itself,
/// before, the C library does.
fn locale(binaries: &Binaries) -> &'static [&'static str] {
    if binaries.version().major >= 17 {
        &["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    } else {
        &["--locale=C.UTF-8"]
    }
}

/// The folder of the socket: the data folder, or where its path is too long for a socket, one beside other temporary
/// files, named after it.
pub fn of_socket(data: &Path) -> PathBuf {
    let fits = data.join(SOCKET_NAME).as_os_str().len() < SOCKET_PATH_BYTES_MAX;
    if fits {
        return data.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    Path::new("/tmp").join(format!("tidings-{:016x}", hasher.finish()))
}

/// Makes the folder of the socket where it is not the data folder.
pub fn create_for_socket(data: &Path, account: Option<&Account>) -> Result<PathBuf, Error> {
    let folder = of_socket(data);
    if folder != data {
        remove(&folder, account)?;
        make_private(&folder, account)?;
    }
    Ok(folder)
}

/// A new folder that only the server's account may enter.
fn make_private(folder: &Path, account: Option<&Account>) -> Result<(), Error> {
    DirBuilder::new().mode(0o700).create(folder).map_err(in_path(folder))?;
    match account {
        Some(account) => account.own(folder).map_err(in_path(folder)),
        None => Ok(()),
    }
}

/// Removes a folder that an earlier start left, but nothing that somebody else put in its place.
fn remove(folder: &Path, account: Option<&Account>) -> Result<(), Error> {
    let Ok(found) = fs::symlink_metadata(folder) else {
        return Ok(());
    };
    let owners = [Some(geteuid().as_raw()), account.map(Account::uid)];
    if !found.is_dir() || !owners.contains(&Some(found.uid())) {
        return Err(in_path(folder)(io::Error::other(
            "something of somebody else is in its place",
        )));
    }
    fs::remove_dir_all(folder).map_err(in_path(folder))
}

/// An error about a path, from what the system said.
pub fn in_path(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}
