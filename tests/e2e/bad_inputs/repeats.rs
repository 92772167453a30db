//! The same `request_id` again (`reliability.md` B069): the same call has its first outcome, another call is refused.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage as _, Value};
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::{reason_of, request_id};

use super::{documented::Documented, fields::Field, judge::breach, kinds::Kind, world::Stage};
use crate::matrix::cast::Cast;

/// What decides within what a `request_id` is known, and what stays out of its hash.
const NOT_HASHED: [&str; 7] = [
    "request_id",
    "chat_id",
    "group_id",
    "username",
    "email",
    "password",
    "update_mask",
];

/// What is wrong with how an RPC takes a request that it has answered before.
pub async fn play(
    cast: &Cast,
    documented: &Documented,
    stage: &Stage,
    request: &DynamicMessage,
    first: &DynamicMessage,
) -> Vec<String> {
    if request.descriptor().get_field_by_name("request_id").is_none() {
        return Vec::new();
    }
    let name = stage.method.full_name();
    let mut findings = Vec::new();
    match stage.call(cast, request.clone()).await {
        Ok(again) if ids(&again) == ids(first) => {}
        Ok(again) => findings.push(format!(
            "{name} again: other ids, {:?} and {:?}",
            ids(first),
            ids(&again)
        )),
        Err(status) => findings.push(format!("{name} again: {status:?}")),
    }
    let Some((field, other)) = another(stage, request) else {
        return findings;
    };
    match stage.call(cast, other).await {
        Ok(_) => findings.push(format!("{name} with another {field} under the same request id: OK")),
        Err(status) => {
            findings.extend(breach(documented, &stage.method, &status).map(|wrong| format!("{name}: {wrong}")));
            if reason_of(&status) != ErrorReason::RequestIdReused {
                findings.push(format!(
                    "{name} with another {field} under the same request id: {status:?}"
                ));
            }
        }
    }
    findings
}

/// The request with another content, where it has any beside what names its thing, and the field that is another.
fn another(stage: &Stage, request: &DynamicMessage) -> Option<(String, DynamicMessage)> {
    Field::all(&stage.method).into_iter().find_map(|field| {
        let name = field.name();
        if NOT_HASHED.contains(&name.as_str()) {
            return None;
        }
        let value = match Kind::of(stage.method.input().name(), &field)? {
            Kind::Text(_) => Value::String("something else".to_owned()),
            Kind::Metadata => {
                let entry = (MapKey::String("another".to_owned()), Value::String("entry".to_owned()));
                Value::Map([entry].into())
            }
            Kind::Id(_) => Value::String(request_id()),
            Kind::Ids(..) => Value::List(vec![Value::String(request_id())]),
            Kind::Etag => Value::String("4711".to_owned()),
            Kind::Size => Value::U32(6),
            _ => return None,
        };
        let mut other = request.clone();
        field.set(&mut other, value);
        Some((name, other))
    })
}

/// All ids in a message, with where they stand.
fn ids(message: &DynamicMessage) -> Vec<(String, String)> {
    let fields = message.fields().flat_map(|(field, value)| match value {
        Value::String(text) if field.name().ends_with("_id") => vec![(field.name().to_owned(), text.clone())],
        Value::Message(inner) => ids(inner),
        _ => Vec::new(),
    });
    fields.collect()
}
