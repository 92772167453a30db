//! What is sent for each kind of field, and what must come back. The numbers of `reliability.md` 3.2 stand beside what they ask for.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Type, MapKey, Value};
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::request_id;

use super::{
    fields::Field,
    kinds::{Id, Kind, Text},
    text,
    world::{Pages, World},
};

/// What a value must be answered with. Everything else is a finding, and so is a status that breaks the error contract.
#[derive(Debug, Clone, Copy)]
pub enum Wants {
    /// `FIELD_INVALID`, naming the field.
    Invalid,
    /// `PAGE_TOKEN_INVALID`, naming the field.
    InvalidPageToken,
    /// `NOT_FOUND`, and all such answers to one RPC's field alike to the byte.
    Absent,
    /// One of these reasons.
    Refused(&'static [ErrorReason]),
    /// `USERNAME_TAKEN` or `NAME_TAKEN`. That somebody tried is kept.
    Taken,
    /// OK.
    Accepted,
    /// OK, and every reader sees exactly this.
    Shown,
    /// OK or a documented refusal.
    Either,
}

impl Wants {
    /// Whether nothing may have changed afterwards.
    pub fn is_refusal(self) -> bool {
        !matches!(self, Self::Accepted | Self::Shown | Self::Either | Self::Taken)
    }
}

/// One value for one field.
#[derive(Debug)]
pub struct Case {
    /// What it is, in words.
    pub what: String,
    pub value: Value,
    pub wants: Wants,
}

fn case(what: impl Into<String>, value: impl IntoValue, wants: Wants) -> Case {
    Case {
        what: what.into(),
        value: value.into_value(),
        wants,
    }
}

/// What a field can be set to, in the types of Rust.
trait IntoValue {
    fn into_value(self) -> Value;
}

/// The variant of [`Value`] that each type is.
macro_rules! values {
    ($($type:ty: $variant:ident,)+) => {$(
        impl IntoValue for $type {
            fn into_value(self) -> Value {
                Value::$variant(self)
            }
        }
    )+};
}

values! {
    String: String,
    bool: Bool,
    i32: I32,
    i64: I64,
    u32: U32,
}

impl IntoValue for Value {
    fn into_value(self) -> Value {
        self
    }
}

/// Cases of texts, each with what it is.
fn each<'a>(wants: Wants, texts: impl IntoIterator<Item = (&'a str, String)>) -> Vec<Case> {
    texts.into_iter().map(|(what, text)| case(what, text, wants)).collect()
}

/// Cases of short texts that say themselves what they are.
fn plain(wants: Wants, texts: &[&str]) -> Vec<Case> {
    texts
        .iter()
        .map(|text| case(format!("{text:?}"), (*text).to_owned(), wants))
        .collect()
}

/// All that is sent for a field.
pub fn cases(field: &Field, kind: Kind, base: &Value, world: &World, pages: Option<&Pages>) -> Vec<Case> {
    let mut cases = match kind {
        Kind::Id(id) => ids(id, world),
        Kind::Ids(id, min, max) => lists_of_ids(id, min, max, base, world),
        Kind::Text(rule) => texts(rule),
        Kind::Name => names(),
        Kind::Email => emails(),
        Kind::Identifier => identifiers(),
        Kind::NewPassword => new_passwords(),
        Kind::Password => passwords(),
        Kind::Secret => secrets(base),
        Kind::Metadata => metadata(),
        Kind::ExternalId => external_ids(),
        Kind::Url => urls(),
        Kind::Etag => etags(),
        Kind::RequestId => request_ids(),
        Kind::UpdateMask(paths) => masks(field.descriptor(), paths),
        Kind::PageSize => page_sizes(),
        Kind::PageToken => page_tokens(pages.expect("an RPC with page tokens has pages")),
        Kind::Sequence => sequences(),
        Kind::SessionNumber => session_numbers(),
        Kind::Position => positions(),
        Kind::Positions => lists_of_positions(field.descriptor()),
        Kind::LogId => log_ids(),
        Kind::Enum(unsuitable) => enums(unsuitable),
        Kind::Permissions => permissions(),
        Kind::Flag => Vec::new(),
        Kind::FlagOff => vec![case("true", true, Wants::Refused(&[ErrorReason::FeatureDisabled]))],
        Kind::MediaType => media_types(),
        Kind::Size => sizes(),
        Kind::Sha256 => digests(),
        Kind::FileName => file_names(),
    };
    cases.extend(huge(field.descriptor()));
    cases
}

