use std::{
    fmt::Write as _,
    io::{self, Write},
};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// A writer of log lines that keeps each event on its line: every control character but the newline at the end is written as an
/// escape, so that a value cannot forge another line, move the cursor of a terminal, or turn text around.
///
/// It stands below the formatter, where no value can get past it, whether it was recorded with `Debug`, with `Display`, or
/// inside the message. The escapes are those of JSON, so that a JSON line stays one.
#[derive(Clone, Debug)]
pub struct Escaping<W> {
    inner: W,
}

impl<W> Escaping<W> {
    /// Wraps a writer, or what makes one.
    pub fn new(inner: W) -> Self {
        Self { inner }
    }
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaping<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Escaping::new(self.inner.make_writer())
    }

    fn make_writer_for(&'w self, meta: &Metadata<'_>) -> Self::Writer {
        Escaping::new(self.inner.make_writer_for(meta))
    }
}

impl<W: Write> Write for Escaping<W> {
    /// Takes one event, as the formatter hands it over: all of it in one call, with a newline at the end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        if line.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            self.inner.write_all(event)?;
        } else {
            let mut escaped = escape(&String::from_utf8_lossy(line));
            escaped.push('\n');
            self.inner.write_all(escaped.as_bytes())?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn escape(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len() + 16);
    for character in line.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            _ if is_control(character) => {
                write!(escaped, "\\u{:04x}", u32::from(character)).expect("a string can be written to");
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Control characters of ASCII and Latin-1, Unicode's separators of lines and paragraphs, and what changes the direction of text. All
/// are below U+10000, so that four digits name them.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
