use prost_reflect::Value;
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::request_id;

use super::{Case, Wants, case, plain};

/// B048, B049.
pub fn names() -> Vec<Case> {
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
pub fn emails() -> Vec<Case> {
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
pub fn identifiers() -> Vec<Case> {
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
pub fn new_passwords() -> Vec<Case> {
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
pub fn passwords() -> Vec<Case> {
    let mut cases = plain(Wants::Invalid, &[""]);
    cases.push(case("257 letters", "a".repeat(257), Wants::Invalid));
    cases.push(case("40,000 letters", "a".repeat(40_000), Wants::Invalid));
    let wrong = Wants::Refused(&[ErrorReason::CredentialsInvalid, ErrorReason::FieldInvalid]);
    cases.extend(plain(wrong, &["a", "not the password", "' or 1=1 --", "nul \0 inside"]));
    cases
}

/// B066, B067: `base` is a token that works.
pub fn secrets(base: &Value) -> Vec<Case> {
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