/// More than any RPC takes (B001, and the megabytes of B026, B033, B069).
fn huge(field: &FieldDescriptor) -> Option<Case> {
    let text = "a".repeat(1_100_000);
    let value = match field.kind() {
        Type::String if field.is_list() => Value::List(vec![Value::String(text)]),
        Type::String => Value::String(text),
        _ => return None,
    };
    let wants = Wants::Refused(&[ErrorReason::MessageTooLarge]);
    Some(case("1.1 MB", value, wants))
}

/// B026 to B030.
fn ids(id: Id, world: &World) -> Vec<Case> {
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

/// Texts that are no id in its one form (B026, B027).
fn spellings_of_no_id() -> Vec<(&'static str, String)> {
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
fn absent_ids(id: Id, world: &World) -> Vec<(String, String)> {
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

/// B038.
fn lists_of_ids(id: Id, min: usize, max: usize, base: &Value, world: &World) -> Vec<Case> {
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

/// B043, B045 to B047, B051 to B055.
fn texts(rule: Text) -> Vec<Case> {
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

/// B048, B049.
fn names() -> Vec<Case> {
    let invalid = [
        "",
        " ",
        "a",
        "two words",
        "ada@home",
        "ada/home",
        "ada\\home",
        "ada:home",
        "ada\0",
        "ada\n",
        " ada",
        "ada ",
        "adà",
        "\u{212A}elvin",
        "ſharp",
        "dotleſſ",
        "dotles\u{131}",
        "ａｄａ",
        "аda",
        "ad\u{200B}a",
        "ad\u{202E}a",
        "😀😀",
        "a'b",
        "a\"b",
        "a;b",
        "a%b",
        "a*b",
        "{{7*7}}",
        "../ada",
    ];
    let mut cases = plain(Wants::Invalid, &invalid);
    cases.push(case("33 letters", "a".repeat(33), Wants::Invalid));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    cases.extend(plain(Wants::Taken, &["admin"]));
    cases.extend(plain(
        Wants::Either,
        &["..", "--", "__", "null", "UPPER", "system", "root"],
    ));
    cases
}

/// B050.
fn emails() -> Vec<Case> {
    let invalid = [
        "",
        " ",
        "ada",
        "@example.org",
        "ada@",
        "@",
        "ada@home@example.org",
        "ada @example.org",
        "ada@exa mple.org",
        "ada@example.org\r\nBcc: eve@example.org",
        "ada\n@example.org",
        "ada\0@example.org",
        "ada@example.org\0",
        "ada\u{1b}@example.org",
    ];
    let mut cases = plain(Wants::Invalid, &invalid);
    cases.push(case(
        "255 bytes",
        format!("{}@example.org", "a".repeat(243)),
        Wants::Invalid,
    ));
    cases.push(case(
        "40,000 bytes",
        format!("{}@example.org", "a".repeat(39_988)),
        Wants::Invalid,
    ));
    let either = [
        "<script>@example.org",
        "\"two words\"@example.org",
        "ada.@example.org",
        "ada@example.org.",
        "ada@localhost",
        "ada@[127.0.0.1]",
        "ada@bücher.example",
        "ada@xn--bcher-kva.example",
        "ADA@EXAMPLE.ORG",
        "ad\u{200B}a@example.org",
        "ad\u{202E}a@example.org",
        "d\u{131}@example.org",
        "İ@example.org",
        "'; drop table auth.accounts; --@example.org",
    ];
    cases.extend(plain(Wants::Either, &either));
    cases
}

/// B060: what nobody is called.
fn identifiers() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &["", "ada\0", "ada\n", "ada\u{1b}[31m", "ada\u{9b}"]);
    cases.push(case("255 letters", "a".repeat(255), Wants::Invalid));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    let unknown = Wants::Refused(&[ErrorReason::CredentialsInvalid]);
    let nobodies = [
        "nobody-of-this-name",
        "nobody@example.org",
        "' or 1=1 --",
        "%",
        "_",
        "ada%",
        "@",
        "a@b@c",
        "${jndi:ldap://x}",
        "%n%s",
    ];
    cases.extend(plain(unknown, &nobodies));
    let either = Wants::Refused(&[ErrorReason::CredentialsInvalid, ErrorReason::FieldInvalid]);
    cases.extend(plain(either, &[" ", "\u{200B}", "ad\u{202E}a"]));
    cases
}

/// B058.
fn new_passwords() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &["", "seven 7"]);
    cases.push(case("257 letters", "a".repeat(257), Wants::Invalid));
    cases.push(case("257 emoji", "😀".repeat(257), Wants::Invalid));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    let either = [
        "password",
        "12345678",
        "        ",
        "nul \0 inside",
        "newline \n inside",
        " spaces at both ends ",
        "caf\u{e9} caf\u{e9}",
        "cafe\u{301} cafe\u{301}",
    ];
    cases.extend(plain(Wants::Either, &either));
    cases.push(case("256 letters", "a".repeat(256), Wants::Accepted));
    cases.push(case("256 emoji", "😀".repeat(256), Wants::Accepted));
    cases
}

/// B058: a password that is only compared.
fn passwords() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &[""]);
    cases.push(case("257 letters", "a".repeat(257), Wants::Invalid));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    let wrong = Wants::Refused(&[ErrorReason::CredentialsInvalid, ErrorReason::FieldInvalid]);
    cases.extend(plain(wrong, &["a", "not the password", "' or 1=1 --", "nul \0 inside"]));
    cases
}

