use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Type, MapKey, Value};
use tidings_proto_common::v1::ErrorReason;

use super::{Case, Wants, case, each, plain, text};
use crate::bad_inputs::kinds::Text;

/// B043, B045 to B047, B051 to B055.
pub fn texts(rule: Text) -> Vec<Case> {
    let mut cases = each(Wants::Invalid, text::forbidden(rule.multiline, rule.plain));
    cases.push(case(
        "one letter too many",
        "a".repeat(rule.chars_max + 1),
        Wants::Invalid,
    ));
    cases.push(case(
        "one emoji too many",
        "😀".repeat(rule.chars_max + 1),
        Wants::Invalid,
    ));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    let blank = if rule.optional { Wants::Either } else { Wants::Invalid };
    cases.extend(each(blank, text::blank(rule.multiline, rule.plain)));
    let empty = if rule.optional { Wants::Accepted } else { Wants::Invalid };
    cases.push(case("empty", String::new(), empty));
    cases.push(case("as long as allowed", "a".repeat(rule.chars_max), Wants::Shown));
    cases.push(case(
        "as many emoji as allowed",
        "😀".repeat(rule.chars_max),
        Wants::Shown,
    ));
    cases.extend(each(Wants::Shown, text::harmless(rule.multiline, rule.plain)));
    cases
}

/// B098.
pub fn metadata() -> Vec<Case> {
    let map = |entries: &[(&str, &str)]| {
        let entries = entries
            .iter()
            .map(|(key, value)| (MapKey::String((*key).to_owned()), Value::String((*value).to_owned())));
        Value::Map(entries.collect::<HashMap<_, _>>())
    };
    let letters = "v".repeat(4_096);
    let many: Vec<String> = (0..2_000).map(|number| format!("k{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "")).collect();
    let mut cases = vec![
        case("one byte too many", map(&[("k", &letters)]), Wants::Invalid),
        case(
            "one byte too many in two entries",
            map(&[("a", &letters[..2_047]), ("b", &letters[..2_048])]),
            Wants::Invalid,
        ),
        case("2,000 keys", map(&many), Wants::Invalid),
        case(
            "a value of 40,000 bytes",
            map(&[("k", &"v".repeat(40_000))]),
            Wants::Invalid,
        ),
        case("a NUL in a key", map(&[("a\0b", "v")]), Wants::Invalid),
        case("a NUL in a value", map(&[("k", "a\0b")]), Wants::Invalid),
        case("an empty key", map(&[("", "v")]), Wants::Either),
        case("an escape in a value", map(&[("k", "\u{1b}[31m")]), Wants::Either),
        case("a blank key", map(&[(" ", "v")]), Wants::Either),
        case("as much as allowed", map(&[("k", &letters[..4_095])]), Wants::Shown),
        case("a key with dots", map(&[("a.b.c", "v")]), Wants::Shown),
        case("an empty value", map(&[("k", "")]), Wants::Shown),
    ];
    for (what, text) in text::harmless(true, false) {
        cases.push(case(format!("{what} in a value"), map(&[("k", &text)]), Wants::Shown));
    }
    cases
}

pub fn external_ids() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &["a\0b", "a\nb", "a\u{1b}b"]);
    cases.push(case("129 bytes", "a".repeat(129), Wants::Invalid));
    cases.push(case("130 bytes of 65 letters", "é".repeat(65), Wants::Invalid));
    cases.push(case("40,000 bytes", "a".repeat(40_000), Wants::Invalid));
    cases.extend(plain(Wants::Either, &[" ", "\u{200B}"]));
    cases.extend(plain(Wants::Shown, &["crm:4711", "' or 1=1 --", "%_\\", "{{7*7}}"]));
    cases.push(case("128 bytes", "a".repeat(128), Wants::Shown));
    cases
}

/// B052.
pub fn urls() -> Vec<Case> {
    let invalid = [
        "example.org",
        "//example.org/a.png",
        "http://example.org/a.png",
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "vbscript:x",
        "https://",
        "https:///a",
        "https://exa mple.org/",
        "https://example.org/\0",
        "https://example.org/\r\nset-cookie: a=b",
        " https://example.org/",
        "nonsense",
    ];
    let mut cases = plain(Wants::Invalid, &invalid);
    cases.push(case(
        "2,049 bytes",
        format!("https://example.org/{}", "a".repeat(2_029)),
        Wants::Invalid,
    ));
    let either = [
        "https://user:secret@example.org/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "HTTPS://EXAMPLE.ORG/",
        "https://2130706433/",
        "https://bücher.example/",
        "https://example.org:99999/",
    ];
    cases.extend(plain(Wants::Either, &either));
    cases.extend(plain(
        Wants::Shown,
        &["https://example.org/a.png", "https://example.org/a?b=c&d=%20#e"],
    ));
    cases.push(case(
        "2,048 bytes",
        format!("https://example.org/{}", "a".repeat(2_028)),
        Wants::Shown,
    ));
    cases
}

pub fn etags() -> Vec<Case> {
    let stale = Wants::Refused(&[ErrorReason::EtagMismatch, ErrorReason::FieldInvalid]);
    let texts = [
        "wrong",
        " ",
        "0",
        "-1",
        "+1",
        "1e9",
        "01",
        "9223372036854775808",
        "99999999999999999999999999",
        "W/\"1\"",
        "*",
        "a\0b",
        "😀",
        "' or 1=1 --",
    ];
    let mut cases = plain(stale, &texts);
    cases.push(case("40,000 letters", "a".repeat(40_000), stale));
    cases
}

/// B037.
pub fn masks(field: &FieldDescriptor, allowed: &[&str]) -> Vec<Case> {
    let Type::Message(message) = field.kind() else {
        panic!("{} is no mask", field.full_name());
    };
    let mask = |paths: &[&str]| {
        let mut mask = DynamicMessage::new(message.clone());
        let paths = paths.iter().map(|path| Value::String((*path).to_owned())).collect();
        mask.set_field_by_name("paths", Value::List(paths));
        Value::Message(mask)
    };
    let nested = format!("{}.x", allowed[0]);
    let spaced = format!(" {}", allowed[0]);
    let capital = format!("{}{}", allowed[0][..1].to_uppercase(), &allowed[0][1..]);
    let with_nul = format!("{}\0", allowed[0]);
    let invalid = [
        "nonsense",
        "*",
        "",
        " ",
        "user_id",
        "chat_id",
        "group_id",
        "role_id",
        "message_id",
        "etag",
        "request_id",
        "create_time",
        "update_mask",
        "owner_id",
        "role",
        "roles",
        "email",
        "email_verified",
        "status",
        "token_epoch",
        "displayName",
        "avatarUrl",
        "metadata.key",
        "settings.*",
        "' or 1=1 --",
        "a\0b",
        &nested,
        &spaced,
        &capital,
        &with_nul,
    ];
    let mut cases: Vec<Case> = invalid
        .iter()
        .map(|path| case(format!("{path:?}"), mask(&[path]), Wants::Invalid))
        .collect();
    cases.push(case(
        "a good and a bad path",
        mask(&[allowed[0], "nonsense"]),
        Wants::Invalid,
    ));
    cases.push(case("10,000 bad paths", mask(&["x"; 10_000]), Wants::Invalid));
    cases.push(case("3,000 good paths", mask(&[allowed[0]; 3_000]), Wants::Either));
    cases.push(case("a path twice", mask(&[allowed[0], allowed[0]]), Wants::Either));
    cases.push(case("all paths", mask(allowed), Wants::Either));
    cases
}
