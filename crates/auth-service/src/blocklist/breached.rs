//! A file of SHA-1 hashes of breached passwords, as `Have I Been Pwned` has them: a line a password, `HASH` or `HASH:COUNT`,
//! in the order of the hashes. It may have tens of gigabytes: each look-up reads some forty short pieces of it.

use std::{
    cmp::Ordering,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::spawn_blocking;

use crate::Error;

/// The digits of a SHA-1 in hexadecimal.
const HASH_CHARS: usize = 40;

/// More than any line has: a hash, a colon, a count, and the end of the line.
const LINE_BYTES_MAX: usize = 128;

/// What the file must be, as the setting's description says it.
const MUST: &str = "must be a file of SHA-1 hashes in their order, a line each, `HASH` or `HASH:COUNT`";

/// The operator's file.
#[derive(Debug, Clone)]
pub(super) struct BreachedFile {
    /// One look-up at a time moves the file's position. They take a fraction of what hashing a password takes.
    file: Arc<Mutex<File>>,
    bytes: u64,
}

impl BreachedFile {
    /// Opens the file, and looks at its first and last line.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let unreadable = |error: io::Error| format!("{MUST}: it cannot be read: {error}");
        let mut file = File::open(path).map_err(unreadable)?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        let mut lines = Lines { file: &mut file, bytes };
        let first = lines.at(0).map_err(unreadable)?;
        let last = lines
            .after(bytes.saturating_sub(LINE_BYTES_MAX as u64 / 2))
            .map_err(unreadable)?;
        // The last line may begin before the place that was looked at: then there is none after it, and the first speaks.
        let last = last.or(first);
        match (first, last) {
            (Some(first), Some(last)) if first.hash <= last.hash => Ok(Self {
                file: Arc::new(Mutex::new(file)),
                bytes,
            }),
            _ => Err(MUST.to_owned()),
        }
    }

    /// Whether the password is in the file.
    pub(super) async fn contains(&self, password: &SecretString) -> Result<bool, Error> {
        let hash = hash(password.expose_secret());
        let (file, bytes) = (Arc::clone(&self.file), self.bytes);
        let found = spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            Lines { file: &mut file, bytes }.contain(&hash)
        });
        let found = found
            .await
            .map_err(|error| Error::Internal(format!("a look-up failed: {error}")))?;
        found.map_err(|error| {
            tracing::error!(%error, "the file of breached passwords cannot be read");
            Error::Unavailable("the file of breached passwords")
        })
    }
}

type Hash = [u8; HASH_CHARS];

/// The hash as the file has it, in capital letters.
fn hash(password: &str) -> Hash {
    let mut text = [0; HASH_CHARS];
    let digits = b"0123456789ABCDEF";
    for (pair, byte) in text
        .chunks_exact_mut(2)
        .zip(digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()).as_ref())
    {
        pair[0] = digits[usize::from(byte >> 4)];
        pair[1] = digits[usize::from(byte & 15)];
    }
    text
}

/// A line that holds a hash.
#[derive(Debug, Clone, Copy)]
struct Line {
    hash: Hash,
    begin: u64,
    /// Where the next line begins.
    end: u64,
}

struct Lines<'a> {
    file: &'a mut File,
    bytes: u64,
}

