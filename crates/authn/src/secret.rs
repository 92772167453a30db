use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

/// The secret that all processes of one deployment share. It is used for nothing itself: each use has a key of its own, derived
/// by HKDF with SHA-256 (RFC 5869).
#[derive(Clone)]
pub struct SuiteSecret {
    bytes: Vec<u8>,
}

/// What stands in values that are to be replaced. Random text of 64 letters holds one of them once in a million times at the most.
const SAMPLE_WORDS: [&str; 8] = [
    "change",
    "example",
    "secret",
    "replace",
    "password",
    "default",
    "sample",
    "0123456789",
];

/// The secret is too short or is a sample from the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// It has fewer than [`SuiteSecret::BYTES_MIN`] bytes.
    #[error("must have at least {} bytes", SuiteSecret::BYTES_MIN)]
    TooShort,
    /// It holds a text that stands in the documentation, or only one byte over and over.
    #[error("is a sample value: make one with `head -c 48 /dev/urandom | base64`")]
    Sample,
}

/// Whether a secret is like those in examples: it holds a word of them, or is one letter over and over. It may be somebody's all the same,
/// and then it is guessed at once.
#[must_use]
pub fn is_sample(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let mut letters = text.bytes();
    let first = letters.next();
    SAMPLE_WORDS.iter().any(|word| lower.contains(word)) || letters.all(|letter| Some(letter) == first)
}

impl SuiteSecret {
    /// 256 bits of randomness are 32 bytes at the least, and more in any text encoding.
    pub const BYTES_MIN: usize = 32;

    /// Takes the secret's text, without white space at its ends.
    ///
    /// # Errors
    ///
    /// When it is too short or a known sample.
    pub fn new(text: &str) -> Result<Self, InvalidSecret> {
        let bytes = text.trim().as_bytes().to_vec();
        if bytes.len() < Self::BYTES_MIN {
            return Err(InvalidSecret::TooShort);
        }
        if is_sample(text.trim()) {
            return Err(InvalidSecret::Sample);
        }
        Ok(Self { bytes })
    }

    /// The key for one use, which `label` names.
    #[must_use]
    pub fn derive(&self, label: &str) -> [u8; 32] {
        struct Key;
        impl KeyType for Key {
            fn len(&self) -> usize {
                32
            }
        }
        let mut key = [0; 32];
        Salt::new(HKDF_SHA256, b"tidings.v1")
            .extract(&self.bytes)
            .expand(&[label.as_bytes()], Key)
            .and_then(|okm| okm.fill(&mut key))
            .expect("32 bytes are below the limit of HKDF with SHA-256");
        key
    }
}

impl fmt::Debug for SuiteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SuiteSecret { redacted }")
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidSecret, SuiteSecret};

    #[test]
    fn each_use_has_a_key_of_its_own() {
        let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
        assert_eq!(secret.derive("a"), secret.derive("a"));
        assert_ne!(secret.derive("a"), secret.derive("b"));
    }

    #[test]
    fn short_and_sample_secrets_are_refused() {
        assert_eq!(SuiteSecret::new("short").err(), Some(InvalidSecret::TooShort));
        for sample in [
            "change-me-change-me-change-me-change-me",
            "Password-Password-Password-Password",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(SuiteSecret::new(sample).err(), Some(InvalidSecret::Sample), "{sample}");
        }
        assert_eq!(SuiteSecret::new(&"a".repeat(64)).err(), Some(InvalidSecret::Sample));
    }
}
