//! The deployment's own words, which whoever knows the deployment tries first (ASVS 5.0, 6.1.2 and 6.2.11).

/// Shorter ones are in too many good passwords.
const LETTERS_MIN: usize = 4;

const LETTERS_MAX: usize = 64;

/// What the operator may add, so that a look-up stays cheap.
const WORDS_MAX: usize = 100;

/// The product's name, which is such a word everywhere.
const PRODUCT: &str = "tidings";

const MUST: &str = "must be at most 100 words of 4 to 64 letters each";

/// Words in small letters.
#[derive(Debug)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// The product's name, those in the host of the public URL, and the operator's.
    ///
    /// # Errors
    ///
    /// What the operator's must be, where they are not.
    pub(super) fn new(public_url: &str, given: &[String]) -> Result<Self, &'static str> {
        let takes = |word: &String| (LETTERS_MIN..=LETTERS_MAX).contains(&word.chars().count());
        let given: Vec<String> = given.iter().map(|word| word.trim().to_lowercase()).collect();
        let plain = |word: &String| word.chars().all(char::is_alphabetic);
        if given.len() > WORDS_MAX || !given.iter().all(|word| takes(word) && plain(word)) {
            return Err(MUST);
        }
        let host = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
        let host = host.split_once('/').map_or(host, |(host, _)| host);
        let labels = host.split('.').filter(|label| !label.starts_with('['));
        let of_host = labels.map(letters).filter(takes);
        Ok(Self(
            [PRODUCT.to_owned()].into_iter().chain(of_host).chain(given).collect(),
        ))
    }

    /// Whether the password's letters are such words, one after another, and nothing else. Case, digits, spaces and signs make no
    /// difference: they are what such a password is decorated with.
    pub(super) fn make_up(&self, password: &str) -> bool {
        let letters = letters(password);
        // Where a sequence of words can end.
        let mut ends = vec![false; letters.len() + 1];
        ends[0] = true;
        for begin in 0..letters.len() {
            if ends[begin] {
                for word in self.0.iter().filter(|word| letters[begin..].starts_with(*word)) {
                    ends[begin + word.len()] = true;
                }
            }
        }
        !letters.is_empty() && ends[letters.len()]
    }
}

fn letters(text: &str) -> String {
    text.to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphabetic())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Words;

    #[test]
    fn words_of_the_deployment_make_no_password_however_they_are_decorated() {
        let given = ["Acme".to_owned(), "Überland".to_owned()];
        let words = Words::new("https://chat.example.org:8443/app", &given).expect("made");
        for bad in [
            "tidings1",
            "Tidings-2026!",
            "TIDINGStidings",
            "exAmple99",
            "chat chat",
            "acme-tidings",
            "überland!",
        ] {
            assert!(words.make_up(bad), "{bad:?}");
        }
        for good in [
            "",
            "20261121",
            "tidings of joy",
            "acmes",
            "org org org",
            "my acme",
            "4cme acme",
            "überlandbahn",
        ] {
            assert!(!words.make_up(good), "{good:?}");
        }
    }

    #[test]
    fn an_address_of_numbers_brings_no_words() {
        for url in ["http://127.0.0.1:7700", "http://[::1]:7700", "http://[fe80::abcd]"] {
            assert_eq!(Words::new(url, &[]).expect("made").0, ["tidings"], "{url}");
        }
    }

    #[test]
    fn words_that_are_none_are_refused() {
        for word in ["", "abc", "two words", "a1b2c3", &"a".repeat(65)] {
            assert!(
                Words::new("https://example.org", &[word.to_owned()]).is_err(),
                "{word:?}"
            );
        }
        let many = |count| vec!["word".to_owned(); count];
        assert!(Words::new("https://example.org", &many(100)).is_ok());
        assert!(Words::new("https://example.org", &many(101)).is_err());
    }
}
