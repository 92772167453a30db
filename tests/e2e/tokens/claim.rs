use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::Forge;

/// The headers of a call that must be refused, and with what.
pub struct Claim {
    pub what: String,
    pub headers: Vec<(&'static str, String)>,
    pub reason: ErrorReason,
}

pub fn invalid(what: &str, token: String, reason: ErrorReason) -> Claim {
    Claim {
        what: what.to_owned(),
        headers: vec![bearer(&token)],
        reason,
    }
}

pub fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

pub fn encode(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

pub fn unsigned(header: &Value, body: &Value) -> String {
    format!("{}.{}.", encode(header), encode(body))
}

pub fn sign(forge: &Forge, header: &Value, body: &Value) -> String {
    sign_texts(forge, &header.to_string(), &body.to_string())
}

pub fn sign_texts(forge: &Forge, header: &str, body: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body));
    let signature = forge.signature(&text);
    format!("{text}.{signature}")
}

pub fn hmac(text: &str, secret: &[u8]) -> String {
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).expect("HMAC signs any text");
    format!("{text}.{signature}")
}

pub fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

pub fn without(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().expect("an object").remove(name);
    object
}
