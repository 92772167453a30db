//! Whose users may log in besides our own.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use tidings_auth_service::ExternalIssuer;

/// Whose users may log in besides our own.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accounts")]
pub struct ExternalArgs {
    /// A JSON file with the OpenID Connect issuers whose users may log in
    ///
    /// A list of `{"issuer": "https://id.example.org", "audiences": ["client-id"]}`. Each may also have `algorithms` (`RS256`,
    /// `ES256`, `EdDSA`; all of them where nothing is said), `username_claim` (`preferred_username`), `display_name_claim` (`name`),
    /// `create_users` (`false`), and `ca_file`, a PEM file of authorities that are trusted for it besides the machine's. It is read at
    /// start; keys are fetched from the issuers themselves, over HTTPS.
    #[arg(long, env = "TIDINGS_OIDC_ISSUERS_FILE", value_name = "FILE")]
    oidc_issuers_file: Option<PathBuf>,
}

impl ExternalArgs {
    /// The issuers in the file; none without one.
    pub fn issuers(&self) -> Result<Vec<ExternalIssuer>> {
        let Some(path) = &self.oidc_issuers_file else {
            return Ok(Vec::new());
        };
        let json = fs::read_to_string(path)
            .with_context(|| format!("--oidc-issuers-file: {} cannot be read", path.display()))?;
        Ok(ExternalIssuer::parse_list(&json)?)
    }
}

#[cfg(test)]
mod tests {
    use super::ExternalArgs;

    #[test]
    fn issuers_come_from_the_file_or_are_refused_with_its_name() {
        let args = |path: Option<std::path::PathBuf>| ExternalArgs {
            oidc_issuers_file: path,
        };
        assert!(args(None).issuers().unwrap().is_empty());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issuers.json");
        let refused = format!("{:#}", args(Some(path.clone())).issuers().unwrap_err());
        assert!(
            refused.contains("--oidc-issuers-file") && refused.contains("issuers.json"),
            "{refused}"
        );

        std::fs::write(&path, r#"[{"issuer": "https://id.example.org", "audiences": ["app"]}]"#).unwrap();
        let issuers = args(Some(path.clone())).issuers().unwrap();
        assert_eq!(issuers[0].issuer, "https://id.example.org");

        std::fs::write(&path, r#"[{"issuer": "http://id.example.org", "audiences": ["app"]}]"#).unwrap();
        let refused = format!("{:#}", args(Some(path)).issuers().unwrap_err());
        assert!(refused.contains("must be https"), "{refused}");
    }
}
