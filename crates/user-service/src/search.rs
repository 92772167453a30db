use tidings_rpc::text::TextRule;

/// Words of one name or query beyond this many are not looked at: a display name of 128 letters has 64 at most.
const WORDS_MAX: usize = 70;

/// The words of a text: its runs of letters and digits, in small letters, each once and in order of their first place. Both what users
/// are found by and what is looked for come by here, so they are parted and folded alike. Marks that stand on a letter belong to it.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let parts = text.split(|letter: char| !letter.is_alphanumeric() && !is_combining(letter));
    for word in parts.filter(|part| !part.is_empty()).map(str::to_lowercase) {
        if words.len() < WORDS_MAX && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Combining diacritical marks (U+0300 to U+036F), which are no letters by themselves.
fn is_combining(letter: char) -> bool {
    ('\u{300}'..='\u{36F}').contains(&letter)
}

/// The text that a user's words are made of.
#[must_use]
pub fn text(username: &str, display_name: &str) -> String {
    format!("{username}\n{display_name}")
}

/// What somebody looks for: words that must each begin a word of the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The longest word, by which the index is read: it leaves the fewest names to be looked at.
    pub lead: String,
    /// The others.
    pub rest: Vec<String>,
}

impl Query {
    /// More words cost more and find no more.
    const WORDS_MAX: usize = 8;

    /// Reads a query.
    ///
    /// # Errors
    ///
    /// Says what it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        TextRule::NAME.check(text).map_err(|error| error.to_string())?;
        let mut rest = words(text);
        if rest.len() > Self::WORDS_MAX {
            return Err(format!("must have at most {} words", Self::WORDS_MAX));
        }
        let longest = (0..rest.len()).rev().max_by_key(|index| rest[*index].chars().count());
        let lead = longest.ok_or_else(|| "must hold a letter or a digit".to_owned())?;
        Ok(Self {
            lead: rest.remove(lead),
            rest,
        })
    }
}

/// The end of the range of words that begin with this one, in the order of their bytes: no word holds U+10FFFF, which is no letter.
#[must_use]
pub fn range_end(beginning: &str) -> String {
    format!("{beginning}{}", char::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Query, range_end, words};

    #[test]
    fn names_are_parted_at_everything_but_letters_and_digits() {
        assert_eq!(words("ada.lovelace\nAda  Lovelace-King"), ["ada", "lovelace", "king"]);
        assert_eq!(words("_x_ 7up O'Brien"), ["x", "7up", "o", "brien"]);
        assert_eq!(words("ÉMILE Straße e\u{301}"), ["émile", "straße", "e\u{301}"]);
        assert_eq!(words("山田 太郎 👩‍💻"), ["山田", "太郎"]);
        assert_eq!(words("%_\\ -- ''"), Vec::<String>::new());
    }

    #[test]
    fn the_longest_word_leads() {
        let query = Query::parse("al Bertha c").expect("a query");
        assert_eq!(
            (query.lead.as_str(), query.rest),
            ("bertha", vec!["al".to_owned(), "c".to_owned()])
        );
        let query = Query::parse("ab cd").expect("a query");
        assert_eq!(query.lead, "ab");
    }

    #[test]
    fn queries_without_words_and_with_too_many_are_refused() {
        for text in [
            "",
            "%",
            "-- _",
            "a b c d e f g h i",
            "a\0b",
            "\u{202E}abc",
            &"a".repeat(129),
        ] {
            assert!(Query::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_begins_with_a_word_is_in_its_range() {
        for word in ["ad", "ada", "adé", "ad山", "ad\u{10FFFD}"] {
            assert!(("ad".to_owned()..range_end("ad")).contains(&word.to_owned()), "{word}");
        }
        for word in ["ac", "ae", "a", "é"] {
            assert!(!("ad".to_owned()..range_end("ad")).contains(&word.to_owned()), "{word}");
        }
    }
}
