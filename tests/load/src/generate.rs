//! A small file of the real one's shape, for where the real one is not at hand: nicknames that differ only by case or hold odd
//! characters, texts with tabs, control characters and letters of many scripts, blank ones, gaps between lines, and replies to
//! one message and to several.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::dataset::{Line, Log};

/// What to make.
#[derive(Debug, Clone)]
pub struct Options {
    /// Logs.
    pub logs: usize,
    /// Messages of each log.
    pub messages: usize,
    /// Nicknames to choose from.
    pub senders: usize,
    /// The same seed makes the same file.
    pub seed: u64,
}

/// One in so many texts is blank; the real file has four in 196,577.
const BLANK_ONE_IN: u32 = 150;

/// One in so many texts holds a control character.
const CONTROL_ONE_IN: u32 = 60;

const WORDS: &[&str] = &[
    "apt-get",
    "kernel",
    "have",
    "you",
    "tried",
    "rebooting",
    "the",
    "it",
    "works",
    "here",
    "thanks",
    "no",
    "sound",
    "after",
    "upgrade",
    "sudo",
    "/etc/fstab",
    "what",
    "does",
    "dmesg",
    "say",
    "über",
    "naïve",
    "日本語",
    "привет",
    "עברית",
    "👍",
    "e\u{301}",
    "<b>",
    "'; --",
    "%s",
    "\\n",
    "http://example.org/a?b=c&d",
    "\u{FEFF}hello",
];

const NICKNAMES: &[&str] = &[
    "Ada",
    "ada",
    "ADA",
    "|QuaD-",
    "bob[1] ",
    "bob[1]",
    "m",
    "a{b",
    "a|b",
    "a^b",
    "T`",
    "_",
    "\\o",
    "bur[n] er",
];

/// Writes a file, compressed where its name ends in `.gz`.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write(path: &Path, options: &Options) -> io::Result<()> {
    let file = BufWriter::new(File::create(path)?);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut encoder = GzEncoder::new(file, Compression::default());
        write_lines(&mut encoder, options)?;
        encoder.finish()?.flush()
    } else {
        let mut file = file;
        write_lines(&mut file, options)?;
        file.flush()
    }
}

fn write_lines(out: &mut impl Write, options: &Options) -> io::Result<()> {
    for log in logs(options) {
        for line in log.lines {
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// The logs, made one by one.
pub fn logs(options: &Options) -> impl Iterator<Item = Log> + use<> {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let Options {
        logs,
        messages,
        senders,
        ..
    } = *options;
    (0..logs).map(move |number| {
        let name = format!("2000-01-{:02}.made-{number}", number % 28 + 1);
        let lines = lines(&mut rng, &name, messages, senders.max(1));
        Log { name, lines }
    })
}

fn lines(rng: &mut StdRng, chat: &str, messages: usize, senders: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(messages);
    let mut number = 0;
    for index in 0..messages {
        let sender = nickname(rng.random_range(0..senders));
        let bot = rng.random_ratio(1, 50);
        lines.push(Line {
            chat: chat.to_owned(),
            line: number,
            time: format!("2000-01-01T{:02}:{:02}:00Z", index / 60 % 24, index % 60),
            sender,
            kind: if bot { "bot" } else { "person" }.to_owned(),
            text: text(rng),
            replies_to: replies(rng, &lines),
        });
        // A gap is where a join or part line was.
        number += rng.random_range(1..4);
    }
    lines
}

fn nickname(number: usize) -> String {
    NICKNAMES
        .get(number)
        .map_or_else(|| format!("nick{number}"), ToString::to_string)
}

fn text(rng: &mut StdRng) -> String {
    if rng.random_ratio(1, BLANK_ONE_IN) {
        return ["", "   ", "\t"][rng.random_range(0..3)].to_owned();
    }
    let mut words: Vec<&str> = (0..rng.random_range(1..15))
        .map(|_| WORDS[rng.random_range(0..WORDS.len())])
        .collect();
    if rng.random_ratio(1, CONTROL_ONE_IN) {
        words.push(["\u{8}", "\u{7f}", "\u{1c}", "\r", "\t"][rng.random_range(0..5)]);
    }
    words.join(" ")
}

/// A quarter of the messages answers one of the last ten, and a few of those answer two.
fn replies(rng: &mut StdRng, before: &[Line]) -> Vec<u64> {
    let count = if rng.random_ratio(1, 4) {
        1 + usize::from(rng.random_ratio(1, 30))
    } else {
        0
    };
    let recent = &before[before.len().saturating_sub(10)..];
    if recent.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<u64> = (0..count)
        .map(|_| recent[rng.random_range(0..recent.len())].line)
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::{Options, logs, write};
    use crate::{dataset::Logs, identity::Identities, survey::Survey};

    const OPTIONS: Options = Options {
        logs: 3,
        messages: 400,
        senders: 30,
        seed: 7,
    };

    #[test]
    fn the_same_seed_makes_the_same_file_and_it_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.jsonl.gz");
        write(&path, &OPTIONS).unwrap();
        let read: Vec<_> = Logs::open(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, logs(&OPTIONS).collect::<Vec<_>>());
        assert_ne!(read, logs(&Options { seed: 8, ..OPTIONS }).collect::<Vec<_>>());
    }

    #[test]
    fn it_holds_what_makes_the_real_file_hard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.jsonl");
        write(&path, &OPTIONS).unwrap();
        let survey = Survey::of_file(&path, usize::MAX, &Identities::of_run("")).unwrap();
        assert_eq!((survey.logs, survey.messages, survey.senders.len()), (3, 1_200, 30));
        assert!(survey.blank > 0 && survey.replaced > 0 && survey.replies > 100);
        let texts: Vec<_> = logs(&OPTIONS).flat_map(|log| log.lines).collect();
        assert!(texts.iter().any(|line| line.replies_to.len() > 1));
        assert!(texts.iter().any(|line| line.text.contains('\t')));
    }

    #[test]
    fn a_survey_of_some_logs_counts_those() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.jsonl");
        write(&path, &OPTIONS).unwrap();
        let survey = Survey::of_file(&path, 2, &Identities::of_run("")).unwrap();
        assert_eq!((survey.logs, survey.messages), (2, 800));
        let log = logs(&OPTIONS).next().unwrap();
        assert_eq!(survey.quiet_senders(&log, 2).len(), 2);
    }
}
