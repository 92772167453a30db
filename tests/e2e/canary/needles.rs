use std::collections::{BTreeMap, HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use parking_lot::Mutex;
use prost_reflect::{DynamicMessage, Value};
use tidings_testkit::{is_secret, request_id};

/// Shorter values stand in texts by chance.
const BYTES_MIN: usize = 16;

/// What must not be found, and of what kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// A password, token or key: nowhere but in what is sent to its owner.
    Secret,
    /// What a user wrote: nowhere but where it is kept.
    Text,
}

/// What is looked for, by its value: what it is, and where it came from.
#[derive(Debug, Default)]
pub struct Needles(Mutex<BTreeMap<String, (Sort, String)>>);

impl Needles {
    /// A new canary for this field.
    pub fn plant(&self, sort: Sort, field: &str) -> String {
        let canary = format!("canary-{}", request_id());
        self.add(sort, field, &canary);
        canary
    }

    /// Looks for this from now on.
    pub fn add(&self, sort: Sort, whence: &str, value: &str) {
        if value.len() >= BYTES_MIN {
            let mut needles = self.0.lock();
            needles
                .entry(value.to_owned())
                .or_insert_with(|| (sort, whence.to_owned()));
        }
    }

    /// Looks from now on for whatever stands in the secret fields of this message.
    pub fn add_secrets_of(&self, message: &DynamicMessage) {
        for (field, value) in message.fields() {
            if is_secret(&field) {
                for text in texts(value) {
                    self.add(Sort::Secret, field.full_name(), text);
                }
            }
            for inner in messages(value) {
                self.add_secrets_of(inner);
            }
        }
    }

    /// How many of a sort there are.
    pub fn count(&self, sort: Sort) -> usize {
        self.0.lock().values().filter(|(other, _)| *other == sort).count()
    }

    /// All of them, made ready to be looked for.
    pub fn search(&self) -> Search {
        let mut search = Search::default();
        for (value, (sort, whence)) in &*self.0.lock() {
            let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
            let base64 = STANDARD_NO_PAD.encode(value);
            // The last letters of base64 depend on what follows.
            let base64 = base64[..base64.len() - 2].to_owned();
            for written in [value.clone(), hex, base64] {
                let key = key(written.as_bytes());
                let number = search.needles.len();
                search.by_beginning.entry(key).or_default().push(number);
                search.needles.push(Needle {
                    value: value.clone(),
                    written,
                    sort: *sort,
                    whence: whence.clone(),
                });
            }
        }
        search
    }
}

/// The texts in the value of a field: in lists and maps too.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::List(list) => list.iter().flat_map(texts).collect(),
        Value::Map(map) => map.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn messages(value: &Value) -> Vec<&DynamicMessage> {
    match value {
        Value::Message(message) => vec![message],
        Value::List(list) => list.iter().filter_map(Value::as_message).collect(),
        Value::Map(map) => map.values().filter_map(Value::as_message).collect(),
        _ => Vec::new(),
    }
}

/// One way in which something is written.
#[derive(Debug)]
pub struct Needle {
    /// What it is.
    pub value: String,
    written: String,
    pub sort: Sort,
    /// The field that it came from.
    pub whence: String,
}

/// Needles by how they begin, so that a long text is gone through once.
#[derive(Debug, Default)]
pub struct Search {
    needles: Vec<Needle>,
    by_beginning: HashMap<[u8; 8], Vec<usize>>,
}

impl Search {
    /// All that stands in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Vec<&Needle> {
        let mut found: Vec<usize> = Vec::new();
        for (at, beginning) in bytes.windows(8).enumerate() {
            let Some(candidates) = self.by_beginning.get(beginning) else {
                continue;
            };
            let rest = &bytes[at..];
            found.extend(
                candidates
                    .iter()
                    .filter(|number| rest.starts_with(self.needles[**number].written.as_bytes())),
            );
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|number| &self.needles[number]).collect()
    }
}

fn key(bytes: &[u8]) -> [u8; 8] {
    bytes[..8].try_into().expect("needles are longer")
}
