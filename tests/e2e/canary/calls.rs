use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use prost_reflect::{DynamicMessage, MapKey, Value};
use tidings_testkit::{Actor, Method, Suite, is_secret};

use super::needles::{Needles, Sort};
use crate::{
    bad_inputs::{Field, Kind, Stage, public_methods, spoilt},
    matrix::{SERVICE_HEADER, cast::Cast},
};

/// RPCs that are called at once.
const AT_ONCE: usize = 8;

/// Calls every RPC with a canary in each field that holds a secret or a text, and with everything in order, and keeps in mind
/// whatever secrets come and go.
pub async fn play(suite: &Suite, cast: &Cast, needles: &Needles) {
    for actor in [&cast.owner, &cast.member, &cast.stranger, &cast.admin, &cast.assistant] {
        remember(actor, needles);
    }
    let methods = public_methods();
    let played = stream::iter(&methods).map(|method| one(cast, method, needles));
    played.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    web(suite, needles).await;
}

fn remember(actor: &Actor, needles: &Needles) {
    for secret in [&actor.password, &actor.access_token, &actor.refresh_token] {
        needles.add(Sort::Secret, "an actor", secret);
    }
}

async fn one(cast: &Cast, method: &Method, needles: &Needles) {
    let mut stage = Stage::set(cast, method).await;
    for field in Field::all(method) {
        let Some(sort) = sort_of(method, &field) else { continue };
        let canary = needles.plant(sort, field.descriptor().full_name());
        let base = stage.request();
        call(cast, &stage, spoilt(&base, &field, &written(&field, &canary)), needles).await;
    }
    let good = stage.request();
    call(cast, &stage, good, needles).await;
    credentials(cast, method, needles).await;
}

/// What the RPC answers is no matter here: its secrets are.
async fn call(cast: &Cast, stage: &Stage, request: DynamicMessage, needles: &Needles) {
    needles.add_secrets_of(&request);
    if let Ok(response) = stage.call(cast, request).await {
        needles.add_secrets_of(&response);
    }
}

/// The RPC with canaries where credentials stand.
async fn credentials(cast: &Cast, method: &Method, needles: &Needles) {
    for header in ["authorization", "cookie", SERVICE_HEADER] {
        let canary = needles.plant(Sort::Secret, header);
        let value = if header == "authorization" {
            format!("Bearer {canary}")
        } else {
            canary
        };
        let request = DynamicMessage::new(method.input());
        // Refused, or not looked at where no credential is asked for.
        drop(cast.api.call(method, request, &[(header, &value)]).await);
    }
}

/// Requests over HTTP that are malformed around their secrets.
async fn web(suite: &Suite, needles: &Needles) {
    let client = reqwest::Client::new();
    for path in [
        "tidings.auth.v1.AuthService/Login",
        "tidings.auth.v1.AuthService/Nonsense",
        "nonsense",
    ] {
        let plant = |what: &str| needles.plant(Sort::Secret, what);
        let (query, header, name) = (plant("a query"), plant("a header"), plant("a field's name"));
        let url = format!("http://{}/{path}?access_token={query}", suite.gateway_address());
        for body in [
            format!(r#"{{"password":"{}","#, plant("half a body")),
            format!(r#"{{"identifier":["{}"]}}"#, plant("a value of another type")),
            format!(r#"{{"{name}":"{}"}}"#, plant("a field that is not there")),
        ] {
            let request = client
                .post(&url)
                .bearer_auth(&header)
                .header("content-type", "application/json");
            request.body(body).send().await.expect("the gateway answers");
        }
    }
}

/// Which sort of canary belongs into a field: none where programs have chosen what stands there.
pub fn sort_of(method: &Method, field: &Field) -> Option<Sort> {
    if is_secret(field.descriptor()) {
        return Some(Sort::Secret);
    }
    let kind = Kind::of(method.input().name(), field).expect("every field has a kind");
    kind.is_text().then_some(Sort::Text)
}

/// The canary, in the form of the field's kind.
fn written(field: &Field, canary: &str) -> Value {
    let descriptor = field.descriptor();
    let text = || Value::String(canary.to_owned());
    if descriptor.is_map() {
        return Value::Map(HashMap::from([(MapKey::String(canary.to_owned()), text())]));
    }
    if descriptor.is_list() {
        return Value::List(vec![text()]);
    }
    match descriptor.name() {
        "email" | "new_email" => Value::String(format!("{canary}@example.org")),
        "avatar_url" => Value::String(format!("https://example.org/{canary}")),
        _ => text(),
    }
}
