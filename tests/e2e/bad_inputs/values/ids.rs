use prost_reflect::Value;
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::request_id;

use super::{Case, Wants, case};
use crate::bad_inputs::{kinds::Id, world::World};

/// B026 to B030.
pub fn ids(id: Id, world: &World) -> Vec<Case> {
    let mut cases: Vec<Case> = spellings_of_no_id()
        .into_iter()
        .map(|(what, text)| case(what, text, Wants::Invalid))
        .collect();
    let empty = if id.optional { Wants::Either } else { Wants::Invalid };
    cases.push(case("empty", String::new(), empty));
    let wants = if id.passed_over { Wants::Accepted } else { Wants::Absent };
    cases.extend(
        absent_ids(id, world)
            .into_iter()
            .map(|(what, text)| case(what, text, wants)),
    );
    cases
}

/// B038.
pub fn lists_of_ids(id: Id, min: usize, max: usize, base: &Value, world: &World) -> Vec<Case> {
    let list = |texts: Vec<String>| Value::List(texts.into_iter().map(Value::String).collect());
    let absent = if id.passed_over { Wants::Accepted } else { Wants::Absent };
    let many = |count: usize| list((0..count).map(|_| request_id()).collect());
    let mut cases = vec![
        case("one too many", many(max + 1), Wants::Invalid),
        case("1,500 ids", many(1_500), Wants::Invalid),
        case("an empty id", list(vec![String::new()]), Wants::Invalid),
    ];
    let empty = if min == 0 { Wants::Accepted } else { Wants::Invalid };
    cases.push(case("no ids", list(Vec::new()), empty));
    for (what, text) in spellings_of_no_id() {
        cases.push(case(what, list(vec![text]), Wants::Invalid));
    }
    let good: Vec<String> = base
        .as_list()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    for (what, text) in absent_ids(id, world) {
        let mixed = good.iter().cloned().chain([text]).collect();
        cases.push(case(what, list(mixed), absent));
    }
    let twice = request_id();
    if good.is_empty() {
        let wants = Wants::Refused(&[ErrorReason::FieldInvalid, ErrorReason::NotFound]);
        cases.push(case("an id twice", list(vec![twice.clone(), twice]), wants));
    } else {
        let doubled = good.iter().chain(&good).cloned().collect();
        cases.push(case("each id twice", list(doubled), Wants::Accepted));
    }
    cases
}

/// B069.
pub fn request_ids() -> Vec<Case> {
    let mut cases: Vec<Case> = spellings_of_no_id()
        .into_iter()
        .map(|(what, text)| case(what, text, Wants::Invalid))
        .collect();
    cases.push(case("empty", String::new(), Wants::Accepted));
    cases
}

pub fn log_ids() -> Vec<Case> {
    let mut cases: Vec<Case> = spellings_of_no_id()
        .into_iter()
        .map(|(what, text)| case(what, text, Wants::Either))
        .collect();
    cases.push(case("of another log", request_id(), Wants::Accepted));
    cases
}

/// Texts that are no id in its one form (B026, B027).
pub fn spellings_of_no_id() -> Vec<(&'static str, String)> {
    let id = request_id();
    vec![
        ("white space", " ".to_owned()),
        ("nonsense", "nonsense".to_owned()),
        ("an upper-case id", id.to_uppercase()),
        ("an id in braces", format!("{{{id}}}")),
        ("an id as a URN", format!("urn:uuid:{id}")),
        ("an id without hyphens", id.replace('-', "")),
        ("an id with a NUL", format!("{id}\0")),
        ("a NUL in an id", id.replacen('-', "\0", 1)),
        ("an id with a newline", format!("{id}\n")),
        ("an id in spaces", format!(" {id} ")),
        ("an id with a slash", format!("{id}/")),
        ("an id with an escape", format!("{}%2d", &id[..33])),
        ("36 bytes of other letters", "é".repeat(18)),
        ("full-width digits", id.replace('0', "０")),
        ("SQL", "' or 1=1 --".to_owned()),
        ("a path", "../../../../../../../../../etc/passwd".to_owned()),
        ("40,000 letters", "a".repeat(40_000)),
    ]
}

/// Well-formed ids that the caller must not find (B028 to B030).
pub fn absent_ids(id: Id, world: &World) -> Vec<(String, String)> {
    let mut ids = vec![
        ("an id of nothing".to_owned(), request_id()),
        (
            "the nil id".to_owned(),
            "00000000-0000-0000-0000-000000000000".to_owned(),
        ),
        (
            "the id of all ones".to_owned(),
            "ffffffff-ffff-ffff-ffff-ffffffffffff".to_owned(),
        ),
        (
            "an id of another version".to_owned(),
            "6a2f41a3-c54c-4ce8-b2f6-5d1d5e0f5f0a".to_owned(),
        ),
    ];
    ids.extend(world.foreign(id.thing).iter().cloned());
    ids
}
