//! Bytes that are no message, and bodies that are not one message (`reliability.md` B001 to B013).

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind as Type};
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::{Method, reason_of};
use tonic::Code;

use super::{documented::Documented, judge::breach, world::Stage};
use crate::matrix::cast::Cast;

/// One body, and the headers beside it.
struct Malformed {
    what: String,
    body: Vec<u8>,
    encoding: Option<&'static str>,
}

/// Sends them all to one RPC, and says which were not refused as they must be.
pub async fn play(cast: &Cast, documented: &Documented, stage: &Stage) -> Vec<String> {
    let mut findings = Vec::new();
    let bearer = stage.token().map(|token| format!("Bearer {token}"));
    for Malformed { what, body, encoding } in bodies(&stage.method, &stage.same_request()) {
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        headers.extend(encoding.map(|encoding| ("grpc-encoding", encoding)));
        let outcome = cast.api.send_bytes(&stage.method, Bytes::from(body), &headers).await;
        let wrong = match outcome {
            Ok(_) => Some("must be refused, got OK".to_owned()),
            Err(status) => breach(documented, &stage.method, &status).or_else(|| {
                let expected = [
                    ErrorReason::FieldInvalid,
                    ErrorReason::MessageTooLarge,
                    ErrorReason::ProtocolUnsupported,
                ];
                let right = expected.contains(&reason_of(&status)) && status.code() != Code::Internal;
                (!right).then(|| format!("answers {status:?}"))
            }),
        };
        findings.extend(wrong.map(|wrong| format!("{} with {what}: {wrong}", stage.method.full_name())));
    }
    findings
}

fn bodies(method: &Method, base: &DynamicMessage) -> Vec<Malformed> {
    let good = base.encode_to_vec();
    let mut bodies: Vec<Malformed> = messages(method)
        .into_iter()
        .map(|(what, bytes)| {
            // After what is good, so that it is the malformed part that is refused.
            let message = [good.clone(), bytes].concat();
            body(what, frame(0, &message))
        })
        .collect();
    let one = frame(0, &good);
    let zeros = vec![0; 64 << 20];
    bodies.extend([
        body("no message", Vec::new()),
        body("two messages", [one.clone(), one.clone()].concat()),
        body("half a second prefix", [one.clone(), vec![0, 0]].concat()),
        body("half a prefix", vec![0, 0, 0]),
        body("a prefix without its message", vec![0, 0, 0, 0, 100, 10, 1]),
        body("a prefix of 4 GiB", vec![0, 0xff, 0xff, 0xff, 0xff, 0]),
        body("the flag of compression without an encoding", frame(1, &good)),
        body("an unknown flag", frame(7, &good)),
        Malformed {
            encoding: Some("gzip"),
            ..body("garbage for gzip", frame(1, b"this is no gzip"))
        },
        Malformed {
            encoding: Some("gzip"),
            ..body("a short gzip", frame(1, &gzip(&zeros[..1_000])[..10]))
        },
        Malformed {
            encoding: Some("nonsense"),
            ..body("an unknown encoding", frame(1, &good))
        },
    ]);
    // One RPC is enough for what costs a second to make.
    if method.name() == "SendMessage" {
        bodies.push(Malformed {
            encoding: Some("gzip"),
            ..body("a gzip bomb", frame(1, &gzip(&zeros)))
        });
    }
    bodies
}

/// Ends of a message that make it none.
fn messages(method: &Method) -> Vec<(String, Vec<u8>)> {
    let mut ends: Vec<(String, Vec<u8>)> = [
        ("a truncated varint", vec![0x08, 0xff]),
        (
            "a varint of eleven bytes",
            [vec![0x08], vec![0xff; 10], vec![0x01]].concat(),
        ),
        ("field number 0", vec![0x00, 0x00]),
        (
            "a tag beyond all field numbers",
            [vec![0xff; 9], vec![0x7f, 0x00]].concat(),
        ),
        ("a group that is not closed", vec![0x0b]),
        ("a group that was not opened", vec![0x0c]),
        ("an unknown wire type", vec![0x0f, 0x01]),
        ("a length beyond the end", vec![0x0a, 0x64, 0x61]),
        (
            "a length beyond all bounds",
            [vec![0x0a], vec![0xff; 9], vec![0x01]].concat(),
        ),
        ("a truncated fixed number", vec![0x09, 0x01]),
        ("ten thousand open groups", vec![0x0b; 10_000]),
        ("noise", vec![0xff; 40]),
    ]
    .map(|(what, bytes)| (what.to_owned(), bytes))
    .into();
    for field in method.input().fields() {
        let name = field.name();
        let tag = |wire: u32| varint(field.number() << 3 | wire);
        if field.kind() == Type::String {
            let invalid = [tag(2), vec![3, b'a', 0xff, b'b']].concat();
            ends.push((format!("invalid UTF-8 in {name}"), invalid));
            let surrogate = [tag(2), vec![3, 0xed, 0xa0, 0x80]].concat();
            ends.push((format!("a surrogate in {name}"), surrogate));
        }
        // A fixed 64-bit number, which none of our requests has.
        ends.push((format!("another wire type for {name}"), [tag(1), vec![0; 8]].concat()));
    }
    ends
}

fn body(what: impl Into<String>, body: Vec<u8>) -> Malformed {
    Malformed {
        what: what.into(),
        body,
        encoding: None,
    }
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a test's message is small");
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("writes into memory");
    encoder.finish().expect("writes into memory")
}

fn varint(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
    bytes
}
