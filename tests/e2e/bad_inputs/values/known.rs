//! How somebody is looked for (B051, B056, B060).

use tidings_proto_common::v1::ErrorReason;

use super::{
    Case, Wants, case,
    credentials::{emails, names},
    plain, text,
};

/// What is no name names nobody, and a name that nobody has is answered like any other.
pub fn known_names() -> Vec<Case> {
    let invalid = |case: &Case| matches!(case.wants, Wants::Invalid);
    let mut cases: Vec<Case> = names().into_iter().filter(invalid).collect();
    cases.extend(plain(Wants::Absent, &["nobody-of-this-name", "another_one"]));
    cases
}

pub fn known_emails() -> Vec<Case> {
    let either = Wants::Refused(&[ErrorReason::FieldInvalid, ErrorReason::NotFound]);
    let mut cases: Vec<Case> = emails()
        .into_iter()
        .map(|case| match case.wants {
            Wants::Invalid => case,
            _ => Case { wants: either, ..case },
        })
        .collect();
    cases.extend(plain(Wants::Absent, &["nobody@example.org", "%@example.org"]));
    cases
}

pub fn known_external_ids() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &["", "a\0b"]);
    cases.push(case("129 bytes", "a".repeat(129), Wants::Invalid));
    cases.push(case("40,000 bytes", "a".repeat(40_000), Wants::Invalid));
    cases.extend(plain(Wants::Absent, &["nobody:4711", "%", "_", "' or 1=1 --", "*"]));
    cases
}

pub fn queries() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &["", " ", "%", "_", "--", "*", "a b c d e f g h i"]);
    cases.push(case("129 letters", "a".repeat(129), Wants::Invalid));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    for (what, text) in text::forbidden(false, true) {
        cases.push(case(what, text, Wants::Invalid));
    }
    let harmless = [
        "ada",
        "a%",
        "a_b",
        "' or 1=1 --",
        "{{7*7}}",
        "(a|b)*c",
        "a b c d e f g h",
        "ΑΣ",
        "\u{130}",
        "ǆ",
    ];
    cases.extend(plain(Wants::Accepted, &harmless));
    cases.push(case("128 letters", "a".repeat(128), Wants::Accepted));
    cases
}

/// Of a user who is there already nothing is created; none is where there is no name.
pub fn new_names() -> Vec<Case> {
    let mut cases: Vec<Case> = names().into_iter().filter(|case| case.what != "\"\"").collect();
    cases.push(case("empty", String::new(), Wants::Refused(&[ErrorReason::NotFound])));
    cases
}

pub fn owners_ids() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &["", "a\0b", "oidc:https://example.org:ada", "oidc:"]);
    cases.push(case("129 bytes", "a".repeat(129), Wants::Invalid));
    cases.push(case("130 bytes of 65 letters", "é".repeat(65), Wants::Invalid));
    cases.push(case("40,000 bytes", "a".repeat(40_000), Wants::Invalid));
    cases.extend(plain(
        Wants::Either,
        &[" ", "a\nb", "shop:4711", "' or 2=2 --", "_%\\", "OIDC:x", "{{8*8}}"],
    ));
    cases.push(case("128 bytes", "b".repeat(128), Wants::Either));
    cases
}

/// Whatever is sent.
pub fn switched_off() -> Vec<Case> {
    let refused = Wants::Refused(&[ErrorReason::FeatureDisabled, ErrorReason::FieldInvalid]);
    let mut cases = plain(
        refused,
        &[
            "",
            "nonsense",
            " ",
            "a\0b",
            "😀",
            "' or 2=2 --",
            "eyJhbGciOiJub25lIn0.e30.",
        ],
    );
    cases.push(case("20,000 letters", "a".repeat(20_000), refused));
    cases
}
