//! What an account is named by.

use std::fmt;

/// A username in small letters: 2 to 32 of `a-z`, `0-9`, `.`, `_`, `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Username(String);

/// The text is no username.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidUsername;

impl fmt::Display for InvalidUsername {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "must have 2 to 32 characters of a-z, 0-9, '.', '_', '-', one of them a letter or digit, and no '..'",
        )
    }
}

impl Username {
    /// Reads a username; capital letters of ASCII are taken as small ones. Reserved names are the user service's to
    /// refuse.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidUsername> {
        let folded = text.to_ascii_lowercase();
        let permitted =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        let valid = (2..=32).contains(&folded.len())
            && folded.bytes().all(permitted)
            && folded.bytes().any(|byte| byte.is_ascii_alphanumeric())
            && !folded.contains("..");
        if valid { Ok(Self(folded)) } else { Err(InvalidUsername) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An e-mail address, as it was given and as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Email {
    given: String,
    key: String,
}

/// The text is no address that mail can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidEmail;

impl fmt::Display for InvalidEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an e-mail address: at most 254 bytes of ASCII with one '@' and a host name, unquoted")
    }
}

impl Email {
    /// The longest address that fits into an SMTP path (RFC 5321, erratum 1690).
    const BYTES_MAX: usize = 254;

    /// The longest local part of RFC 5321, and the longest label of a host name.
    const LOCAL_BYTES_MAX: usize = 64;
    const LABEL_BYTES_MAX: usize = 63;

    /// Reads an address, as the user service does: ASCII, unquoted, a host name after the `@`. What cannot stand in a
    /// mail's header as it is does not come this far, so no line break reaches one and no mail waits for ever.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let atom = |atom: &str| !atom.is_empty() && atom.bytes().all(sign);
        let label = |label: &str| {
            (1..=Self::LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let plain = local.len() <= Self::LOCAL_BYTES_MAX && local.split('.').all(atom) && domain.split('.').all(label);
        if text.len() > Self::BYTES_MAX || !plain || text.parse::<lettre::Address>().is_err() {
            return Err(InvalidEmail);
        }
        Ok(Self {
            given: text.to_owned(),
            key: fold(text),
        })
    }

    /// As it was given.
    pub(crate) fn as_str(&self) -> &str {
        &self.given
    }

    /// What addresses are compared by.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// Addresses are compared without regard to case. Mail goes to the stored spelling only, so that a spelling that merely
/// folds to it gets nothing.
pub(crate) fn fold(email: &str) -> String {
    email.to_ascii_lowercase()
}

/// What somebody calls an account by at `Login`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identifier {
    /// An address, folded.
    Email(String),
    /// A username, folded; perhaps not one that anybody can have.
    Username(String),
}

impl Identifier {
    /// An `@` makes it an address.
    pub(crate) fn of(text: &str) -> Self {
        if text.contains('@') {
            Self::Email(fold(text))
        } else {
            Self::Username(text.to_ascii_lowercase())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Email, Identifier, Username};

    #[test]
    fn a_username_is_folded_and_bounded() {
        assert_eq!(Username::parse("Ada.L-1_x").expect("valid").as_str(), "ada.l-1_x");
        let long = "a".repeat(33);
        for text in ["a", "", "a b", "añ", "a\0b", "a/b", "a..b", "--", "Ａda", long.as_str()] {
            assert!(Username::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_is_kept_as_given_and_compared_folded() {
        let email = Email::parse("Ada@Example.ORG").expect("valid");
        assert_eq!((email.as_str(), email.key()), ("Ada@Example.ORG", "ada@example.org"));
    }

    #[test]
    fn what_could_break_out_of_a_header_is_no_address() {
        let long = format!("{}@example.org", "a".repeat(250));
        let bad = [
            "",
            "ada",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "é@b.org",
            "a@é.org",
            "\"a\"@b.org",
            "a@-b.org",
            "a..b@c.org",
            "a b@c.org",
            "a@b.org\r\nbcc: c@d.org",
            "a@b.org\0",
            "<a@b.org>",
            "a,b@c.org",
            "a@b.org, c",
            long.as_str(),
        ];
        for text in bad {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_at_sign_makes_an_identifier_an_address() {
        assert_eq!(Identifier::of("Ada"), Identifier::Username("ada".to_owned()));
        assert_eq!(Identifier::of("Ada@X"), Identifier::Email("ada@x".to_owned()));
    }
}
