//! Times, and what somebody asks a trail for.

use bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Type, Value};

use super::{Case, Wants, case, plain};

pub fn actions() -> Vec<Case> {
    let mut cases = vec![case("40,000 letters", "a".repeat(40_000), Wants::Invalid)];
    cases.push(case("201 letters", "a".repeat(201), Wants::Invalid));
    cases.extend(plain(Wants::Either, &["a\0b", "a\nb", " ", "😀"]));
    cases.extend(plain(
        Wants::Accepted,
        &["", "nonsense", "%", "' or 1=1 --", "user.assign_role"],
    ));
    cases.push(case("200 letters", "a".repeat(200), Wants::Accepted));
    cases
}

/// B036: a time that is chosen by.
pub fn moments(field: &FieldDescriptor) -> Vec<Case> {
    let mut cases = no_times(field, Wants::Either);
    cases.push(case("1970", time(field, 0, 0), Wants::Either));
    cases.push(case("2100", time(field, 4_102_444_800, 0), Wants::Either));
    cases
}

/// B036: when something ends that begins now.
pub fn expiries(field: &FieldDescriptor) -> Vec<Case> {
    let mut cases = no_times(field, Wants::Invalid);
    cases.push(case("1970", time(field, 0, 0), Wants::Invalid));
    cases.push(case("the year 2001", time(field, 1_000_000_000, 0), Wants::Invalid));
    cases.push(case("the year 2286", time(field, 9_999_999_999, 0), Wants::Invalid));
    cases
}

/// Seconds and nanoseconds that are no time in protobuf.
fn no_times(field: &FieldDescriptor, wants: Wants) -> Vec<Case> {
    let no_time = |what: &str, seconds, nanos| case(what, time(field, seconds, nanos), wants);
    vec![
        no_time("before the year 1", -62_135_596_801, 0),
        no_time("after the year 9999", 253_402_300_800, 0),
        no_time("the last second of all", i64::MAX, 0),
        no_time("the first second of all", i64::MIN, 0),
        no_time("a second of nanoseconds", 1_800_000_000, 1_000_000_000),
        no_time("negative nanoseconds", 1_800_000_000, -1),
    ]
}

fn time(field: &FieldDescriptor, seconds: i64, nanos: i32) -> Value {
    let Type::Message(message) = field.kind() else {
        panic!("{} is no time", field.full_name());
    };
    let mut time = DynamicMessage::new(message);
    time.set_field_by_name("seconds", Value::I64(seconds));
    time.set_field_by_name("nanos", Value::I32(nanos));
    Value::Message(time)
}

/// A head is named by number and hash together, and anything else of it is not looked at.
pub fn head_numbers() -> Vec<Case> {
    let number = |number: i64, wants| case(number.to_string(), number, wants);
    [-1, i64::MIN, 0, 1, i64::MAX]
        .map(|value| number(value, Wants::Either))
        .into()
}

pub fn head_bytes() -> Vec<Case> {
    [0, 1, 31, 33, 64, 40_000]
        .map(|length| case(format!("{length} bytes"), Bytes::from(vec![7; length]), Wants::Either))
        .into()
}
