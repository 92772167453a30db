use std::fmt;

/// The name that a user is found by: 2 to 32 of `a-z`, `0-9`, `.`, `_`, `-`, with at least one letter or digit and no two dots in
/// a row. Nothing folds to another spelling: capital letters are the caller's to make small, and other scripts are not taken, so
/// that no two names look alike by more than ASCII allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

/// The text is no username.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be 2 to 32 of a-z, 0-9, '.', '_' and '-', with a letter or digit and without '..'")
    }
}

/// Names that speak for the deployment, or mean something to programs, in order. Only accounts that are made with the role `admin` or
/// `bot`, which is the operator's doing, may have one of the first kind.
const OFFICIAL: [&str; 17] = [
    "abuse",
    "admin",
    "administrator",
    "echo",
    "help",
    "moderator",
    "official",
    "operator",
    "postmaster",
    "root",
    "security",
    "staff",
    "superuser",
    "support",
    "sysadmin",
    "tidings",
    "webmaster",
];

const MEANINGFUL: [&str; 19] = [
    "all",
    "anonymous",
    "anyone",
    "channel",
    "deleted",
    "everybody",
    "everyone",
    "false",
    "here",
    "localhost",
    "me",
    "nobody",
    "none",
    "null",
    "self",
    "system",
    "true",
    "undefined",
    "unknown",
];

impl Username {
    const LENGTH_MIN: usize = 2;
    const LENGTH_MAX: usize = 32;

    /// Reads a username.
    ///
    /// # Errors
    ///
    /// Says what it must be.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let well_formed =
            is_name(text) && text.bytes().any(|byte| byte.is_ascii_alphanumeric()) && !text.contains("..");
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }

    /// Whether nobody may have it, or only an account of the operator's.
    #[must_use]
    pub fn is_reserved(&self, for_operator: bool) -> bool {
        let is = |list: &[&str]| list.binary_search(&self.0.as_str()).is_ok();
        is(&MEANINGFUL) || (is(&OFFICIAL) && !for_operator)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the text has the letters and the length of a username or a role's name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (Username::LENGTH_MIN..=Username::LENGTH_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::{InvalidName, MEANINGFUL, OFFICIAL, Username};

    #[test]
    fn usernames_are_short_and_plain() {
        for name in ["al", "ada.lovelace", "_x_", "7up", &"a".repeat(32)] {
            assert!(Username::parse(name).is_ok(), "{name:?}");
        }
        let bad = [
            "",
            "a",
            "Ada",
            "a b",
            "a@b",
            "a..b",
            "..",
            "--",
            "ada\0",
            "ada\n",
            "\u{212A}elvin",
            "ſam",
            "straße",
            "аdа",
            "ｂｏｂ",
        ];
        for name in bad {
            assert_eq!(Username::parse(name), Err(InvalidName), "{name:?}");
        }
        assert_eq!(Username::parse(&"a".repeat(33)), Err(InvalidName));
    }

    #[test]
    fn reserved_names_are_found() {
        assert!(OFFICIAL.is_sorted() && MEANINGFUL.is_sorted());
        let reserved = |name: &str, for_operator| Username::parse(name).expect("well-formed").is_reserved(for_operator);
        assert!(reserved("admin", false) && !reserved("admin", true));
        assert!(reserved("echo", false) && !reserved("echo", true));
        assert!(reserved("everyone", false) && reserved("everyone", true));
        assert!(!reserved("ada", false));
    }
}
