//! Headers that say who calls, as proxies and services set them: from a client they are worth nothing, at the gateway and at each
//! service (A19, B020).

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tidings_proto_common::v1::{Authentication, ErrorReason};
use tidings_testkit::{Actor, Api, Method, Process, Shape, Suite, reason_of};
use tonic::{Code, Status};

use crate::matrix::{
    PORTS, SERVICE_HEADER,
    cast::Cast,
    is_internal, message, method_of, owner, policies, policy,
    rows::{Relation, Row, rows},
    scene::Scene,
};

/// RPCs that are played at once.
const AT_ONCE: usize = 6;

/// More wrong passwords than one network has for a name, by G28.
const GUESSES: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_becomes_another_by_headers() {
    let suite = Suite::start(Shape::Five).await;
    let cast = Cast::gather(&suite).await;
    let played = stream::iter(rows()).map(|row| one(&suite, &cast, row));
    let findings: Vec<String> = played.buffer_unordered(AT_ONCE).concat().await;
    assert!(findings.is_empty(), "{} findings: {findings:#?}", findings.len());
    who_one_is(&cast).await;
}

/// Calls one RPC at each door as nobody and as a stranger, with and without headers that say that it is the owner or the
/// administrator. They must change nothing about the refusal.
async fn one(suite: &Suite, cast: &Cast, row: &'static Row) -> Vec<String> {
    let method = method_of(row);
    let mut callers = Vec::new();
    if is_internal(&method) || policy(policies(), &method).authentication == Authentication::User {
        callers.push(("nobody", None));
    }
    let is_somebodys = !matches!(
        row.relation,
        Relation::Anyone | Relation::InTime | Relation::Off | Relation::Product
    );
    if is_somebodys && !row.needs.is_own() {
        callers.push(("a stranger", Some(cast.stranger.access_token.as_str())));
    }
    let mut doors = vec![("the gateway", cast.api.clone())];
    let port = PORTS.into_iter().find(|(service, _)| *service == owner(&method));
    doors.extend(port.map(|(_, process)| ("the service", Api::new(suite.direct(process)))));
    let scene = Scene::set(cast, row.needs).await;
    let request = scene.fill(row.request);
    let mut findings = Vec::new();
    for (who, token) in callers {
        for (door, api) in &doors {
            let call = async |extra: &[(&'static str, String)]| {
                let headers = bearer(token)
                    .into_iter()
                    .chain(extra.iter().cloned())
                    .collect::<Vec<_>>();
                call(api, &method, message(&method, &request), &headers).await
            };
            let without = call(&[]).await;
            for person in [&cast.owner, &cast.admin] {
                let with = call(&forged(person)).await;
                if with.is_none() || with != without {
                    findings.push(format!("{} by {who} at {door}: {with:?}, not {without:?}", row.rpc));
                }
            }
            // What only services send counts only with their proof; the gateway does not pass it on.
            let named = call(&[(SERVICE_HEADER, "gateway".to_owned())]).await;
            let refused = named.as_ref().map(|(code, ..)| *code);
            let right = named == without || refused == Some(Code::Unauthenticated);
            if named.is_none() || !right {
                findings.push(format!("{} by {who} at {door} as \"gateway\": {named:?}", row.rpc));
            }
        }
    }
    findings
}

/// A caller is who the token says, for the answer too.
async fn who_one_is(cast: &Cast) {
    let method = Api::method("tidings.user.v1.UserService.GetCurrentUser");
    let headers: Vec<(&'static str, String)> = bearer(Some(&cast.stranger.access_token))
        .into_iter()
        .chain(forged(&cast.admin))
        .collect();
    let headers: Vec<(&'static str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = cast.api.call(&method, message(&method, &json!({})), &headers).await;
    let answer = answer.expect("a valid token").to_string();
    assert!(
        answer.contains(&cast.stranger.user_id) && !answer.contains(&cast.admin.user_id),
        "{answer}"
    );
}

/// An address that a client claims to have is no other network to guess passwords from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_guesses_from_elsewhere_by_headers() {
    let suite = Suite::start_with(Shape::Five, &[("TIDINGS_RATE_FACTOR", "1")]).await;
    let method = Api::method("tidings.auth.v1.AuthService.Login");
    for (name, channel) in [
        ("nobody-at-the-gateway", suite.channel()),
        ("nobody-at-auth", suite.direct(Process::Auth)),
    ] {
        let api = Api::new(channel);
        let mut looked_at = 0;
        for guess in 0..GUESSES {
            let login = json!({ "identifier": name, "password": format!("guess number {guess}") });
            let (_, reason, _) = call(&api, &method, message(&method, &login), &from(guess))
                .await
                .expect("a wrong password");
            match reason {
                ErrorReason::CredentialsInvalid => looked_at += 1,
                ErrorReason::RateLimited => break,
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(
            (1..=10).contains(&looked_at),
            "{looked_at} guesses on {name} were looked at, of {GUESSES}"
        );
    }
}

/// The word of a proxy that the operator trusts does count, so the limit that the others meet is that of one network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_from_elsewhere_by_a_trusted_proxy_are_looked_at() {
    let settings = [("TIDINGS_RATE_FACTOR", "1"), ("TIDINGS_TRUSTED_PROXIES", "127.0.0.0/8")];
    let suite = Suite::start_with(Shape::Five, &settings).await;
    let api = Api::new(suite.channel());
    let method = Api::method("tidings.auth.v1.AuthService.Login");
    for guess in 0..GUESSES {
        let login = json!({ "identifier": "nobody", "password": format!("guess number {guess}") });
        let refused = call(&api, &method, message(&method, &login), &from(guess)).await;
        let reason = refused.map(|(_, reason, _)| reason);
        assert_eq!(reason, Some(ErrorReason::CredentialsInvalid), "guess {guess}");
    }
}

/// Headers of a call that comes from another network each time.
fn from(number: usize) -> Vec<(&'static str, String)> {
    let address = format!("198.51.{number}.7");
    vec![
        ("x-forwarded-for", address.clone()),
        ("x-real-ip", address.clone()),
        ("x-client-ip", address.clone()),
        ("cf-connecting-ip", address.clone()),
        ("true-client-ip", address.clone()),
        ("forwarded", format!("for={address}")),
        ("x-tidings-client", address),
    ]
}

/// Headers by which products of the field have believed who somebody is.
fn forged(person: &Actor) -> Vec<(&'static str, String)> {
    let id = || person.user_id.clone();
    vec![
        ("x-user-id", id()),
        ("x-user", person.username.clone()),
        ("x-internal-user", id()),
        ("x-internal-user-id", id()),
        ("x-authenticated-user", id()),
        ("x-auth-request-user", person.username.clone()),
        ("x-auth-request-email", person.email.clone()),
        ("x-forwarded-user", person.username.clone()),
        ("x-forwarded-email", person.email.clone()),
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-remote-user", person.username.clone()),
        ("remote-user", person.username.clone()),
        ("x-webauth-user", person.username.clone()),
        ("x-tidings-user", id()),
        ("x-tidings-user-id", id()),
        ("x-tidings-login-session-id", person.login_session_id.clone()),
        ("x-tidings-permissions", "1,2,3,4,5,6,7,8,9,10".to_owned()),
        ("x-tidings-role", "admin".to_owned()),
        ("x-tidings-client", "127.0.0.1".to_owned()),
        ("x-tidings-agent", "gateway".to_owned()),
        ("x-goog-authenticated-user-id", id()),
        ("grpc-user", id()),
        ("cookie", format!("user_id={}", person.user_id)),
        ("baggage", format!("user_id={}", person.user_id)),
    ]
}

fn bearer(token: Option<&str>) -> Option<(&'static str, String)> {
    token.map(|token| ("authorization", format!("Bearer {token}")))
}

/// How a call was refused; `None` where it was not.
async fn call(
    api: &Api,
    method: &Method,
    request: prost_reflect::DynamicMessage,
    headers: &[(&'static str, String)],
) -> Option<(Code, ErrorReason, Vec<u8>)> {
    let headers: Vec<(&'static str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let outcome = api.call(method, request, &headers).await;
    let told = |status: Status| (status.code(), reason_of(&status), status.details().to_vec());
    outcome.err().map(told)
}
