//! Messages in the JSON of protobuf.
//!
//! What is read is strict: a field that the RPC's request does not have is refused by its name, since one that is misspelt or not
//! known yet would else be dropped in silence. (In binary, unknown fields are ignored, as protobuf has it.) What is written is
//! complete: fields with default values are there, so that whoever reads it by hand sees the shape. 64-bit numbers are strings,
//! names are in lowerCamelCase; both spellings of a name are read.

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::error::Category;
use tidings_rpc::Problem;

const READ: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(true);
const WRITE: SerializeOptions = SerializeOptions::new().skip_default_fields(false);

/// The name of a field in an answer is at most this long, whatever the client called it.
const FIELD_CHARS_MAX: usize = 128;

/// The binary form of a JSON message. An empty text is an empty message, so that a call without fields needs no body.
///
/// # Errors
///
/// `FIELD_INVALID`, naming the field as the client wrote it.
pub fn to_binary(descriptor: &MessageDescriptor, json: &[u8]) -> Result<Bytes, Problem> {
    let json = if json.is_empty() { b"{}" } else { json };
    let mut reader = serde_json::Deserializer::from_slice(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), tracked, &READ)
        .map_err(|error| refusal(&error, &track.path().to_string()))?;
    reader.end().map_err(|error| refusal(&error, ""))?;
    Ok(message.encode_to_vec().into())
}

/// The JSON of a message in binary form.
///
/// # Errors
///
/// `INTERNAL`: the service answered with what is no message of its RPC.
pub fn from_binary(descriptor: &MessageDescriptor, binary: Bytes) -> Result<Vec<u8>, Problem> {
    let message = DynamicMessage::decode(descriptor.clone(), binary).map_err(|error| Problem::internal(&error))?;
    let mut json = Vec::new();
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &WRITE)
        .map_err(|error| Problem::internal(&error))?;
    Ok(json)
}

fn refusal(error: &serde_json::Error, path: &str) -> Problem {
    if error.classify() != Category::Data {
        let place = format!("line {}, column {}", error.line(), error.column());
        return Problem::field(
            "",
            format!("the body must be one JSON object; it is not well-formed at {place}"),
        );
    }
    let text = error.to_string();
    let path = path.trim_matches('.');
    if let Some(name) = between(&text, "unrecognized field name '", "'") {
        let path = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        return Problem::field(shortened(&path), "there is no such field");
    }
    // The library's texts end with what it expected, which is fixed; before it they may show the value, which may be a secret.
    let description = match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!("must be {}", expected.split(" at line ").next().unwrap_or(expected)),
        None => "has a value that its type does not allow".to_owned(),
    };
    Problem::field(shortened(path), description)
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    let (name, _) = text.strip_prefix(begin)?.rsplit_once(end)?;
    Some(name)
}

fn shortened(path: &str) -> String {
    path.chars().take(FIELD_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use prost_reflect::MessageDescriptor;
    use tidings_rpc::Problem;

    use super::{from_binary, to_binary};
    use crate::catalogue::{Catalogue, DESCRIPTORS};

    fn descriptor(name: &str) -> MessageDescriptor {
        let catalogue = Catalogue::new(&DESCRIPTORS).expect("our own descriptors");
        catalogue.pool().get_message_by_name(name).expect("a message")
    }

    fn violation(name: &str, json: &str) -> (String, String) {
        let problem: Problem = to_binary(&descriptor(name), json.as_bytes()).expect_err("refused");
        let violation = problem.violations().clone().into_iter().next().expect("a violation");
        (violation.field, violation.description)
    }

    const STREAM: &str = "tidings.message.v1.StreamChangesRequest";
    const LOGIN: &str = "tidings.auth.v1.LoginRequest";

    #[test]
    fn a_message_comes_back_as_it_was() {
        let name = descriptor(STREAM);
        let json =
            r#"{"after":{"logId":"l","userPosition":"9007199254740993","chats":[{"chatId":"c","position":"7"}]}}"#;
        let binary = to_binary(&name, json.as_bytes()).expect("well-formed");
        let back = from_binary(&name, binary).expect("well-formed");
        let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
        assert_eq!(value(&back), value(json.as_bytes()));
    }

    #[test]
    fn both_spellings_of_a_name_and_both_forms_of_a_number_are_read() {
        let name = descriptor(STREAM);
        let snake = to_binary(&name, br#"{"after":{"log_id":"l","user_position":5}}"#).expect("well-formed");
        let camel = to_binary(&name, br#"{"after":{"logId":"l","userPosition":"5"}}"#).expect("well-formed");
        assert_eq!(snake, camel);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let unknown = violation(LOGIN, r#"{"identifier":"a","pasword":"b"}"#);
        assert_eq!(unknown, ("pasword".to_owned(), "there is no such field".to_owned()));
        let nested = violation(STREAM, r#"{"after":{"chats":[{"chatId":"c"},{"position":"x"}]}}"#);
        assert_eq!(nested.0, "after.chats[1].position");
        let nested = violation(STREAM, r#"{"after":{"chats":[{"chat":"c"}]}}"#);
        assert_eq!(nested.0, "after.chats[0].chat");
        let (field, description) = violation(LOGIN, r#"{"password":["s3cret"]}"#);
        assert_eq!(field, "password");
        assert!(!description.contains("s3cret"), "{description}");
        let (_, description) = violation(LOGIN, r#"{"password":31337}"#);
        assert!(
            description.starts_with("must be") && !description.contains("31337"),
            "{description}"
        );
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for json in [
            "{",
            "[]",
            "null",
            "7",
            "\"\"",
            "{} {}",
            "{}x",
            r#"{"password":"\ud800"}"#,
            "{\"password\":\"\n\"}",
            "\u{feff}{}",
        ] {
            violation(LOGIN, json);
        }
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        violation(STREAM, &format!(r#"{{"after":{{"chats":{deep}}}}}"#));
        assert!(to_binary(&descriptor(LOGIN), b"{\"password\":\"\xff\"}").is_err());
    }
}
