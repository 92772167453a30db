//! What a profile may hold, and a change of one.

use std::{collections::BTreeMap, fmt};

use tidings_proto_common::v1::Permission;
use tidings_rpc::{Violations, text::TextRule};

/// The fields of a profile to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// The name that others see.
    pub display_name: Option<String>,
    /// A few words; empty removes them.
    pub bio: Option<String>,
    /// A picture's address; empty removes it.
    pub avatar_url: Option<String>,
    /// The application's data, all of it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// What another system calls the user; empty removes it.
    pub external_id: Option<String>,
}

/// What another system calls a user: 128 bytes.
pub(crate) const EXTERNAL_ID: TextRule = TextRule {
    chars_min: 1,
    chars_max: 128,
    bytes_max: 128,
    multiline: false,
    plain: true,
    visible: true,
};

/// What the external ids begin with by which auth knows the users of OpenID Connect issuers (its `external/names.rs`). Whoever has
/// one logs in by an ID token of that issuer alone, so that only auth gives them.
const ISSUERS_PREFIX: &str = "oidc:";

/// A metadata value, which is bounded by the sum of all.
const METADATA_VALUE: TextRule = TextRule {
    chars_min: 0,
    chars_max: METADATA_BYTES_MAX,
    bytes_max: METADATA_BYTES_MAX,
    multiline: true,
    plain: false,
    visible: false,
};

const METADATA_KEY: TextRule = TextRule {
    chars_min: 1,
    multiline: false,
    ..METADATA_VALUE
};

/// Keys and values together (`api.md` section 1).
const METADATA_BYTES_MAX: usize = 4 * 1024;

const AVATAR_URL_BYTES_MAX: usize = 2_048;

impl ProfileChange {
    /// Adds what is wrong with the new values.
    pub fn check(&self, violations: &mut Violations) {
        if let Some(name) = &self.display_name {
            violations.check("display_name", TextRule::NAME.check(name));
        }
        if let Some(bio) = &self.bio {
            violations.check("bio", TextRule::DESCRIPTION.check(bio));
        }
        if let Some(url) = self.avatar_url.as_ref().filter(|url| !url.is_empty()) {
            violations.check("avatar_url", check_avatar_url(url));
        }
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata, violations);
        }
        if let Some(id) = self.external_id.as_ref().filter(|id| !id.is_empty()) {
            violations.check("external_id", EXTERNAL_ID.check(id));
        }
    }

    /// Whether it would give the id of an issuer's user to who has this one.
    #[must_use]
    pub fn forges_issuers_id(&self, current: Option<&str>) -> bool {
        let wanted = self.external_id.as_deref().filter(|id| id.starts_with(ISSUERS_PREFIX));
        wanted.is_some() && wanted != current
    }

    /// What one must hold even to change one's own profile so.
    #[must_use]
    pub fn permission(&self) -> Option<Permission> {
        self.external_id.is_some().then_some(Permission::UsersManage)
    }

    /// The names of what it changes.
    #[must_use]
    pub fn names(&self) -> String {
        let names = [
            ("display_name", self.display_name.is_some()),
            ("bio", self.bio.is_some()),
            ("avatar_url", self.avatar_url.is_some()),
            ("metadata", self.metadata.is_some()),
            ("external_id", self.external_id.is_some()),
        ];
        let changed: Vec<&str> = names.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        changed.join(",")
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The address is none that a client should show a picture from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAvatarUrl;

impl fmt::Display for InvalidAvatarUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an https address of at most 2048 bytes, without a user in it")
    }
}

/// `https` only: `javascript:`, `data:` and the like would act in whoever shows the picture (`reliability.md` B052).
fn check_avatar_url(url: &str) -> Result<(), InvalidAvatarUrl> {
    if url.len() > AVATAR_URL_BYTES_MAX {
        return Err(InvalidAvatarUrl);
    }
    let uri = url.parse::<http::Uri>().map_err(|_| InvalidAvatarUrl)?;
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let https = uri.scheme_str() == Some("https") && !uri.host().unwrap_or_default().is_empty();
    if https && !authority.contains('@') && url.is_ascii() {
        Ok(())
    } else {
        Err(InvalidAvatarUrl)
    }
}

fn check_metadata(metadata: &BTreeMap<String, String>, violations: &mut Violations) {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        violations.add(
            "metadata",
            format!("must have at most {METADATA_BYTES_MAX} bytes of keys and values together"),
        );
        return;
    }
    for (key, value) in metadata {
        if let Err(error) = METADATA_KEY.check(key) {
            violations.add("metadata", format!("a key {error}"));
        }
        if let Err(error) = METADATA_VALUE.check(value) {
            violations.add("metadata", format!("a value {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_rpc::Violations;

    use super::{ProfileChange, check_avatar_url};

    fn fields_wrong_with(change: &ProfileChange) -> Vec<String> {
        let mut violations = Violations::new();
        change.check(&mut violations);
        violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn pictures_come_by_https_only() {
        for url in [
            "https://example.org/a.png",
            "https://example.org:8443/?a=b",
            "https://[2001:db8::1]/a",
        ] {
            assert!(check_avatar_url(url).is_ok(), "{url}");
        }
        let long = format!("https://example.org/{}", "a".repeat(2_048));
        let bad = [
            "http://example.org/a.png",
            "javascript:alert(1)",
            "data:image/png;base64,AA==",
            "https://",
            "https:///a",
            "//example.org/a",
            "https://user:pass@example.org/",
            "https://exa mple.org/",
            "https://example.org/\r\nx",
            "example.org/a.png",
            &long,
        ];
        for url in bad {
            assert!(check_avatar_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let change = ProfileChange {
            display_name: Some(String::new()),
            bio: Some("a\0b".to_owned()),
            avatar_url: Some("ftp://x".to_owned()),
            metadata: Some([("k".to_owned(), "v".repeat(4_096))].into()),
            external_id: Some("x".repeat(129)),
        };
        assert_eq!(
            fields_wrong_with(&change),
            ["display_name", "bio", "avatar_url", "metadata", "external_id"]
        );
    }

    #[test]
    fn an_issuers_id_is_kept_or_taken_away_but_not_given() {
        let change = |id: &str| ProfileChange {
            external_id: Some(id.to_owned()),
            ..ProfileChange::default()
        };
        for (id, current, forged) in [
            ("oidc:a", None, true),
            ("oidc:a", Some("oidc:b"), true),
            ("oidc:a", Some("crm-1"), true),
            ("oidc:", None, true),
            ("oidc:a", Some("oidc:a"), false),
            ("", Some("oidc:a"), false),
            ("crm-1", Some("oidc:a"), false),
            ("oidc", None, false),
            ("OIDC:a", None, false),
        ] {
            assert_eq!(change(id).forges_issuers_id(current), forged, "{id:?} {current:?}");
        }
        assert!(!ProfileChange::default().forges_issuers_id(Some("oidc:a")));
    }

    #[test]
    fn empty_text_removes_what_may_be_absent() {
        let change = ProfileChange {
            bio: Some(String::new()),
            avatar_url: Some(String::new()),
            metadata: Some([].into()),
            external_id: Some(String::new()),
            ..ProfileChange::default()
        };
        assert_eq!(fields_wrong_with(&change), Vec::<String>::new());
        assert!(change.permission().is_some());
    }
}
