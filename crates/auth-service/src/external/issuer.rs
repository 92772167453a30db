//! Which issuers of ID tokens the deployment trusts, and in what.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde::Deserialize;

use super::fetch::Address;
use crate::InvalidSetting;

/// There are so many at the most: each has its keys in memory.
const ISSUERS_MAX: usize = 50;

/// The name of the setting that the list comes from.
const SETTING: &str = "--oidc-issuers-file";

/// How an ID token is signed. Never without a signature, and never with a secret that the client knows too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum SigningAlgorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256, 2,048 bits at the least.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// An OpenID Connect issuer whose users may log in here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalIssuer {
    /// Its identifier, which is the `iss` of its tokens to the byte, and where its discovery document is: an `https` URL, or `http` to
    /// this machine alone.
    pub issuer: String,
    /// Whom its tokens must be for: the client ids that applications of this deployment have there. At least one.
    pub audiences: Vec<String>,
    /// What its tokens may be signed with. All three where nothing is said.
    #[serde(default = "all_algorithms")]
    pub algorithms: Vec<SigningAlgorithm>,
    /// The claim that a new user's name is made of.
    #[serde(default = "preferred_username")]
    pub username_claim: String,
    /// The claim that a new user's display name is taken from.
    #[serde(default = "name")]
    pub display_name_claim: String,
    /// Whether a user who is not known yet is created. Otherwise they are `NOT_FOUND`.
    #[serde(default)]
    pub create_users: bool,
    /// A file with the certificates, in PEM, of authorities that are trusted besides the machine's: for this issuer and no other.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn all_algorithms() -> Vec<SigningAlgorithm> {
    vec![
        SigningAlgorithm::RS256,
        SigningAlgorithm::ES256,
        SigningAlgorithm::EdDSA,
    ]
}

fn preferred_username() -> String {
    "preferred_username".to_owned()
}

fn name() -> String {
    "name".to_owned()
}

impl ExternalIssuer {
    /// Reads a list of issuers in JSON.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse_list(json: &str) -> Result<Vec<Self>, InvalidSetting> {
        let issuers: Vec<Self> =
            serde_json::from_str(json).map_err(|error| invalid(format!("is no list of issuers: {error}")))?;
        Self::check_list(&issuers)?;
        Ok(issuers)
    }

    pub(crate) fn check_list(issuers: &[Self]) -> Result<(), InvalidSetting> {
        if issuers.len() > ISSUERS_MAX {
            return Err(invalid(format!("must have at most {ISSUERS_MAX} issuers")));
        }
        let mut seen = HashSet::new();
        for issuer in issuers {
            let name = &issuer.issuer;
            if !seen.insert(name) {
                return Err(invalid(format!("names {name} twice")));
            }
            Address::parse(name).map_err(|error| invalid(format!("names the issuer {name}, which {error}")))?;
            if name.contains(['?', '#']) {
                return Err(invalid(format!(
                    "names the issuer {name}, which must not have a query or fragment"
                )));
            }
            if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
                return Err(invalid(format!("must name the audiences of {name}")));
            }
            if issuer.algorithms.is_empty() {
                return Err(invalid(format!("must name an algorithm of {name}")));
            }
        }
        Ok(())
    }
}

/// Has the authorities of the file trusted too.
///
/// # Errors
///
/// Says what is wrong with the file.
pub(super) fn trust(roots: &mut RootCertStore, file: &Path) -> Result<(), InvalidSetting> {
    let shown = file.display();
    let pem =
        fs::read(file).map_err(|error| invalid(format!("names the ca_file {shown}, which cannot be read: {error}")))?;
    let unusable = || {
        invalid(format!(
            "names the ca_file {shown}, which must hold certificates in PEM"
        ))
    };
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| unusable())?;
    if certificates.is_empty() {
        return Err(unusable());
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|_| unusable())?;
    }
    Ok(())
}

fn invalid(description: String) -> InvalidSetting {
    InvalidSetting {
        setting: SETTING,
        description,
    }
}

#[cfg(test)]
mod tests {
    use super::{ExternalIssuer, SigningAlgorithm};

    #[test]
    fn a_list_is_read_with_what_is_usual() {
        let json = r#"[{"issuer": "https://id.example.org/realm", "audiences": ["app"]}]"#;
        let [issuer] = &ExternalIssuer::parse_list(json).expect("valid")[..] else {
            panic!("one issuer");
        };
        assert_eq!(issuer.username_claim, "preferred_username");
        assert_eq!(issuer.algorithms.len(), 3);
        assert!(!issuer.create_users);
        assert_eq!(issuer.ca_file, None);
        let json = r#"[{"issuer": "http://127.0.0.1:8080", "audiences": ["a", "b"], "algorithms": ["EdDSA"], "create_users": true}]"#;
        let issuers = ExternalIssuer::parse_list(json).expect("valid");
        assert_eq!(issuers[0].algorithms, [SigningAlgorithm::EdDSA]);
        assert!(ExternalIssuer::parse_list("[]").expect("valid").is_empty());
    }

    #[test]
    fn a_list_that_would_trust_too_much_is_refused() {
        for json in [
            "{}",
            r#"[{"issuer": "https://id.example.org"}]"#,
            r#"[{"issuer": "https://id.example.org", "audiences": []}]"#,
            r#"[{"issuer": "https://id.example.org", "audiences": [""]}]"#,
            r#"[{"issuer": "https://id.example.org", "audiences": ["a"], "algorithms": []}]"#,
            r#"[{"issuer": "https://id.example.org", "audiences": ["a"], "algorithms": ["none"]}]"#,
            r#"[{"issuer": "https://id.example.org", "audiences": ["a"], "algorithms": ["HS256"]}]"#,
            r#"[{"issuer": "http://id.example.org", "audiences": ["a"]}]"#,
            r#"[{"issuer": "ftp://id.example.org", "audiences": ["a"]}]"#,
            r#"[{"issuer": "id.example.org", "audiences": ["a"]}]"#,
            r#"[{"issuer": "https://user:secret@id.example.org", "audiences": ["a"]}]"#,
            r#"[{"issuer": "https://id.example.org?x=1", "audiences": ["a"]}]"#,
            r#"[{"issuer": "https://id.example.org", "audiences": ["a"], "trust": "all"}]"#,
            r#"[{"issuer": "https://id.example.org", "audiences": ["a"]}, {"issuer": "https://id.example.org", "audiences": ["b"]}]"#,
        ] {
            assert!(ExternalIssuer::parse_list(json).is_err(), "{json}");
        }
    }
}
