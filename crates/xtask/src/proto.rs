//! The contract: its style, and that no later version breaks a client of an earlier one.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use crate::workspace::{command, output, root, run};

/// The contract as it was taken last, for as long as there is no release to compare with.
const BASELINE: &str = "proto/baseline.binpb";

/// Lint, format, and no change that breaks clients.
pub fn check() -> Result<()> {
    run(command("buf").arg("lint"))?;
    run(command("buf").args(["format", "--diff", "--exit-code"]))?;
    breaking(&root(), &against()?)
}

/// Takes the protos as they are as the baseline. The commit that holds it says why.
pub fn write_baseline() -> Result<()> {
    run(command("buf").args(["build", "--exclude-source-info", "--output", BASELINE]))
}

fn breaking(folder: &Path, against: &str) -> Result<()> {
    run(command("buf")
        .current_dir(folder)
        .args(["breaking", "--against", against]))
}

/// The newest release, and before the first one the baseline.
fn against() -> Result<String> {
    let tags = output(command("git").args(["tag", "--list", "v*", "--sort=-version:refname"]))?;
    match tags.lines().next() {
        Some(tag) => Ok(format!("{}/.git#tag={tag}", root().display())),
        None => {
            let baseline = root().join(BASELINE);
            ensure!(
                fs::exists(&baseline)?,
                "{BASELINE} is missing: `cargo xtask proto-baseline` makes it"
            );
            Ok(baseline.display().to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The workspace's protos in a folder of their own, where they can be changed.
    fn copy() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(root().join("buf.yaml"), folder.path().join("buf.yaml")).unwrap();
        copy_protos(&root().join("proto"), &folder.path().join("proto"));
        folder
    }

    fn copy_protos(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy_protos(&path, &target);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                fs::copy(&path, &target).unwrap();
            }
        }
    }

    fn replace(folder: &Path, file: &str, from: &str, to: &str) {
        let path = folder.join("proto").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no longer {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    const AUTH: &str = "tidings/auth/v1/auth_service.proto";

    #[test]
    fn the_protos_as_they_are_break_nothing() {
        breaking(copy().path(), &against().unwrap()).unwrap();
    }

    #[test]
    fn a_field_with_another_number_is_refused() {
        let folder = copy();
        replace(folder.path(), AUTH, " = 1;", " = 4711;");
        breaking(folder.path(), &against().unwrap()).unwrap_err();
    }

    #[test]
    fn a_field_with_another_name_is_refused_because_json_has_names() {
        let folder = copy();
        replace(folder.path(), AUTH, "string request_id = 6;", "string retry_id = 6;");
        breaking(folder.path(), &against().unwrap()).unwrap_err();
    }
}
