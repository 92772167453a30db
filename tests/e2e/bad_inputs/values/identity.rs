//! Proofs, permissions and questions about access (B058, B066, B082).

use prost_reflect::Value;
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::request_id;

use super::{Case, Wants, case, plain};

/// Which roles there are is known to another service than the one that is called: that somebody tried is kept.
pub fn role_names() -> Vec<Case> {
    let list = |names: &[&str]| Value::List(names.iter().map(|name| Value::String((*name).to_owned())).collect());
    vec![
        case("51 of them", list(&["bot"; 51]), Wants::Invalid),
        case("an unknown role", list(&["nobody-of-this-name"]), Wants::InvalidAndKept),
        case("an empty name", list(&[""]), Wants::InvalidAndKept),
        case("SQL", list(&["' or 1=1 --"]), Wants::InvalidAndKept),
        case("a NUL", list(&["bot\0"]), Wants::InvalidAndKept),
        case("a good and a bad one", list(&["bot", "x\ny"]), Wants::InvalidAndKept),
        case("one twice", list(&["bot", "bot"]), Wants::Either),
        case("none", list(&[]), Wants::Accepted),
    ]
}

/// What the call does not ask for says nothing.
pub fn unasked() -> Vec<Case> {
    let mut cases = plain(
        Wants::Either,
        &["", "000000", "nonsense", " ", "😀", "' or 1=1 --", "a\0b"],
    );
    cases.push(case("257 letters", "a".repeat(257), Wants::Either));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    cases
}

/// A password that the call cannot do without.
pub fn proofs() -> Vec<Case> {
    let refused = &[
        ErrorReason::StepUpRequired,
        ErrorReason::CredentialsInvalid,
        ErrorReason::FieldInvalid,
    ];
    let mut cases = plain(Wants::Refused(refused), &["", "a", "not the password", "' or 1=1 --"]);
    cases.push(case("257 letters", "a".repeat(257), Wants::Invalid));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    cases
}

pub fn second_proofs() -> Vec<Case> {
    let refused = Wants::Refused(&[ErrorReason::FieldInvalid]);
    let mut cases = plain(refused, &["000000", "nonsense", "' or 1=1 --"]);
    cases.push(case("40,000 letters", "a".repeat(40_000), refused));
    cases
}

/// One of a million may be right by chance, so none of six digits is here.
pub fn codes() -> Vec<Case> {
    let wrong = Wants::Refused(&[ErrorReason::CredentialsInvalid, ErrorReason::FieldInvalid]);
    let wrongs = [
        "12345",
        "12 345",
        "abcdef",
        "１２３４５６",
        "-12345",
        "12345\0",
        "+12345",
        "0x1234",
    ];
    let mut cases = plain(wrong, &wrongs);
    cases.push(case("empty", String::new(), Wants::Invalid));
    cases.push(case("40,000 digits", "1".repeat(40_000), Wants::Invalid));
    cases
}

pub fn device_tokens() -> Vec<Case> {
    let mut cases = plain(
        Wants::Accepted,
        &["", "nonsense", " ", "....", "' or 1=1 --", "eyJhbGciOiJub25lIn0.e30."],
    );
    cases.push(case("256 bytes", "a".repeat(256), Wants::Accepted));
    cases.push(case("an id", request_id(), Wants::Accepted));
    cases.push(case("257 bytes", "a".repeat(257), Wants::Invalid));
    cases.push(case("40,000 bytes", "a".repeat(40_000), Wants::Invalid));
    cases
}

pub fn any_tokens() -> Vec<Case> {
    let mut cases = plain(
        Wants::Accepted,
        &["nonsense", " ", "..", "' or 1=1 --", "eyJhbGciOiJub25lIn0.e30."],
    );
    cases.push(case("4,096 bytes", "a".repeat(4_096), Wants::Accepted));
    cases.push(case("empty", String::new(), Wants::Invalid));
    cases.push(case("4,097 bytes", "a".repeat(4_097), Wants::Invalid));
    cases.push(case("40,000 bytes", "a".repeat(40_000), Wants::Invalid));
    cases
}

/// B082.
pub fn key_permissions() -> Vec<Case> {
    let list = |numbers: &[i32]| Value::List(numbers.iter().copied().map(Value::EnumNumber).collect());
    let not_held = Wants::Refused(&[ErrorReason::PermissionMissing]);
    vec![
        case("none", list(&[]), Wants::Invalid),
        case("no permission", list(&[0]), Wants::Invalid),
        case("permission 999", list(&[999]), Wants::Invalid),
        case("permission -1", list(&[-1]), Wants::Invalid),
        case("a good and a bad one", list(&[8, i32::MAX]), Wants::Invalid),
        case("101 of them", list(&[8; 101]), Wants::Invalid),
        case("one that the account does not hold", list(&[3]), not_held),
        case("one twice", list(&[8, 8]), Wants::Either),
    ]
}

pub fn required() -> Vec<Case> {
    let number = |number: i32, wants| case(number.to_string(), Value::EnumNumber(number), wants);
    let mut cases: Vec<Case> = [0, 999, -1, i32::MIN, i32::MAX]
        .map(|value| number(value, Wants::Invalid))
        .into();
    cases.push(number(1, Wants::Accepted));
    cases
}

pub fn method_names() -> Vec<Case> {
    let mut cases = plain(
        Wants::Invalid,
        &[
            "",
            " ",
            "nonsense",
            "tidings.user.v1.UserService",
            "tidings.user.v1.UserService/Nonsense",
            "/tidings.user.v1.UserService/GetUser/",
            "TIDINGS.USER.V1.USERSERVICE/GETUSER",
            "../../etc/passwd",
            "' or 1=1 --",
            "a\0b",
        ],
    );
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    cases.extend(plain(
        Wants::Accepted,
        &[
            "tidings.user.v1.UserService/GetUser",
            "tidings.user.v1.ProvisioningService/CreateUser",
        ],
    ));
    cases
}

pub fn questions(base: &Value) -> Vec<Case> {
    let question = base
        .as_list()
        .and_then(<[Value]>::first)
        .expect("the good call asks something");
    vec![
        case("no questions", Value::List(Vec::new()), Wants::Invalid),
        case(
            "101 questions",
            Value::List(vec![question.clone(); 101]),
            Wants::Invalid,
        ),
        case(
            "100 questions",
            Value::List(vec![question.clone(); 100]),
            Wants::Accepted,
        ),
    ]
}
