//! Messages in the JSON of protobuf.
//!
//! What is read is strict: a field that the RPC's request does not have is refused by its name, since one that is misspelt or not
//! known yet would else be dropped in silence, and so is one that is given twice, in either spelling. (In binary, unknown fields are
//! ignored, as protobuf has it.) What is written is complete: fields with default values are there, so that whoever reads it by hand
//! sees the shape. 64-bit numbers are strings, names are in lowerCamelCase; both spellings of a name are read, also in field masks.

mod read;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use tidings_rpc::Problem;

const WRITE: SerializeOptions = SerializeOptions::new().skip_default_fields(false);

/// The binary form of a JSON message. An empty text is an empty message, so that a call without fields needs no body.
///
/// # Errors
///
/// `FIELD_INVALID`, naming the field as the proto does.
pub fn to_binary(descriptor: &MessageDescriptor, json: &[u8]) -> Result<Bytes, Problem> {
    let json = if json.is_empty() { b"{}" } else { json };
    Ok(read::read(descriptor, json)?.encode_to_vec().into())
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

#[cfg(test)]
mod tests {
    use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
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
    const UPDATE: &str = "tidings.user.v1.UpdateUserRequest";
    const SEND: &str = "tidings.message.v1.SendMessageRequest";
    const KEY: &str = "tidings.auth.v1.CreateApiKeyRequest";
    const SEAL: &str = "tidings.common.v1.AuditHead";
    const LIST: &str = "tidings.message.v1.ListMessagesRequest";

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
    fn what_is_given_twice_is_refused_in_either_spelling() {
        let twice = |field: &str| (field.to_owned(), "is given twice".to_owned());
        for json in [
            r#"{"displayName":"A1","display_name":"A2"}"#,
            r#"{"displayName":"A1","displayName":"A2"}"#,
            r#"{"display_name":"A1","display_name":"A1"}"#,
            r#"{"displayName":null,"displayName":"A2"}"#,
        ] {
            assert_eq!(violation(UPDATE, json), twice("display_name"), "{json}");
        }
        let nested = r#"{"after":{"chats":[{"chatId":"a"},{"chatId":"a","chat_id":"b"}]}}"#;
        assert_eq!(violation(STREAM, nested), twice("after.chats[1].chat_id"));
        let keys = r#"{"metadata":{"a":"1","b":"1","a":"2"}}"#;
        assert_eq!(violation(SEND, keys), twice("metadata.a"));
        let fine = br#"{"after":{"chats":[{"chatId":"a"},{"chatId":"a"}]}}"#;
        to_binary(&descriptor(STREAM), fine).expect("once each");
    }

    #[test]
    fn a_choice_is_made_once() {
        let name = "tidings.auth.v1.LoginResponse";
        let pool = descriptor(name).parent_pool().clone();
        let mut messages = pool.all_messages();
        let choice = messages.find_map(|message| {
            let choice = message.oneofs().find(|choice| choice.fields().len() > 1)?;
            let names: Vec<String> = choice.fields().map(|field| field.name().to_owned()).collect();
            let objects = choice
                .fields()
                .all(|field| matches!(field.kind(), prost_reflect::Kind::Message(_)));
            objects.then(|| (message.full_name().to_owned(), names))
        });
        let (message, names) = choice.expect("changes are one of several");
        let json = format!(r#"{{"{}":{{}},"{}":{{}}}}"#, names[0], names[1]);
        let (field, description) = violation(&message, &json);
        assert_eq!(field, names[1]);
        assert!(description.contains(&names[0]), "{description}");
    }

    #[test]
    fn both_spellings_are_read_in_field_masks() {
        let name = descriptor(UPDATE);
        let mask = |text: &str| {
            let json = format!(r#"{{"updateMask":"{text}"}}"#);
            to_binary(&name, json.as_bytes()).expect("well-formed")
        };
        assert_eq!(mask("display_name,bio"), mask("displayName,bio"));
        let binary = mask("display_name,bio,,");
        let message = DynamicMessage::decode(name.clone(), binary.clone()).expect("a message");
        let paths = message.get_field_by_name("update_mask").expect("a field").into_owned();
        let paths = paths
            .as_message()
            .and_then(|mask| mask.get_field_by_name("paths").map(|paths| paths.into_owned()));
        let expected = ["display_name", "bio"].map(|path| Value::String(path.to_owned()));
        assert_eq!(paths, Some(Value::List(expected.into())));
        // What names nothing goes on to the service, which tells what it takes.
        assert_ne!(mask("Nope"), mask("nope"));
        let (field, description) = violation(UPDATE, r#"{"updateMask":{"paths":["bio"]}}"#);
        assert_eq!(field, "update_mask");
        assert!(description.contains("string"), "{description}");
    }

    #[test]
    fn a_field_has_one_name_and_what_it_takes_is_told() {
        for (message, json, field, description) in [
            (
                LIST,
                r#"{"pageSize":1.5}"#,
                "page_size",
                "must be an integer of 32 bits",
            ),
            (
                LIST,
                r#"{"page_size":1.5}"#,
                "page_size",
                "must be an integer of 32 bits",
            ),
            (
                LIST,
                r#"{"pageSize":2147483648}"#,
                "page_size",
                "must be an integer of 32 bits",
            ),
            (
                LIST,
                r#"{"pageSize":"many"}"#,
                "page_size",
                "must be an integer of 32 bits",
            ),
            (
                LIST,
                r#"{"afterSequence":"9223372036854775808"}"#,
                "after_sequence",
                "must be an integer of 64 bits",
            ),
            (LIST, r#"{"order":true}"#, "order", "must be one of MESSAGE_ORDER_"),
            (
                LIST,
                r#"{"order":"NONSENSE"}"#,
                "order",
                "must be one of MESSAGE_ORDER_",
            ),
            (LIST, r#"{"order":1.5}"#, "order", "must be one of MESSAGE_ORDER_"),
            (SEND, r#"{"chatId":7}"#, "chat_id", "must be a string"),
            (SEND, r#"{"attachmentIds":"a"}"#, "attachment_ids", "must be a list"),
            (
                SEND,
                r#"{"attachmentIds":["a",null]}"#,
                "attachment_ids[1]",
                "must be a string",
            ),
            (SEND, r#"{"metadata":[]}"#, "metadata", "must be an object"),
            (SEND, r#"{"metadata":{"a b":1}}"#, "metadata.a b", "must be a string"),
            (STREAM, r#"{"after":[]}"#, "after", "must be an object"),
            (
                STREAM,
                r#"{"after":{"userPosition":"-"}}"#,
                "after.user_position",
                "must be an integer of 64 bits",
            ),
            (
                KEY,
                r#"{"expireTime":"yesterday"}"#,
                "expire_time",
                "must be a string with a time in RFC 3339",
            ),
            (
                KEY,
                r#"{"expireTime":7}"#,
                "expire_time",
                "must be a string with a time in RFC 3339",
            ),
            (
                KEY,
                r#"{"expireTime":{"seconds":7}}"#,
                "expire_time",
                "must be a string with a time in RFC 3339",
            ),
        ] {
            let (named, told) = violation(message, json);
            assert_eq!(named, field, "{json}");
            assert!(told.starts_with(description), "{json}: {told}");
        }
        let (field, _) = violation(SEND, &format!(r#"{{"metadata":{{"{}":1}}}}"#, "k".repeat(50_000)));
        assert_eq!(field.len(), 128);
    }

    #[test]
    fn all_forms_of_a_value_are_read() {
        for (message, one, other) in [
            (LIST, r#"{"pageSize":5}"#, r#"{"pageSize":5.0}"#),
            (LIST, r#"{"pageSize":5}"#, r#"{"pageSize":"5"}"#),
            (LIST, r#"{"pageSize":-1}"#, r#"{"pageSize":"-1"}"#),
            (LIST, r#"{"pageSize":100}"#, r#"{"pageSize":1e2}"#),
            (LIST, r#"{"pageSize":0}"#, r#"{"pageSize":-0}"#),
            (
                LIST,
                r#"{"afterSequence":9223372036854775807}"#,
                r#"{"afterSequence":"9223372036854775807"}"#,
            ),
            (LIST, r#"{"order":"MESSAGE_ORDER_UNSPECIFIED"}"#, r#"{"order":0}"#),
            (LIST, r#"{"order":null,"pageSize":null}"#, "{}"),
            (
                KEY,
                r#"{"expireTime":"2026-11-21T09:05:00Z"}"#,
                r#"{"expireTime":"2026-11-21T10:05:00+01:00"}"#,
            ),
            (SEND, r#"{"text":"ä"}"#, "{\"text\":\"\u{e4}\"}"),
        ] {
            let read = |json: &str| {
                to_binary(&descriptor(message), json.as_bytes()).unwrap_or_else(|wrong| panic!("{json}: {wrong:?}"))
            };
            assert_eq!(read(one), read(other), "{other}");
        }
        assert!(
            !to_binary(&descriptor(LIST), br#"{"order":99}"#)
                .expect("for the service to tell")
                .is_empty()
        );
        for (bytes, form) in [("AQI=", "AQI"), ("+/8=", "-_8")] {
            let write = |bytes: &str| to_binary(&descriptor(SEAL), format!(r#"{{"hash":"{bytes}"}}"#).as_bytes());
            let (one, other) = (write(bytes).expect("base64"), write(form).expect("base64"));
            assert_eq!(one, other);
        }
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
