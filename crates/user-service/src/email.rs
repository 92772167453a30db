use std::fmt;

/// An address to write to. Two addresses are the same account's when they are equal without regard to the case of ASCII letters.
///
/// What is taken is the form that everything else can carry without quoting (`reliability.md` B050): at most 254 bytes of ASCII, one
/// `@`, before it up to 64 letters, digits and the signs that RFC 5322 allows there, with single dots between them; after it a
/// host name. Quoted local parts, comments, white space and line breaks are refused, so no address can reach into a mail's header. A domain
/// of another script is taken in its `xn--` form only, so it has one spelling. The local part is folded too: no provider that
/// matters tells `Ada@` from `ada@`, and people type either. A `+tag` stays: it is a different address, whose mail somebody else
/// may get.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    text: String,
    canonical: String,
}

/// The text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidEmail;

impl fmt::Display for InvalidEmail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an e-mail address: at most 254 bytes of ASCII with one '@' and a host name, unquoted")
    }
}

impl Email {
    /// RFC 5321 allows a path of 256 with its angle brackets.
    const BYTES_MAX: usize = 254;
    const LOCAL_BYTES_MAX: usize = 64;
    const LABEL_BYTES_MAX: usize = 63;

    /// Reads an address.
    ///
    /// # Errors
    ///
    /// Says what it must be.
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let (local, domain) = text.split_once('@').ok_or(InvalidEmail)?;
        if text.len() > Self::BYTES_MAX || !is_local(local) || !domain.split('.').all(is_label) {
            return Err(InvalidEmail);
        }
        Ok(Self {
            text: text.to_owned(),
            canonical: text.to_ascii_lowercase(),
        })
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As it is compared.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

/// A dot-atom of RFC 5322.
fn is_local(text: &str) -> bool {
    let atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
    };
    text.len() <= Email::LOCAL_BYTES_MAX && text.split('.').all(atom)
}

/// A label of a host name, RFC 1123.
fn is_label(text: &str) -> bool {
    (1..=Email::LABEL_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email")
    }
}

#[cfg(test)]
mod tests {
    use super::{Email, InvalidEmail};

    #[test]
    fn ordinary_addresses_are_taken_as_they_come() {
        for text in [
            "ada@example.org",
            "Ada.Lovelace+notes@Example.ORG",
            "o'brien@example.org",
            "root@localhost",
            "a@xn--bcher-kva.example",
        ] {
            assert_eq!(Email::parse(text).expect(text).as_str(), text);
        }
        assert!(
            Email::parse(&format!(
                "{}@{}",
                "a".repeat(64),
                format!("{}.", "b".repeat(47)).repeat(3) + &"c".repeat(45)
            ))
            .is_ok()
        );
    }

    #[test]
    fn the_same_address_in_another_case_is_the_same_account() {
        let email = Email::parse("ADA@Example.org").expect("an address");
        assert_eq!(email.canonical(), "ada@example.org");
        let tagged = Email::parse("ada+x@example.org").expect("an address");
        assert_ne!(tagged.canonical(), email.canonical());
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        let long = format!("{}@example.org", "a".repeat(243));
        let bad = [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@@example.org",
            "ada@b@example.org",
            "\"ada\"@example.org",
            "ada@example.org.",
            "ada@.example.org",
            ".ada@example.org",
            "a..b@example.org",
            "ada@exa mple.org",
            "ada@example.org\r\nBcc: eve@example.org",
            "ada\0@example.org",
            "<script>@example.org",
            "ada@bücher.example",
            "\u{212A}@example.org",
            "ada@[127.0.0.1]",
            "ada@-x.org",
            " ada@example.org",
            &long,
        ];
        for text in bad {
            assert_eq!(Email::parse(text), Err(InvalidEmail), "{text:?}");
        }
    }
}
