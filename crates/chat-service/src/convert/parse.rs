use prost_types::FieldMask;
use tidings_proto_common::v1::{ChatHistory, ChatRole};
use tidings_rpc::{Violations, text::TextRule};

use crate::{Metadata, chat::History, role::Role};

/// Keys and values of one `metadata` together (`api.md` section 1).
const METADATA_BYTES_MAX: usize = 4 * 1024;

/// A key of `metadata`. The whole has its own bound.
const KEY: TextRule = TextRule {
    chars_max: METADATA_BYTES_MAX,
    bytes_max: METADATA_BYTES_MAX,
    ..TextRule::NAME
};

/// A value of `metadata`: any text that Postgres can keep.
const VALUE: TextRule = TextRule {
    chars_max: METADATA_BYTES_MAX,
    bytes_max: METADATA_BYTES_MAX,
    ..TextRule::DESCRIPTION
};

/// Checks the application's own data.
pub(crate) fn metadata(violations: &mut Violations, metadata: &Metadata) {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        violations.add(
            "metadata",
            format!("must have at most {METADATA_BYTES_MAX} bytes of keys and values together"),
        );
        return;
    }
    for (key, value) in metadata {
        // The path names no key: what is wrong with one may be what cannot be shown.
        if let Err(error) = KEY.check(key) {
            violations.add("metadata", format!("a key {error}"));
        }
        if let Err(error) = VALUE.check(value) {
            violations.add("metadata", format!("a value {error}"));
        }
    }
}

/// The role of a new member. Unspecified means a plain one.
pub(crate) fn new_role(violations: &mut Violations, role: i32) -> Option<Role> {
    match ChatRole::try_from(role) {
        Ok(ChatRole::Unspecified | ChatRole::Member) => Some(Role::Member),
        Ok(ChatRole::Admin) => Some(Role::Admin),
        Ok(ChatRole::Owner) => Some(Role::Owner),
        Err(_) => {
            violations.add("role", "must be a role that this server knows");
            None
        }
    }
}

/// What members of a new chat may read. Unspecified means everything.
pub(crate) fn history(violations: &mut Violations, history: i32) -> Option<History> {
    match ChatHistory::try_from(history) {
        Ok(ChatHistory::Unspecified | ChatHistory::Full) => Some(History::Full),
        Ok(ChatHistory::FromJoining) => Some(History::FromJoining),
        Err(_) => {
            violations.add("history", "must be a setting that this server knows");
            None
        }
    }
}

/// Which fields an update changes: those that the mask names, or without one those that are not empty.
pub(crate) struct Mask {
    paths: Vec<String>,
}

impl Mask {
    /// Reads a mask that may name these paths.
    pub(crate) fn read(violations: &mut Violations, mask: Option<FieldMask>, known: &[&str]) -> Self {
        let paths = mask.unwrap_or_default().paths;
        if paths.iter().any(|path| !known.contains(&path.as_str())) {
            violations.add(
                "update_mask",
                format!("must name only fields that can be changed: {}", known.join(", ")),
            );
        }
        Self { paths }
    }

    /// The field's value, if it is to be changed.
    pub(crate) fn pick<T: Default + PartialEq>(&self, path: &str, value: T) -> Option<T> {
        let named = if self.paths.is_empty() {
            value != T::default()
        } else {
            self.paths.iter().any(|named| named == path)
        };
        named.then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::FieldMask;
    use tidings_rpc::Violations;

    use super::{METADATA_BYTES_MAX, Mask, metadata};
    use crate::Metadata;

    fn mask(paths: &[&str]) -> (Mask, bool) {
        let mut violations = Violations::new();
        let paths = paths.iter().map(ToString::to_string).collect();
        let mask = Mask::read(&mut violations, Some(FieldMask { paths }), &["title", "metadata"]);
        (mask, violations.is_empty())
    }

    #[test]
    fn an_empty_mask_picks_what_is_set() {
        let (mask, valid) = mask(&[]);
        assert!(valid);
        assert_eq!(mask.pick("title", "a".to_owned()), Some("a".to_owned()));
        assert_eq!(mask.pick("title", String::new()), None);
    }

    #[test]
    fn a_mask_picks_what_it_names_also_when_that_is_empty() {
        let (mask, valid) = mask(&["title"]);
        assert!(valid);
        assert_eq!(mask.pick("title", String::new()), Some(String::new()));
        assert_eq!(mask.pick("metadata", "a".to_owned()), None);
    }

    #[test]
    fn unknown_immutable_and_camel_case_paths_are_refused() {
        for path in ["kind", "Title", "title.x", "*", "", "updateMask", "chat_id"] {
            assert!(!mask(&["title", path]).1, "{path}");
        }
    }

    #[test]
    fn metadata_is_bounded_and_holds_nothing_that_cannot_be_kept() {
        let check = |key: &str, value: &str| {
            let mut violations = Violations::new();
            metadata(&mut violations, &Metadata::from([(key.to_owned(), value.to_owned())]));
            violations.is_empty()
        };
        assert!(check("colour", ""));
        assert!(check("k", &"v".repeat(METADATA_BYTES_MAX - 1)));
        assert!(!check("k", &"v".repeat(METADATA_BYTES_MAX)));
        assert!(!check("", "v"));
        assert!(!check("k\0", "v"));
        assert!(!check("k", "\0"));
    }
}
