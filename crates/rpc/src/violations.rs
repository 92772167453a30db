use std::fmt;

use tidings_ids::{Id, Kind};

use crate::Problem;

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request, such as `user_ids[3]`.
    pub field: String,
    /// What it must be.
    pub description: String,
}

/// Collects what is wrong with a request, so that the caller learns all of it at once.
///
/// ```
/// use tidings_ids::ChatId;
/// use tidings_rpc::Violations;
///
/// let mut violations = Violations::new();
/// let chat_id = violations.id::<tidings_ids::kind::Chat>("chat_id", "nonsense");
/// assert!(chat_id.is_none());
/// assert!(violations.finish().is_err());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    list: Vec<Violation>,
}

impl Violations {
    /// Violations beyond this many are not listed: a request with thousands of bad ids gets a short answer.
    const LISTED_MAX: usize = 20;

    /// Nothing wrong so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Says that a field is wrong.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.list.len() < Self::LISTED_MAX {
            self.list.push(Violation {
                field: field.into(),
                description: description.into(),
            });
        }
    }

    /// The value, or a violation and `None`.
    pub fn check<T, E: fmt::Display>(&mut self, field: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// The id that must stand in the field.
    pub fn id<K: Kind>(&mut self, field: impl Into<String>, text: &str) -> Option<Id<K>> {
        self.check(field, Id::parse(text))
    }

    /// The id in a field that may be empty.
    pub fn optional_id<K: Kind>(&mut self, field: impl Into<String>, text: &str) -> Option<Id<K>> {
        if text.is_empty() { None } else { self.id(field, text) }
    }

    /// The ids in a list of at most `count_max`. Empty when anything is wrong with them.
    pub fn ids<K: Kind>(&mut self, field: &str, texts: &[String], count_max: usize) -> Vec<Id<K>> {
        if texts.len() > count_max {
            self.add(field, format!("must have at most {count_max} entries"));
            return Vec::new();
        }
        let ids = texts
            .iter()
            .enumerate()
            .map(|(index, text)| self.id(format!("{field}[{index}]"), text))
            .collect::<Vec<_>>();
        ids.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
    }

    /// Fails when anything is wrong.
    ///
    /// # Errors
    ///
    /// `FIELD_INVALID` with all violations.
    pub fn finish(self) -> Result<(), Problem> {
        if self.list.is_empty() {
            Ok(())
        } else {
            Err(Problem::fields(self))
        }
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}