/// B066, B067: `base` is a token that works.
fn secrets(base: &Value) -> Vec<Case> {
    let token = base.as_str().expect("a token is text");
    let flipped: String = token
        .chars()
        .map(|letter| {
            if letter.is_ascii_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            }
        })
        .collect();
    let wrong = Wants::Refused(&[ErrorReason::CredentialsInvalid]);
    let mut cases = vec![
        case("shortened by one", token[..token.len() - 1].to_owned(), wrong),
        case("lengthened by one", format!("{token}A"), wrong),
        case("padded", format!("{token}="), wrong),
        case("its letters' case flipped", flipped, wrong),
        case("an id", request_id(), wrong),
        case("doubled", format!("{token}{token}"), wrong),
        case("empty", String::new(), Wants::Invalid),
        case("1,025 bytes", "a".repeat(1_025), Wants::Invalid),
        case("40,000 bytes", "a".repeat(40_000), Wants::Invalid),
    ];
    cases.extend(plain(
        wrong,
        &["nonsense", "' or 1=1 --", "....", "eyJhbGciOiJub25lIn0.e30."],
    ));
    let either = Wants::Refused(&[ErrorReason::CredentialsInvalid, ErrorReason::FieldInvalid]);
    cases.extend(plain(either, &[" ", "😀", "a\0b", "a\nb"]));
    cases.push(case("in spaces", format!(" {token} "), either));
    cases.push(case("with a NUL", format!("{token}\0"), either));
    cases
}