impl Lines<'_> {
    /// A binary search for the line. `low` stands at the beginning of a line; what is sought, if it is there, begins at
    /// `low` or behind it and before `high`.
    fn contain(&mut self, hash: &Hash) -> io::Result<bool> {
        let (mut low, mut high) = (0, self.bytes);
        while low < high {
            let middle = low + (high - low) / 2;
            // The first line that begins behind the middle; where there is none before `high`, those from `low` on are few.
            let line = match self.after(middle)?.filter(|line| line.begin < high) {
                Some(line) => line,
                None => match self.at(low)? {
                    Some(line) if line.begin < high => {
                        if line.hash == *hash {
                            return Ok(true);
                        }
                        low = line.end;
                        continue;
                    }
                    _ => return Ok(false),
                },
            };
            match line.hash.cmp(hash) {
                Ordering::Equal => return Ok(true),
                Ordering::Less => low = line.end,
                Ordering::Greater => high = line.begin,
            }
        }
        Ok(false)
    }

    /// The first line that begins behind this place.
    fn after(&mut self, place: u64) -> io::Result<Option<Line>> {
        let piece = self.read(place)?;
        match piece.iter().position(|byte| *byte == b'\n') {
            Some(position) => self.at(place + position as u64 + 1),
            None if piece.len() < LINE_BYTES_MAX => Ok(None),
            None => Err(malformed()),
        }
    }

    /// The line that begins at this place; none at the end of the file.
    fn at(&mut self, begin: u64) -> io::Result<Option<Line>> {
        let piece = self.read(begin)?;
        if piece.is_empty() {
            return Ok(None);
        }
        let (line, end) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(position) => (&piece[..position], begin + position as u64 + 1),
            None if piece.len() < LINE_BYTES_MAX => (piece.as_slice(), self.bytes),
            None => return Err(malformed()),
        };
        let (digits, rest) = line.split_at_checked(HASH_CHARS).ok_or_else(malformed)?;
        let ended = matches!(rest, [] | [b'\r'] | [b':', ..]);
        if !ended || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(malformed());
        }
        let mut hash: Hash = digits.try_into().map_err(|_| malformed())?;
        hash.make_ascii_uppercase();
        Ok(Some(Line { hash, begin, end }))
    }

    fn read(&mut self, place: u64) -> io::Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(LINE_BYTES_MAX);
        self.file.seek(SeekFrom::Start(place))?;
        (&mut *self.file).take(LINE_BYTES_MAX as u64).read_to_end(&mut piece)?;
        Ok(piece)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a line is no SHA-1 hash")
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, path::Path};

    use secrecy::SecretString;
    use tempfile::NamedTempFile;

    use super::{BreachedFile, hash};

    fn file(text: &str) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn text(words: &[String], end: &str, count: bool) -> String {
        let mut lines: Vec<String> = words
            .iter()
            .enumerate()
            .map(|(n, word)| {
                let hash = String::from_utf8(hash(word).to_vec()).expect("ASCII");
                if count {
                    format!("{hash}:{}", 7_usize.pow(u32::try_from(n % 12).expect("small")))
                } else {
                    hash
                }
            })
            .collect();
        lines.sort();
        lines.concat_lines(end)
    }

    trait ConcatLines {
        fn concat_lines(&self, end: &str) -> String;
    }

    impl ConcatLines for Vec<String> {
        fn concat_lines(&self, end: &str) -> String {
            self.iter().map(|line| format!("{line}{end}")).collect()
        }
    }

    #[test]
    fn the_hash_is_that_of_the_published_lists() {
        assert_eq!(hash("password"), *b"5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8");
    }

    #[tokio::test]
    async fn every_password_of_a_file_is_found_and_no_other_whatever_its_lines_end_with() {
        for count in [1, 2, 3, 10, 257] {
            let words: Vec<String> = (0..count).map(|n| format!("breached password {n}")).collect();
            for (end, with_count) in [("\n", false), ("\r\n", true), ("\r\n", false), ("\n", true)] {
                let whole = text(&words, end, with_count);
                for text in [whole.as_str(), whole.trim_end()] {
                    let file = file(text);
                    let list = BreachedFile::open(file.path()).expect("opened");
                    for word in &words {
                        let found = list.contains(&SecretString::from(word.clone())).await.expect("read");
                        assert!(found, "{word:?} of {count} ending with {end:?}");
                    }
                    for n in 0..50 {
                        let other = SecretString::from(format!("another password {n}"));
                        assert!(!list.contains(&other).await.expect("read"));
                    }
                }
            }
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused_at_the_start() {
        for bad in [
            "",
            "password\n",
            "5BAA61E4\n",
            &"x".repeat(4_096),
            &format!("{}\n", "g".repeat(40)),
        ] {
            let file = file(bad);
            assert!(BreachedFile::open(file.path()).is_err(), "{bad:?}");
        }
        let reversed = format!("{}\n{}\n{}\n", "F".repeat(40), "A".repeat(40), "1".repeat(40));
        assert!(BreachedFile::open(file(&reversed).path()).is_err());
        assert!(BreachedFile::open(Path::new("/nowhere/at/all")).is_err());
    }

    #[tokio::test]
    async fn a_file_that_went_bad_takes_no_password() {
        let words: Vec<String> = (0..9).map(|n| format!("word number {n}")).collect();
        let mut text = text(&words, "\n", false);
        let middle = text.len() / 2;
        text.replace_range(middle - 60..middle + 60, &"?".repeat(120));
        let file = file(&text);
        let list = BreachedFile::open(file.path()).expect("its ends are whole");
        let mut refused = 0;
        for word in words {
            refused += usize::from(list.contains(&SecretString::from(word)).await.is_err());
        }
        assert!(
            refused > 0,
            "nobody is told that a word is good that could not be looked up"
        );
    }
}
