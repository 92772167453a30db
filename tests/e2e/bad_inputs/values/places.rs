use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Type, Value};
use tidings_testkit::request_id;

use super::{Case, Wants, case, plain};
use crate::bad_inputs::world::Pages;

/// B032.
pub fn page_sizes() -> Vec<Case> {
    let number = |number: i32, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [-1, i32::MIN].map(|size| number(size, Wants::Invalid)).into();
    cases.extend([0, 1, 200, 201, i32::MAX].map(|size| number(size, Wants::Accepted)));
    cases
}

/// B033: `pages` has tokens that work somewhere else.
pub fn page_tokens(pages: &Pages) -> Vec<Case> {
    let wants = Wants::InvalidPageToken;
    let genuine = &pages.genuine;
    let mut bytes = genuine.clone().into_bytes();
    bytes[0] = if bytes[0] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(bytes).expect("base64 is ASCII");
    let mut cases = vec![
        case("shortened by one", genuine[..genuine.len() - 1].to_owned(), wants),
        case("lengthened by one", format!("{genuine}A"), wants),
        case("half of it", genuine[..genuine.len() / 2].to_owned(), wants),
        case("one letter changed", flipped, wants),
        case("of another RPC", pages.of_another_rpc.clone(), wants),
        case("of another caller", pages.of_another_caller.clone(), wants),
        case("an id", request_id(), wants),
        case("60,000 letters", "A".repeat(60_000), wants),
    ];
    if let Some(token) = &pages.with_other_arguments {
        cases.push(case("of other arguments", token.clone(), wants));
    }
    cases.extend(plain(
        wants,
        &[
            " ",
            "nonsense",
            "' or 1=1 --",
            "a\0b",
            "😀",
            "\n",
            "eyJvZmZzZXQiOjF9",
            "AAAA",
            "====",
        ],
    ));
    cases.push(case("as it is", genuine.clone(), Wants::Accepted));
    cases
}

/// B034, B100.
pub fn sequences() -> Vec<Case> {
    let number = |number: i64, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [-1, i64::MIN].map(|value| number(value, Wants::Invalid)).into();
    cases.extend([0, 1, 1_000_000_000, i64::MAX - 1, i64::MAX].map(|value| number(value, Wants::Accepted)));
    cases
}

pub fn session_numbers() -> Vec<Case> {
    let number = |number: i64, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [0, -1, i64::MIN].map(|value| number(value, Wants::Invalid)).into();
    cases.extend([1_000_000, 1 << 32, i64::MAX].map(|value| number(value, Wants::Absent)));
    cases
}

/// B034: beyond the head begins anew, as `ChatPosition` and `After` say.
pub fn positions() -> Vec<Case> {
    let number = |number: i64, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [-1, i64::MIN].map(|value| number(value, Wants::Invalid)).into();
    cases.extend([0, 1, 1_000_000_000, i64::MAX].map(|value| number(value, Wants::Accepted)));
    cases
}

/// B106.
pub fn lists_of_positions(field: &FieldDescriptor) -> Vec<Case> {
    let Type::Message(message) = field.kind() else {
        panic!("{} is no list of positions", field.full_name());
    };
    let position = |chat_id: String| {
        let mut entry = DynamicMessage::new(message.clone());
        entry.set_field_by_name("chat_id", Value::String(chat_id));
        Value::Message(entry)
    };
    let (chat, many) = (request_id(), || request_id());
    vec![
        case(
            "a chat twice",
            Value::List(vec![position(chat.clone()), position(chat)]),
            Wants::Invalid,
        ),
        case(
            "10,001 chats",
            Value::List((0..10_001).map(|_| position(many())).collect()),
            Wants::Invalid,
        ),
        case("no chats", Value::List(Vec::new()), Wants::Accepted),
    ]
}

/// B039.
pub fn enums(unsuitable: &[i32]) -> Vec<Case> {
    let number = |number: i32, wants| case(number.to_string(), Value::EnumNumber(number), wants);
    let mut cases: Vec<Case> = [999, -1, i32::MIN, i32::MAX]
        .map(|value| number(value, Wants::Invalid))
        .into();
    cases.extend(unsuitable.iter().map(|value| number(*value, Wants::Invalid)));
    cases.push(number(0, Wants::Accepted));
    cases
}

pub fn ranks() -> Vec<Case> {
    let number = |number: i32, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [-1, i32::MIN, 1_001, i32::MAX]
        .map(|rank| number(rank, Wants::Invalid))
        .into();
    cases.extend([0, 1, 1_000].map(|rank| number(rank, Wants::Shown)));
    cases
}

/// B082.
pub fn permissions() -> Vec<Case> {
    let list = |numbers: &[i32]| Value::List(numbers.iter().copied().map(Value::EnumNumber).collect());
    vec![
        case("no permission", list(&[0]), Wants::Invalid),
        case("permission 999", list(&[999]), Wants::Invalid),
        case("permission -1", list(&[-1]), Wants::Invalid),
        case("a good and a bad one", list(&[1, i32::MAX]), Wants::Invalid),
        case("101 of them", list(&[1; 101]), Wants::Invalid),
        case("one twice", list(&[1, 1]), Wants::Accepted),
        case("none", list(&[]), Wants::Accepted),
    ]
}
