use super::{Case, Wants, case, each, plain};

pub fn media_types() -> Vec<Case> {
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
pub fn sizes() -> Vec<Case> {
    let number = |number: u32, wants| case(number.to_string(), number, wants);
    let mut cases: Vec<Case> = [0, 104_857_601, u32::MAX]
        .map(|size| number(size, Wants::Invalid))
        .into();
    cases.extend([1, 104_857_600].map(|size| number(size, Wants::Shown)));
    cases
}

pub fn digests() -> Vec<Case> {
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
pub fn file_names() -> Vec<Case> {
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
