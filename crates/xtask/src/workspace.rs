//! Where things are in the workspace, and how programs are run in it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// The top folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies in crates/xtask")
        .to_owned()
}

/// The folder of the pinned tools.
pub fn tools() -> PathBuf {
    root().join(".tools")
}

/// A program to be run at the top of the workspace, with the pinned tools before all others.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env("PATH", path());
    command
}

/// Cargo, the one that runs this.
pub fn cargo() -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells a program about that program's own package is not for the cargo that it runs.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR")
        {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn path() -> OsString {
    let given = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools().join("bin")).chain(env::split_paths(&given));
    env::join_paths(folders).expect("the folders come from a search path, and the workspace was compiled in one")
}

/// Whether a program is in the search path.
pub fn has(program: &str) -> bool {
    env::split_paths(&path()).any(|folder| folder.join(program).is_file())
}

/// Prints the command, runs it, and fails as it does.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    eprintln!("> {shown}");
    let status = command.status().with_context(|| shown.clone())?;
    ensure!(status.success(), "{status}: {shown}");
    Ok(())
}

/// What a command prints, where it does not fail.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| shown.clone())?;
    ensure!(
        output.status.success(),
        "{}: {shown}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words: Vec<_> = std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// The folders of the service crates, which have migrations and checked queries.
pub fn services() -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join("crates"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| path.join("migrations").is_dir())
        .collect();
    found.sort();
    Ok(found)
}
