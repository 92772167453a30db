use std::{
    env,
    path::{Path, PathBuf},
};

/// Names another `tidings` than the one beside the tests.
const BINARY_VARIABLE: &str = "TIDINGS_BIN";

/// A binary of this build: cargo puts it beside the folder of the tests.
///
/// # Panics
///
/// When it was not built.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    if name == "tidings"
        && let Some(path) = env::var_os(BINARY_VARIABLE)
    {
        return PathBuf::from(path);
    }
    let test = env::current_exe().expect("a test is a file");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("tests stand in target/<profile>/deps");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo build --workspace` makes it",
        path.display()
    );
    path
}
