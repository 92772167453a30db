//! The compose file, checked against the public schema, which the checker carries with it.

use anyhow::Result;

use crate::{
    tools,
    workspace::{command, root, run},
};

/// The checker, from Python's packages.
const CHECKER: &str = "check-jsonschema==0.39.0";

/// Fails where `deploy/compose.yaml` is no compose file.
pub fn check() -> Result<()> {
    let packages = tools::python_packages(CHECKER)?;
    run(command("python3")
        .env("PYTHONPATH", packages)
        .args(["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"])
        .arg(root().join("deploy/compose.yaml")))
}
