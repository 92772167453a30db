//! What users of issuers are called here.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_ids::Source;

use crate::account::Username;

/// What the external ids of issuers' users begin with.
pub(crate) const RESERVED_PREFIX: &str = "oidc:";

/// What an issuer's user is known by here: issuers are told apart by their length too, so that no two pairs have the same bytes.
pub(super) fn external_id(issuer: &str, subject: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(&u64::try_from(issuer.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(issuer.as_bytes());
    context.update(subject.as_bytes());
    format!("{RESERVED_PREFIX}{}", URL_SAFE_NO_PAD.encode(context.finish()))
}

/// A username made of what somebody is called elsewhere. The first attempt is the name itself, further ones have some letters more.
pub(super) fn username(wished: &str, attempt: usize, source: &Source) -> Username {
    /// Of the name, so that the letters fit behind it.
    const CHARS_MAX: usize = 24;
    let local = wished.split('@').next().unwrap_or_default().to_lowercase();
    let mut name = String::new();
    for letter in local.chars() {
        let fits = letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '.' | '_' | '-');
        if fits && !(letter == '.' && name.ends_with('.')) && name.len() < CHARS_MAX {
            name.push(letter);
        }
    }
    let plain = Username::parse(&name).ok();
    match plain {
        Some(name) if attempt == 0 => name,
        plain => {
            let letters: [u8; 5] = source.random();
            let letters = letters.map(|byte| char::from(b"abcdefghijkmnpqrstuvwxyz23456789"[usize::from(byte % 32)]));
            let base = plain.as_ref().map_or("user", Username::as_str);
            let name = format!("{base}-{}", String::from_iter(letters));
            Username::parse(&name).expect("some letters, a hyphen and five letters are a username")
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;

    use super::{external_id, username};

    #[test]
    fn a_user_is_one_issuers_and_one_subjects() {
        let id = external_id("https://a.example", "bob");
        assert_eq!(id, external_id("https://a.example", "bob"));
        assert!(id.starts_with("oidc:") && id.len() == 48);
        assert_ne!(id, external_id("https://a.example", "Bob"));
        assert_ne!(id, external_id("https://a.exampleb", "ob"));
        assert_ne!(id, external_id("https://b.example", "bob"));
    }

    #[test]
    fn names_from_elsewhere_become_usernames() {
        let source = Source::seeded(1);
        for (wished, name) in [
            ("Ada.Lovelace", "ada.lovelace"),
            ("ada@example.org", "ada"),
            ("a..b", "a.b"),
            ("Ädä L", "dl"),
        ] {
            assert_eq!(username(wished, 0, &source).as_str(), name, "{wished}");
            let other = username(wished, 1, &source);
            assert!(other.as_str().starts_with(&format!("{name}-")), "{other:?}");
        }
        for wished in ["", "@", "李", "..", "-", "a"] {
            assert!(username(wished, 0, &source).as_str().starts_with("user-"), "{wished}");
        }
        assert!(username(&"x".repeat(300), 3, &source).as_str().len() <= 32);
    }
}
