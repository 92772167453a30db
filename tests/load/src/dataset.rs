//! The file: one JSON object a line, the messages of each log together and in order.

use std::{
    borrow::Cow,
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

/// A message as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The log.
    pub chat: String,
    /// The line's number in its log, from 0, rising; gaps are lines that were no messages.
    pub line: u64,
    /// When it was said, to the minute. Order is the file's.
    pub time: String,
    /// The nickname, as written.
    pub sender: String,
    /// `person` or `bot`.
    pub kind: String,
    /// What was said.
    pub text: String,
    /// The lines that it answers.
    pub replies_to: Vec<u64>,
}

impl Line {
    /// The text as it can be sent, see [`sendable`].
    #[must_use]
    pub fn sendable_text(&self) -> Cow<'_, str> {
        sendable(&self.text)
    }

    /// Whether there is nothing to send but white space, which the server must refuse.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// Replaces what the API refuses in a text: every control character (Unicode's category `Cc`) other than tab and newline becomes
/// U+FFFD REPLACEMENT CHARACTER, one for one. What comes back is compared with the text so replaced.
#[must_use]
pub fn sendable(text: &str) -> Cow<'_, str> {
    let refused = |letter: char| letter.is_control() && !matches!(letter, '\t' | '\n');
    if text.contains(refused) {
        Cow::Owned(text.replace(refused, "\u{FFFD}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The messages of one log, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The log's name, which begins with its day.
    pub name: String,
    /// The messages, by rising line.
    pub lines: Vec<Line>,
}

impl Log {
    /// The nicknames, each once, in the order in which they first spoke.
    #[must_use]
    pub fn senders(&self) -> Vec<&str> {
        let mut known = HashSet::new();
        self.lines
            .iter()
            .map(|line| line.sender.as_str())
            .filter(|sender| known.insert(*sender))
            .collect()
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not a message.
    #[error("{path}, line {number}: not a message")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line of the file, from 1.
        number: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// The messages of a log do not stand together, or not in order.
    #[error("{path}, line {number}: the messages of {chat} must stand together, by rising `line`")]
    Order {
        /// The file.
        path: PathBuf,
        /// The line of the file, from 1.
        number: u64,
        /// The log.
        chat: String,
    },
}

/// Reads a file log by log: only the log that comes next is in memory.
pub struct Logs {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    number: u64,
    next: Option<Line>,
    ended: HashSet<String>,
    failed: bool,
}

impl Logs {
    /// Opens a file, compressed by gzip or not, whatever its name says.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = BufReader::with_capacity(256 * 1024, File::open(path).map_err(unreadable)?);
        let compressed = file.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead + Send> = if compressed {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        Ok(Self {
            path: path.to_owned(),
            reader,
            number: 0,
            next: None,
            ended: HashSet::new(),
            failed: false,
        })
    }

    fn read_line(&mut self) -> Result<Option<Line>, Error> {
        let mut text = String::new();
        loop {
            text.clear();
            let bytes = self.reader.read_line(&mut text).map_err(|source| Error::Read {
                path: self.path.clone(),
                source,
            })?;
            if bytes == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !text.trim().is_empty() {
                break;
            }
        }
        serde_json::from_str(&text).map(Some).map_err(|source| Error::Parse {
            path: self.path.clone(),
            number: self.number,
            source,
        })
    }

    fn read_log(&mut self) -> Result<Option<Log>, Error> {
        let first = match self.next.take() {
            Some(line) => line,
            None => match self.read_line()? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        let name = first.chat.clone();
        if self.ended.contains(&name) {
            return Err(self.disorder(name));
        }
        let mut lines = vec![first];
        while let Some(line) = self.read_line()? {
            if line.chat != name {
                self.next = Some(line);
                break;
            }
            if lines.last().is_some_and(|last| last.line >= line.line) {
                return Err(self.disorder(name));
            }
            lines.push(line);
        }
        self.ended.insert(name.clone());
        Ok(Some(Log { name, lines }))
    }

    fn disorder(&self, chat: String) -> Error {
        Error::Order {
            path: self.path.clone(),
            number: self.number,
            chat,
        }
    }
}

impl Iterator for Logs {
    type Item = Result<Log, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.read_log().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use flate2::{Compression, write::GzEncoder};

    use super::{Error, Line, Logs, sendable};

    fn line(chat: &str, number: u64) -> Line {
        Line {
            chat: chat.to_owned(),
            line: number,
            time: "2004-12-25T09:14:00Z".to_owned(),
            sender: "Ada".to_owned(),
            kind: "person".to_owned(),
            text: "hello".to_owned(),
            replies_to: Vec::new(),
        }
    }

    fn jsonl(lines: &[Line]) -> String {
        lines
            .iter()
            .map(|line| serde_json::to_string(line).unwrap() + "\n")
            .collect()
    }

    #[test]
    fn control_characters_other_than_tab_and_newline_are_replaced_one_for_one() {
        assert_eq!(sendable("a\u{8}b\u{7f}\u{1c}"), "a\u{FFFD}b\u{FFFD}\u{FFFD}");
        assert_eq!(sendable("\u{0}\r\u{85}"), "\u{FFFD}\u{FFFD}\u{FFFD}");
        assert_eq!(
            sendable("tab\tand\nnewline, é, \u{FEFF}"),
            "tab\tand\nnewline, é, \u{FEFF}"
        );
    }

    #[test]
    fn a_file_is_read_log_by_log_compressed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let text = jsonl(&[line("a", 0), line("a", 3), line("b", 1)]);
        let plain = folder.path().join("plain.jsonl");
        fs::write(&plain, &text).unwrap();
        let packed = folder.path().join("packed.jsonl.gz");
        let mut encoder = GzEncoder::new(fs::File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        for path in [plain, packed] {
            let logs: Vec<_> = Logs::open(&path).unwrap().map(Result::unwrap).collect();
            let shape: Vec<_> = logs.iter().map(|log| (log.name.as_str(), log.lines.len())).collect();
            assert_eq!(shape, [("a", 2), ("b", 1)]);
        }
    }

    #[test]
    fn a_file_out_of_order_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.jsonl");
        for lines in [
            vec![line("a", 1), line("a", 1)],
            vec![line("a", 1), line("b", 0), line("a", 2)],
        ] {
            fs::write(&path, jsonl(&lines)).unwrap();
            assert!(
                Logs::open(&path)
                    .unwrap()
                    .any(|log| matches!(log, Err(Error::Order { .. })))
            );
        }
        fs::write(&path, "{}\n").unwrap();
        assert!(
            Logs::open(&path)
                .unwrap()
                .any(|log| matches!(log, Err(Error::Parse { number: 1, .. })))
        );
    }
}
