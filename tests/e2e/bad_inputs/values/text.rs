//! Texts that are refused, that show nothing, and that only look harmful.

/// Characters that stand in no text, alone and among others (B043, B047, B053).
pub fn forbidden(multiline: bool, plain: bool) -> Vec<(&'static str, String)> {
    let mut texts = vec![
        ("a NUL at the start", "\0ab"),
        ("a NUL in the middle", "a\0b"),
        ("a NUL at the end", "ab\0"),
        ("a carriage return", "a\rb"),
        ("an escape", "\u{1b}[31mred"),
        ("an OSC escape", "\u{1b}]0;title\u{7}"),
        ("a backspace", "a\u{8}b"),
        ("a delete", "a\u{7f}b"),
        ("a C1 control", "a\u{9b}31m"),
        ("a next line", "a\u{85}b"),
        ("a vertical tab", "a\u{b}b"),
    ];
    if !multiline {
        texts.extend([("a newline", "a\nb"), ("a tab", "a\tb")]);
    }
    if plain {
        texts.extend([
            ("an override of direction", "abc\u{202E}def"),
            ("an isolate", "abc\u{2066}def"),
            ("a mark of direction", "abc\u{200F}def"),
            ("a zero-width space", "abc\u{200B}def"),
            ("a byte order mark", "\u{FEFF}abc"),
            ("a word joiner", "abc\u{2060}def"),
            ("tags", "abc\u{E0001}\u{E0041}"),
            ("a line separator", "abc\u{2028}def"),
        ]);
    }
    texts.into_iter().map(|(what, text)| (what, text.to_owned())).collect()
}

/// Texts that show nothing (B045).
pub fn blank(multiline: bool, plain: bool) -> Vec<(&'static str, String)> {
    let mut texts = vec![
        ("a space", " "),
        ("wide spaces", "\u{3000}\u{2003}\u{a0}"),
        ("only combining marks", "\u{301}\u{302}"),
        ("only soft hyphens", "\u{ad}\u{ad}"),
        ("only variation selectors", "\u{fe0f}\u{fe0f}"),
        ("only Hangul fillers", "\u{3164}\u{115f}"),
    ];
    if multiline {
        texts.push(("only newlines", "\n\n\t"));
    }
    if !plain {
        texts.extend([
            ("only zero-width spaces", "\u{200B}\u{200B}"),
            ("only word joiners", "\u{2060}"),
            ("only byte order marks", "\u{FEFF}"),
        ]);
    }
    texts.into_iter().map(|(what, text)| (what, text.to_owned())).collect()
}

/// Texts that are stored as they are, whatever they look like (B051 to B055, G43).
pub fn harmless(multiline: bool, plain: bool) -> Vec<(&'static str, String)> {
    let mut texts = vec![
        ("SQL", "'; drop table messages.messages; --"),
        ("LIKE", "100%_\\"),
        ("a format", "%n%s%x{0}{}"),
        ("a lookup", "${jndi:ldap://127.0.0.1/a}"),
        ("a template", "{{7*7}}<%= 7*7 %>"),
        ("HTML", "<script>alert(1)</script>"),
        ("a formula", "=1+1"),
        ("composed letters", "caf\u{e9}"),
        ("decomposed letters", "cafe\u{301}"),
        ("right to left", "עברית"),
        ("an emoji of many", "👩\u{200D}👩\u{200D}👧"),
        ("beyond the first plane", "𝒳 \u{10FFFD}"),
        ("a non-character", "a\u{FFFE}b"),
        ("private use", "a\u{E000}b"),
        ("spaces at both ends", " a "),
        ("JSON", r#"{"a":null}"#),
        ("a backslash and a quote", r#"\" ' \\"#),
        ("an escaped NUL", r"a\u0000b"),
    ];
    if multiline {
        texts.extend([
            ("lines and tabs", "one\n\ttwo\n"),
            ("markdown", "[a](javascript:alert(1))\n> > >"),
        ]);
    }
    if !plain {
        texts.push(("an override of direction", "abc\u{202E}def"));
    }
    texts.into_iter().map(|(what, text)| (what, text.to_owned())).collect()
}
