//! The client's own record of what the server has acknowledged: JSON lines, each written before the next send of its chat.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// A line of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Entry {
    /// A chat that is sent to.
    Chat(RecordedChat),
    /// A send that was answered OK.
    Ack(Ack),
}

/// A chat that is sent to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordedChat {
    /// The log.
    pub chat: String,
    /// The chat's id.
    pub chat_id: String,
    /// The nickname of a member, who can read it.
    pub reader: String,
    /// The run that the names are made of.
    pub run: String,
}

/// A send that was answered OK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The log.
    pub chat: String,
    /// The line in the log.
    pub line: u64,
    /// The `request_id` of the send.
    pub request_id: String,
    /// The answer.
    pub message_id: String,
    /// The answer.
    pub sequence: i64,
}

/// The record cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be written or read.
    #[error("the record {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line, other than a last one that was cut off, is no entry.
    #[error("the record {path}, line {number}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        number: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// Writes a record. Entries go to the end of the file, so that one record can tell of several rounds.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: Mutex<File>,
}

impl Recorder {
    /// Opens a record, or begins one.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let opened = || {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            // A line that was cut off when the last client died must not run into the first one of this.
            if file.metadata()?.len() > 0 && !std::fs::read(path)?.ends_with(b"\n") {
                file.write_all(b"\n")?;
            }
            Ok(file)
        };
        let file = opened().map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
        })
    }

    /// Writes an entry. It is with the system when this returns: the end of this process does not take it away.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn write(&self, entry: &Entry) -> Result<(), Error> {
        let mut line = serde_json::to_vec(entry).expect("strings and numbers are JSON");
        line.push(b'\n');
        self.file.lock().write_all(&line).map_err(|source| Error::Io {
            path: self.path.clone(),
            source,
        })
    }
}

/// A record that was read: its chats, each once, and its acknowledgements.
#[derive(Debug, Default)]
pub struct Record {
    /// The chats.
    pub chats: Vec<RecordedChat>,
    /// The acknowledgements, in the order of their writing.
    pub acks: Vec<Ack>,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// When it cannot be read. Lines that were cut off by the end of their writer are passed over.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let mut record = Self::default();
        let mut known = HashSet::new();
        for (index, line) in BufReader::new(File::open(path).map_err(unreadable)?)
            .lines()
            .enumerate()
        {
            match serde_json::from_str(&line.map_err(unreadable)?) {
                Ok(Entry::Chat(chat)) if known.insert(chat.clone()) => record.chats.push(chat),
                Ok(Entry::Chat(_)) => {}
                Ok(Entry::Ack(ack)) => record.acks.push(ack),
                Err(error) if error.is_eof() => {}
                Err(source) => {
                    return Err(Error::Parse {
                        path: path.to_owned(),
                        number: index + 1,
                        source,
                    });
                }
            }
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write as _};

    use super::{Ack, Entry, Record, RecordedChat, Recorder};

    fn ack(line: u64) -> Ack {
        Ack {
            chat: "log".to_owned(),
            line,
            request_id: format!("request-{line}"),
            message_id: format!("message-{line}"),
            sequence: line as i64 + 1,
        }
    }

    #[test]
    fn a_record_of_two_rounds_reads_back_also_when_the_first_ended_within_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.jsonl");
        let chat = RecordedChat {
            chat: "log".to_owned(),
            chat_id: "chat-1".to_owned(),
            reader: "Ada".to_owned(),
            run: String::new(),
        };
        let first = Recorder::open(&path).unwrap();
        first.write(&Entry::Chat(chat.clone())).unwrap();
        first.write(&Entry::Ack(ack(0))).unwrap();
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"type\":\"ack\",\"cha")
            .unwrap();

        let second = Recorder::open(&path).unwrap();
        second.write(&Entry::Chat(chat.clone())).unwrap();
        second.write(&Entry::Ack(ack(1))).unwrap();

        let record = Record::read(&path).unwrap();
        assert_eq!(record.chats, [chat]);
        assert_eq!(record.acks, [ack(0), ack(1)]);
    }
}
