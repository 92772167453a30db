//! How a file is handed to a browser.

/// Media types that a browser shows and does not run. Everything else is sent as bytes to be saved, whatever its uploader says.
const SHOWN: [&str; 12] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "audio/mpeg",
    "audio/ogg",
    "audio/mp4",
    "audio/webm",
    "text/plain",
];

/// The `Content-Type` to send a file with.
pub(super) fn content_type(media_type: &str) -> &'static str {
    let shown = SHOWN.into_iter().find(|shown| media_type.eq_ignore_ascii_case(shown));
    shown.unwrap_or("application/octet-stream")
}

/// The `Content-Disposition` that saves a file under its name: RFC 6266, with the name once as plain ASCII for old clients and once
/// whole in the encoding of RFC 8187.
pub(super) fn content_disposition(file_name: &str) -> String {
    if file_name.is_empty() {
        return "attachment".to_owned();
    }
    let plain: String = file_name
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || " .-_()".contains(letter) {
                letter
            } else {
                '_'
            }
        })
        .collect();
    format!(
        "attachment; filename=\"{plain}\"; filename*=UTF-8''{}",
        percent_encoded(file_name)
    )
}

/// All but the `attr-char`s of RFC 8187.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{content_disposition, content_type};

    #[test]
    fn what_a_browser_might_run_is_sent_as_bytes() {
        assert_eq!(content_type("image/png"), "image/png");
        assert_eq!(content_type("Image/PNG"), "image/png");
        for media_type in [
            "text/html",
            "image/svg+xml",
            "application/pdf",
            "application/javascript",
            "nonsense",
        ] {
            assert_eq!(content_type(media_type), "application/octet-stream");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        assert_eq!(content_disposition(""), "attachment");
        assert_eq!(
            content_disposition("a b.txt"),
            "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt"
        );
        let header = content_disposition("\"; x=\r\nY: 1/..\\é");
        assert!(header.is_ascii() && !header.contains(['\r', '\n', '\\', '/']));
        assert_eq!(
            header,
            "attachment; filename=\"__ x___Y_ 1_..__\"; filename*=UTF-8''%22%3B%20x%3D%0D%0AY%3A%201%2F..%5C%C3%A9"
        );
    }
}
