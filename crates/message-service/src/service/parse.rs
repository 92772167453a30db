//! What several requests have in common.

use std::collections::BTreeMap;

use tidings_proto_message::v1::MessageOrder;
use tidings_rpc::{Violations, text::TextRule};

/// Metadata: keys and values together, in bytes.
const METADATA_BYTES_MAX: usize = 4 * 1024;

/// A message that has attachments may be without words, or without visible ones.
const CAPTION: TextRule = TextRule {
    chars_min: 0,
    visible: false,
    ..TextRule::MESSAGE
};

/// Control characters are refused in metadata as in text. How long each part is does not matter, only all together.
const METADATA_TEXT: TextRule = TextRule {
    chars_min: 0,
    chars_max: METADATA_BYTES_MAX,
    bytes_max: METADATA_BYTES_MAX,
    visible: false,
    ..TextRule::MESSAGE
};

/// Checks the text of a message.
pub(super) fn text(violations: &mut Violations, text: &str, has_attachments: bool) {
    let rule = if has_attachments { CAPTION } else { TextRule::MESSAGE };
    violations.check("text", rule.check(text));
}

/// Checks the application's own data.
pub(super) fn metadata(violations: &mut Violations, metadata: &BTreeMap<String, String>) {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        return violations.add(
            "metadata",
            format!("must have at most {METADATA_BYTES_MAX} bytes of keys and values together"),
        );
    }
    for text in metadata.iter().flat_map(|(key, value)| [key, value]) {
        if let Err(error) = METADATA_TEXT.check(text) {
            return violations.add("metadata", error.to_string());
        }
    }
}

/// Whether the newest comes first.
pub(super) fn newest_first(violations: &mut Violations, order: i32) -> bool {
    match MessageOrder::try_from(order) {
        Ok(order) => order == MessageOrder::NewestFirst,
        Err(_) => {
            violations.add("order", "must be a known order");
            false
        }
    }
}

/// A sequence, or 0 for none.
pub(super) fn sequence(violations: &mut Violations, field: &str, sequence: i64) -> Option<i64> {
    if sequence < 0 {
        violations.add(field, "must not be negative");
    }
    (sequence > 0).then_some(sequence)
}
