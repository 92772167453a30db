//! Checks of text that a request carries. Text is stored as it came, or refused here: nothing is trimmed or replaced.

use std::fmt;

/// What may stand in a field.
#[derive(Debug, Clone, Copy)]
pub struct TextRule {
    /// At least this many Unicode code points.
    pub chars_min: usize,
    /// At most this many Unicode code points.
    pub chars_max: usize,
    /// At most this many bytes of UTF-8.
    pub bytes_max: usize,
    /// Whether tab and newline may stand in it.
    pub multiline: bool,
    /// Whether characters that reorder or hide text are refused, as in names, where they deceive.
    pub plain: bool,
    /// Whether it must show something: not only white space and characters without width.
    pub visible: bool,
}

impl TextRule {
    /// A message: up to 8,000 code points and 32 KiB, and something to see.
    pub const MESSAGE: Self = Self {
        chars_min: 1,
        chars_max: 8_000,
        bytes_max: 32 * 1024,
        multiline: true,
        plain: false,
        visible: true,
    };

    /// A name or title that must be given: 1 to 128 code points on one line.
    pub const NAME: Self = Self {
        chars_min: 1,
        chars_max: 128,
        bytes_max: 512,
        multiline: false,
        plain: true,
        visible: true,
    };

    /// A name or title that may be empty.
    pub const OPTIONAL_NAME: Self = Self {
        chars_min: 0,
        visible: false,
        ..Self::NAME
    };

    /// A longer text about a user or group: up to 1,000 code points.
    pub const DESCRIPTION: Self = Self {
        chars_min: 0,
        chars_max: 1_000,
        bytes_max: 4_000,
        multiline: true,
        plain: false,
        visible: false,
    };

    /// Checks the text.
    ///
    /// # Errors
    ///
    /// Says what it must be.
    pub fn check(self, text: &str) -> Result<(), InvalidText> {
        if text.len() > self.bytes_max {
            return Err(InvalidText::Bytes(self.bytes_max));
        }
        let chars = text.chars().count();
        if !(self.chars_min..=self.chars_max).contains(&chars) {
            return Err(InvalidText::Chars(self.chars_min, self.chars_max));
        }
        for letter in text.chars() {
            if letter.is_control() && !(self.multiline && matches!(letter, '\t' | '\n')) {
                return Err(InvalidText::Control(letter));
            }
            if self.plain && is_deceptive(letter) {
                return Err(InvalidText::Deceptive(letter));
            }
        }
        if self.visible && !text.chars().any(is_visible) {
            return Err(InvalidText::Blank);
        }
        Ok(())
    }
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidText {
    /// More bytes than this.
    Bytes(usize),
    /// Not between so many code points.
    Chars(usize, usize),
    /// Holds this control character.
    Control(char),
    /// Holds this character that reorders or hides text.
    Deceptive(char),
    /// Shows nothing.
    Blank,
}

impl fmt::Display for InvalidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(max) => write!(f, "must have at most {max} bytes"),
            Self::Chars(0, max) => write!(f, "must have at most {max} characters"),
            Self::Chars(min, max) => write!(f, "must have {min} to {max} characters"),
            Self::Control(letter) => write!(f, "must not hold the control character U+{:04X}", u32::from(*letter)),
            Self::Deceptive(letter) => write!(
                f,
                "must not hold U+{:04X}, which reorders or hides text",
                u32::from(*letter)
            ),
            Self::Blank => f.write_str("must hold something visible"),
        }
    }
}

/// Characters without width that are no letters: alone they show nothing.
fn is_visible(letter: char) -> bool {
    !letter.is_whitespace()
        && !letter.is_control()
        && !matches!(letter,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{E0000}'..='\u{E0FFF}'
            // Combining marks need something to stand on.
            | '\u{0300}'..='\u{036F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

/// Marks and isolates of direction, joiners that hide, and tags (`reliability.md` B047).
fn is_deceptive(letter: char) -> bool {
    matches!(letter,
        '\u{061C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2028}' | '\u{2029}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::{InvalidText, TextRule};

    #[test]
    fn a_message_may_be_anything_visible() {
        for text in [
            "a",
            "line\nline\ttab",
            "👩‍👩‍👧",
            "\u{202E}abc",
            "עברית",
            "e\u{301}",
            &"é".repeat(8_000),
        ] {
            assert_eq!(TextRule::MESSAGE.check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn a_message_that_shows_nothing_is_refused() {
        for text in [" ", "\n\t", "\u{200B}\u{2060}", "\u{FEFF}", "\u{301}\u{302}"] {
            assert_eq!(TextRule::MESSAGE.check(text), Err(InvalidText::Blank), "{text:?}");
        }
        assert_eq!(TextRule::MESSAGE.check(""), Err(InvalidText::Chars(1, 8_000)));
    }

    #[test]
    fn control_characters_and_long_text_are_refused() {
        assert_eq!(TextRule::MESSAGE.check("a\0b"), Err(InvalidText::Control('\0')));
        assert_eq!(TextRule::MESSAGE.check("a\rb"), Err(InvalidText::Control('\r')));
        assert_eq!(TextRule::MESSAGE.check("a\u{9b}b"), Err(InvalidText::Control('\u{9b}')));
        assert_eq!(
            TextRule::MESSAGE.check(&"a".repeat(8_001)),
            Err(InvalidText::Chars(1, 8_000))
        );
        assert_eq!(
            TextRule::MESSAGE.check(&"😀".repeat(8_192)),
            Err(InvalidText::Chars(1, 8_000))
        );
        assert_eq!(
            TextRule::MESSAGE.check(&"😀".repeat(8_193)),
            Err(InvalidText::Bytes(32 * 1024))
        );
    }

    #[test]
    fn names_hold_nothing_that_deceives() {
        assert_eq!(TextRule::NAME.check("Ada Lovelace"), Ok(()));
        assert_eq!(
            TextRule::NAME.check("a\u{202E}b"),
            Err(InvalidText::Deceptive('\u{202E}'))
        );
        assert_eq!(TextRule::NAME.check("a\nb"), Err(InvalidText::Control('\n')));
    }
}
