//! Passwords that are refused because they are tried first: a list in the program, a file of the operator's, and what is made of
//! the deployment's own words.

mod breached;
mod words;

use secrecy::{ExposeSecret as _, SecretString};
use tidings_rpc::Violations;

use self::{breached::BreachedFile, words::Words};
use crate::{Config, Error, InvalidSetting};

/// See `assets/README.md`: small letters, sorted by bytes, one a line.
const COMMON: &str = include_str!("../../assets/common-passwords.txt");

/// What the caller is told. It says what is wrong with the word, and nothing about any account.
const KNOWN: &str = "must not be among the passwords that are known and tried first";
const WORDS: &str = "must not be made of the names of this service alone";
const NAME: &str = "must not be the account's own username or e-mail address";

/// What passwords are looked up in. Nothing leaves the process for it.
#[derive(Debug)]
pub(crate) struct Blocklist {
    breached: Option<BreachedFile>,
    words: Words,
}

impl Blocklist {
    /// What every deployment refuses, and what the configuration adds.
    pub(crate) fn new(config: &Config) -> Result<Self, InvalidSetting> {
        let invalid = |setting, description| InvalidSetting { setting, description };
        let breached = config.breached_passwords_file.as_deref().map(BreachedFile::open);
        Ok(Self {
            breached: breached
                .transpose()
                .map_err(|description| invalid("breached-passwords-file", description))?,
            words: Words::new(&config.public_url, &config.password_words)
                .map_err(|must| invalid("password-words", must.to_owned()))?,
        })
    }

    /// Notes a violation where the password is on a list, or made of the deployment's words.
    ///
    /// # Errors
    ///
    /// When the operator's file cannot be read: a password that cannot be looked up is not taken.
    pub(crate) async fn check(
        &self,
        violations: &mut Violations,
        field: &'static str,
        password: &SecretString,
    ) -> Result<(), Error> {
        let known = is_common(password.expose_secret())
            || match &self.breached {
                Some(file) => file.contains(password).await?,
                None => false,
            };
        if known {
            violations.add(field, KNOWN);
        } else if self.words.make_up(password.expose_secret()) {
            violations.add(field, WORDS);
        }
        Ok(())
    }
}

/// Notes a violation where the password is a name of its account, whatever the case. Only for somebody who has shown that the
/// account is theirs, or who says what it is to be called.
pub(crate) fn check_names(
    violations: &mut Violations,
    field: &'static str,
    password: &SecretString,
    username: &str,
    email: Option<&str>,
) {
    let password = password.expose_secret();
    let local = email.and_then(|email| email.split_once('@')).map(|(local, _)| local);
    let names = [Some(username), email, local];
    if names
        .into_iter()
        .flatten()
        .any(|name| name.eq_ignore_ascii_case(password))
    {
        violations.add(field, NAME);
    }
}

/// Whether the word is on the list, whatever the case. A binary search in the text itself.
fn is_common(password: &str) -> bool {
    let word = password.to_lowercase();
    let (mut low, mut high) = (0, COMMON.len());
    // Both stand at the beginning of a line, or at the end of the text.
    while low < high {
        let middle = low.midpoint(high);
        let begin = COMMON.as_bytes()[..middle]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |position| position + 1);
        let rest = &COMMON[begin..];
        let line = rest.split_once('\n').map_or(rest, |(line, _)| line);
        match line.cmp(&word) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = begin + line.len() + 1,
            std::cmp::Ordering::Greater => high = begin,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use tidings_rpc::Violations;

    use super::{Blocklist, COMMON, Words, check_names, is_common};

    #[test]
    fn the_list_is_sorted_lower_case_and_long_enough_to_count() {
        let lines: Vec<&str> = COMMON.lines().collect();
        // ASVS 5.0, 6.2.4: the 3,000 most common that the deployment would take, at least.
        assert!(lines.len() > 10_000, "{}", lines.len());
        assert!(lines.is_sorted());
        for line in lines {
            assert!(line.chars().count() >= 8, "{line:?} is too short to be taken anyway");
            assert_eq!(line, line.to_lowercase(), "would never be found");
        }
    }

    #[test]
    fn every_line_is_found_and_nothing_beside_them() {
        for line in COMMON.lines() {
            assert!(is_common(line), "{line:?}");
        }
        assert!(is_common("PassWord1"));
        for word in [
            "",
            "a",
            "zzzzzzzzzzzzzzzzzzzz",
            "password1 ",
            "correct horse battery",
            "\u{10ffff}",
        ] {
            assert!(!is_common(word), "{word:?}");
        }
    }

    #[tokio::test]
    async fn a_common_password_is_named_as_such() {
        let list = Blocklist {
            breached: None,
            words: Words::new("https://chat.example.org", &[]).expect("made"),
        };
        let check = async |password: &str| {
            let mut violations = Violations::new();
            let password = SecretString::from(password);
            list.check(&mut violations, "password", &password)
                .await
                .expect("checked");
            violations.is_empty()
        };
        assert!(!check("iloveyou1").await);
        assert!(!check("ILOVEYOU1").await);
        assert!(!check("Tidings-2026").await);
        assert!(check("a password of one's own").await);
    }

    #[test]
    fn a_name_of_the_account_is_no_password_for_it() {
        let refused = |password: &str| {
            let mut violations = Violations::new();
            let password = SecretString::from(password);
            check_names(
                &mut violations,
                "password",
                &password,
                "ada.lovelace",
                Some("Countess@example.org"),
            );
            !violations.is_empty()
        };
        for name in ["ada.lovelace", "Ada.Lovelace", "countess", "countess@EXAMPLE.org"] {
            assert!(refused(name), "{name:?}");
        }
        for other in ["ada.lovelace1", "example.org", ""] {
            assert!(!refused(other), "{other:?}");
        }
    }
}