/// B098.
fn metadata() -> Vec<Case> {
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

fn external_ids() -> Vec<Case> {
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
fn urls() -> Vec<Case> {
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

fn etags() -> Vec<Case> {
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

/// B069.
fn request_ids() -> Vec<Case> {
    let mut cases: Vec<Case> = spellings_of_no_id()
        .into_iter()
        .map(|(what, text)| case(what, text, Wants::Invalid))
        .collect();
    cases.push(case("empty", String::new(), Wants::Accepted));
    cases
}

/// B037.
fn masks(field: &FieldDescriptor, allowed: &[&str]) -> Vec<Case> {
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

/// B032.
fn page_sizes() -> Vec<Case> {
    let number = |number: i32, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [-1, i32::MIN].map(|size| number(size, Wants::Invalid)).into();
    cases.extend([0, 1, 200, 201, i32::MAX].map(|size| number(size, Wants::Accepted)));
    cases
}

/// B033: `pages` has tokens that work somewhere else.
fn page_tokens(pages: &Pages) -> Vec<Case> {
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
fn sequences() -> Vec<Case> {
    let number = |number: i64, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [-1, i64::MIN].map(|value| number(value, Wants::Invalid)).into();
    cases.extend([0, 1, 1_000_000_000, i64::MAX - 1, i64::MAX].map(|value| number(value, Wants::Accepted)));
    cases
}

fn session_numbers() -> Vec<Case> {
    let number = |number: i64, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [0, -1, i64::MIN].map(|value| number(value, Wants::Invalid)).into();
    cases.extend([1_000_000, 1 << 32, i64::MAX].map(|value| number(value, Wants::Absent)));
    cases
}

/// B034: beyond the head begins anew, as `ChatPosition` and `After` say.
fn positions() -> Vec<Case> {
    let number = |number: i64, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [-1, i64::MIN].map(|value| number(value, Wants::Invalid)).into();
    cases.extend([0, 1, 1_000_000_000, i64::MAX].map(|value| number(value, Wants::Accepted)));
    cases
}

/// B106.
fn lists_of_positions(field: &FieldDescriptor) -> Vec<Case> {
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

fn log_ids() -> Vec<Case> {
    let mut cases: Vec<Case> = spellings_of_no_id()
        .into_iter()
        .map(|(what, text)| case(what, text, Wants::Either))
        .collect();
    cases.push(case("of another log", request_id(), Wants::Accepted));
    cases
}

/// B039.
fn enums(unsuitable: &[i32]) -> Vec<Case> {
    let number = |number: i32, wants| case(number.to_string(), Value::EnumNumber(number), wants);
    let mut cases: Vec<Case> = [999, -1, i32::MIN, i32::MAX]
        .map(|value| number(value, Wants::Invalid))
        .into();
    cases.extend(unsuitable.iter().map(|value| number(*value, Wants::Invalid)));
    cases.push(number(0, Wants::Accepted));
    cases
}

/// B082.
fn permissions() -> Vec<Case> {
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

fn media_types() -> Vec<Case> {
    let invalid = [
        "",
        " ",
        "text",
        "text/",
        "/plain",
        "text/plain; charset=utf-8",
        "text/pl ain",
        "text//plain",
        "text/plain\r\nx: y",
        "text/plain\0",
        "text/pläin",
        " text/plain",
        "text/plain ",
        "<script>/x",
        "text/\u{202E}plain",
    ];
    let mut cases = plain(Wants::Invalid, &invalid);
    cases.push(case("128 letters", format!("text/{}", "a".repeat(123)), Wants::Invalid));
    cases.extend(plain(
        Wants::Either,
        &["*/*", "TEXT/PLAIN", "image/svg+xml", "text/html"],
    ));
    cases.extend(plain(Wants::Shown, &["image/png", "application/vnd.ms-excel"]));
    cases
}

/// B086.
fn sizes() -> Vec<Case> {
    let number = |number: u32, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [0, 104_857_601, u32::MAX]
        .map(|size| number(size, Wants::Invalid))
        .into();
    cases.extend([1, 104_857_600].map(|size| number(size, Wants::Shown)));
    cases
}

fn digests() -> Vec<Case> {
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let texts = [
        ("empty", String::new()),
        ("white space", " ".repeat(64)),
        ("upper case", digest.to_uppercase()),
        ("63 digits", digest[1..].to_owned()),
        ("65 digits", format!("{digest}0")),
        ("another letter", digest.replace('2', "g")),
        ("with 0x", format!("0x{digest}")),
        ("with a NUL", format!("{}\0", &digest[1..])),
        ("64 bytes of other letters", "é".repeat(32)),
        ("base64", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=".to_owned()),
        ("40,000 digits", "0".repeat(40_000)),
    ];
    each(Wants::Invalid, texts)
}

/// B084.
fn file_names() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &["a\0b", "a\r\nb", "a\nb", "a\u{1b}[31m", "a\u{9b}b"]);
    cases.push(case("256 letters", "a".repeat(256), Wants::Invalid));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    let either = [
        "../../etc/passwd",
        "..",
        ".",
        "/etc/passwd",
        "C:\\a.txt",
        "a\\b",
        ".hidden",
        "a\u{202E}gpj.exe",
        " ",
        "\u{200B}",
    ];
    cases.extend(plain(Wants::Either, &either));
    cases.extend(plain(
        Wants::Shown,
        &[
            "CON",
            "a b.txt",
            "😀.png",
            "' or 1=1 --.sql",
            "a\"b;c.txt",
            "%s%n.txt",
            "<b>.html",
            "=1+1.csv",
        ],
    ));
    cases.push(case("255 letters", "a".repeat(255), Wants::Shown));
    cases.push(case("none", String::new(), Wants::Accepted));
    cases
}
