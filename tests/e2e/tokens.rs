//! Who somebody claims to be, on every RPC: forged, expired, revoked and other kinds of tokens at the gateway and straight at each
//! service, and services that are not who they should be (`reliability.md` B018, B019, B061 to B065, B102, B104).

use std::{sync::LazyLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt as _, stream};
use jsonwebtoken::{Algorithm, EncodingKey};
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use tidings_authn::{Service, ServiceIdentity, SuiteSecret};
use tidings_ids::Source;
use tidings_proto_auth::v1::{LogoutRequest, RequestPasswordResetRequest};
use tidings_proto_common::v1::{Authentication, ErrorReason, Permission};
use tidings_proto_user::v1::{AssignRoleRequest, CreateRoleRequest, GetCurrentUserRequest};
use tidings_rpc::Policy;
use tidings_testkit::{
    Actor, Api, Forge, Method, Process, Shape, Suite, assert_contract, mail, reason_of, request_id, until, until_some,
};
use tonic::{Code, Status};

use crate::matrix::policies;

/// The header in which services prove who they are.
const SERVICE_HEADER: &str = "x-tidings-service";

/// Calls at once.
const AT_ONCE: usize = 16;

/// A revocation acts within a second; a machine that compiles beside it takes longer.
const SOON: Duration = Duration::from_secs(20);

/// The headers of a call that must be refused, and with what.
struct Claim {
    what: String,
    headers: Vec<(&'static str, String)>,
    reason: ErrorReason,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_but_a_valid_one_is_taken_at_the_gateway() {
    let suite = Suite::start(Shape::One).await;
    let (claims, valid) = claims(&suite).await;
    let api = Api::new(suite.channel());
    let methods = of(Authentication::User);
    assert!(methods.len() > 50, "{} RPCs ask for a user", methods.len());
    let mut findings = refused(&api, &methods, &claims).await;
    findings.extend(ignored(&api).await);
    findings.extend(hidden(&suite, &api, &valid).await);
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_but_a_valid_one_is_taken_by_a_service_itself() {
    let suite = Suite::start(Shape::Five).await;
    let (mut claims, valid) = claims(&suite).await;
    // A service's identity alone acts for no user (G19).
    for service in Service::ALL {
        claims.push(Claim {
            what: format!("{service}'s identity without a user"),
            headers: vec![(SERVICE_HEADER, String::new())],
            reason: ErrorReason::TokenMissing,
        });
    }
    let mut findings = Vec::new();
    for (process, service) in SERVICES {
        let api = Api::new(suite.direct(process));
        for claim in claims
            .iter_mut()
            .filter(|claim| claim.what.ends_with("identity without a user"))
        {
            let caller = Service::ALL
                .into_iter()
                .find(|caller| claim.what.starts_with(caller.name()))
                .expect("named above");
            claim.headers = vec![(SERVICE_HEADER, suite.identity(caller).token_for(service))];
        }
        let own = |method: &Method| owner(method) == service;
        let methods: Vec<Method> = of(Authentication::User).into_iter().filter(own).collect();
        findings.extend(refused(&api, &methods, &claims).await);
        let internal: Vec<Method> = of(Authentication::Service).into_iter().filter(own).collect();
        findings.extend(internal_rpcs(&suite, &api, service, &internal, &valid).await);
        findings.extend(elsewhere(&suite, &api, service, &valid).await);
    }
    findings.extend(hidden(&suite, &Api::new(suite.channel()), &valid).await);
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

/// The services with ports of their own, beside the gateway.
const SERVICES: [(Process, Service); 4] = [
    (Process::Auth, Service::Auth),
    (Process::User, Service::User),
    (Process::Chat, Service::Chat),
    (Process::Message, Service::Message),
];

/// Every claim on every one of these RPCs.
async fn refused(api: &Api, methods: &[Method], claims: &[Claim]) -> Vec<String> {
    let calls = methods
        .iter()
        .flat_map(|method| claims.iter().map(move |claim| (method, claim)));
    let calls = stream::iter(calls).map(|(method, claim)| async move {
        let outcome = call(api, method, &claim.headers).await;
        let wrong = must_be(&outcome, Code::Unauthenticated, claim.reason)?;
        Some(format!("{} with {}: {wrong}", method.full_name(), claim.what))
    });
    calls
        .buffer_unordered(AT_ONCE)
        .filter_map(|finding| async { finding })
        .collect()
        .await
}

/// What asks for no credential does not look at one.
async fn ignored(api: &Api) -> Vec<String> {
    let mut findings = Vec::new();
    for method in of(Authentication::None) {
        let without = outline(&call(api, &method, &[]).await);
        for token in ["Bearer nonsense", "nonsense", ""] {
            let with = outline(&call(api, &method, &[("authorization", token.to_owned())]).await);
            if with != without {
                findings.push(format!(
                    "{} with {token:?}: {with:?}, without {without:?}",
                    method.full_name()
                ));
            }
        }
    }
    findings
}

/// The RPCs between services are nowhere at the gateway, whoever asks.
async fn hidden(suite: &Suite, api: &Api, valid: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for method in of(Authentication::Service) {
        let mut callers = vec![
            ("nobody".to_owned(), Vec::new()),
            ("a user".to_owned(), vec![bearer(valid)]),
        ];
        for caller in Service::ALL {
            let token = suite.identity(caller).token_for(owner(&method));
            callers.push((caller.to_string(), vec![(SERVICE_HEADER, token)]));
        }
        for (who, headers) in callers {
            let outcome = call(api, &method, &headers).await;
            let wrong = must_be(&outcome, Code::Unimplemented, ErrorReason::MethodUnknown);
            findings.extend(wrong.map(|wrong| format!("{} by {who}: {wrong}", method.full_name())));
        }
    }
    findings
}

/// The RPCs of the other services are not at this one's port.
async fn elsewhere(suite: &Suite, api: &Api, service: Service, valid: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for method in Api::methods().into_iter().filter(|method| owner(method) != service) {
        let identity = suite.identity(Service::Chat).token_for(service);
        let outcome = call(api, &method, &[bearer(valid), (SERVICE_HEADER, identity)]).await;
        let wrong = must_be(&outcome, Code::Unimplemented, ErrorReason::MethodUnknown);
        findings.extend(wrong.map(|wrong| format!("{} at {service}: {wrong}", method.full_name())));
    }
    findings
}

/// Only the services that a policy names reach an RPC between services, and only with a proof that is theirs.
async fn internal_rpcs(suite: &Suite, api: &Api, service: Service, methods: &[Method], valid: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for method in methods {
        let policy = policy(method);
        for claim in false_identities(suite, service, policy, valid) {
            let outcome = call(api, method, &claim.headers).await;
            let wrong = must_be(&outcome, Code::Unauthenticated, claim.reason);
            findings.extend(wrong.map(|wrong| format!("{} with {}: {wrong}", method.full_name(), claim.what)));
        }
        for caller in Service::ALL {
            let headers = [(SERVICE_HEADER, suite.identity(caller).token_for(service))];
            let outcome = call(api, method, &headers).await;
            let permitted = policy.callers.is_empty() || policy.callers.contains(&caller);
            let wrong = if permitted {
                let refusal = outcome.as_ref().err().filter(|status| {
                    matches!(
                        status.code(),
                        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented
                    )
                });
                refusal.map(|status| format!("must get through, got {status:?}"))
            } else {
                must_be(&outcome, Code::PermissionDenied, ErrorReason::PermissionMissing)
            };
            findings.extend(wrong.map(|wrong| format!("{} by {caller}: {wrong}", method.full_name())));
        }
    }
    findings
}

/// What proves no service.
fn false_identities(suite: &Suite, callee: Service, policy: &Policy, valid: &str) -> Vec<Claim> {
    let caller = policy.callers.first().copied().unwrap_or(Service::Gateway);
    let genuine = suite.identity(caller).token_for(callee);
    let other_callee = Service::ALL
        .into_iter()
        .find(|other| *other != callee)
        .expect("there are five");
    let misdirected = suite.identity(caller).token_for(other_callee);
    let secret = SuiteSecret::new("a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9").expect("long enough");
    let foreign = ServiceIdentity::new(caller, &secret, Source::system()).token_for(callee);
    let (signed, _) = genuine.rsplit_once('.').expect("a token has three parts");
    let claims = signed.split('.').nth(1).expect("a token has three parts");
    let unsigned = format!(
        "{}.{claims}.",
        encode(&json!({ "alg": "none", "typ": "tidings-service+jwt" }))
    );
    let header = encode(&json!({ "alg": "HS256", "typ": "tidings-service+jwt" }));
    let with_empty_key = hmac(&format!("{header}.{claims}"), b"");
    let claim = |what: &str, headers, reason| Claim {
        what: what.to_owned(),
        headers,
        reason,
    };
    let invalid = |what: &str, token: String| claim(what, vec![(SERVICE_HEADER, token)], ErrorReason::TokenInvalid);
    vec![
        claim("nothing", Vec::new(), ErrorReason::TokenMissing),
        claim("a user's token", vec![bearer(valid)], ErrorReason::TokenMissing),
        claim(
            "an identity as a user's token",
            vec![bearer(&genuine)],
            ErrorReason::TokenMissing,
        ),
        claim(
            "two identities",
            vec![(SERVICE_HEADER, genuine.clone()), (SERVICE_HEADER, genuine.clone())],
            ErrorReason::TokenInvalid,
        ),
        invalid("an identity for another service", misdirected),
        invalid("an identity of another deployment", foreign),
        invalid("a user's token as an identity", valid.to_owned()),
        invalid("an identity without its signature", format!("{signed}.")),
        invalid("an identity of two parts", signed.to_owned()),
        invalid("an identity that is not signed", unsigned),
        invalid("an identity signed with nothing", with_empty_key),
        invalid("an identity with a scheme", format!("Bearer {genuine}")),
        invalid("a name", caller.name().to_owned()),
        invalid("an empty identity", String::new()),
    ]
}

/// Everything that somebody without a valid token may present, and a token that is valid.
async fn claims(suite: &Suite) -> (Vec<Claim>, String) {
    let channel = suite.channel();
    let ada = Actor::register(&channel, "ada").await;
    let forge = Forge::set_up(suite, &ada).await;
    let mut claims = forged(&forge, &ada);
    claims.extend(malformed(&ada.access_token));
    claims.extend(of_other_kinds(suite, &ada).await);
    claims.push(invalid(
        "an expired token",
        forge.expired(&ada),
        ErrorReason::TokenExpired,
    ));

    let leaver = Actor::register(&channel, "leaver").await;
    leaver.auth().logout(LogoutRequest {}).await.expect("logs out");
    until_refused(suite, &leaver).await;
    let revoked = leaver.access_token.clone();
    claims.push(invalid(
        "a token of an ended login session",
        revoked,
        ErrorReason::LoginSessionRevoked,
    ));

    let promoted = Actor::register(&channel, "promoted").await;
    promote(&suite.administrator().await, &promoted).await;
    until_refused(suite, &promoted).await;
    let old = promoted.access_token.clone();
    claims.push(invalid(
        "a token from before a change of rights",
        old,
        ErrorReason::TokenInvalid,
    ));
    (claims, ada.access_token)
}

/// Waits until every process has heard that the actor's token is over.
async fn until_refused(suite: &Suite, actor: &Actor) {
    let ways = match suite.shape() {
        Shape::One => vec![suite.channel()],
        Shape::Five => SERVICES.map(|(process, _)| suite.direct(process)).into(),
    };
    let probes = of(Authentication::User);
    for channel in ways {
        let api = Api::new(channel);
        until("a token is refused everywhere", SOON, || async {
            let headers = [bearer(&actor.access_token)];
            let mut refused = true;
            for method in &probes {
                // Empty requests change nothing, but for the two that have no fields to be wrong.
                if !method.name().starts_with("Logout") {
                    let outcome = call(&api, method, &headers).await;
                    let over = |status: &Status| matches!(status.code(), Code::Unauthenticated | Code::Unimplemented);
                    refused &= outcome.is_err_and(|status| over(&status));
                }
            }
            refused
        })
        .await;
    }
}

async fn promote(admin: &Actor, user: &Actor) {
    let create = CreateRoleRequest {
        name: format!("r{}", &request_id().replace('-', "")[16..]),
        permissions: vec![Permission::UsersReadPrivate.into()],
        request_id: request_id(),
        ..CreateRoleRequest::default()
    };
    let role = admin.roles().create_role(create).await.expect("creates a role");
    let assign = AssignRoleRequest {
        user_id: user.user_id.clone(),
        role_id: role.into_inner().role.expect("a role").role_id,
        request_id: request_id(),
    };
    admin.roles().assign_role(assign).await.expect("assigns a role");
}

/// Tokens of the right kind that auth has not signed, or would not have (B061 to B065).
fn forged(forge: &Forge, ada: &Actor) -> Vec<Claim> {
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": forge.key_id() });
    let body = serde_json::to_value(forge.claims(ada)).expect("claims are JSON");
    let signed = |header: &Value, body: &Value| sign(forge, header, body);
    let now = body["iat"].as_i64().expect("a time");
    let mut tokens: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| tokens.push((what.to_owned(), token));

    for alg in [
        "none", "None", "nOnE", "", "HS256", "HS512", "RS256", "PS256", "ES256", "EdDSA2", "eddsa",
    ] {
        let header = with(&header, "alg", json!(alg));
        add(&format!("alg {alg:?}"), signed(&header, &body));
        add(&format!("alg {alg:?} without a signature"), unsigned(&header, &body));
    }
    let hs256 = with(&header, "alg", json!("HS256"));
    let text = format!("{}.{}", encode(&hs256), encode(&body));
    add("the public key as the secret of HS256", hmac(&text, forge.public_key()));
    add("an empty secret of HS256", hmac(&text, b""));
    add(
        "another key under the same name",
        sign(&forge.impostor(), &header, &body),
    );
    add("no signature", unsigned(&header, &body));
    add(
        "a signature of zeros",
        format!("{}{}", unsigned(&header, &body), URL_SAFE_NO_PAD.encode([0; 64])),
    );
    let other = signed(&header, &with(&body, "epoch", json!(1)));
    let (_, signature) = other.rsplit_once('.').expect("three parts");
    add(
        "the signature of another token",
        format!("{}{signature}", unsigned(&header, &body)),
    );

    for (name, value) in [
        ("kid", json!("unknown")),
        ("kid", json!("")),
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("' or 1=1 --")),
        ("kid", json!("https://example.org/key")),
        ("kid", json!("k".repeat(2_000))),
        ("kid", json!(7)),
        ("kid", Value::Null),
        ("typ", json!("JWT")),
        ("typ", json!("jwt")),
        ("typ", json!("rt+jwt")),
        ("typ", json!("tidings-service+jwt")),
        ("typ", json!("application/at+jwt")),
        ("typ", json!("AT+JWT")),
        ("typ", Value::Null),
        ("crit", json!(["exp"])),
        ("jku", json!("http://127.0.0.1:9/keys")),
        ("x5u", json!("http://127.0.0.1:9/keys")),
        (
            "jwk",
            json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(forge.public_key()) }),
        ),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        let what = format!(
            "header {name} {}",
            value.to_string().chars().take(40).collect::<String>()
        );
        add(&what, signed(&with(&header, name, value), &body));
    }
    for name in ["alg", "typ", "kid"] {
        add(&format!("no header {name}"), signed(&without(&header, name), &body));
    }

    for (name, value) in [
        ("exp", json!((now + 600).to_string())),
        ("exp", json!(now as f64 + 600.5)),
        ("exp", json!(-1)),
        ("exp", json!(0)),
        ("exp", json!(1_000_000_000_000_000_000_i64)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(1e300)),
        ("exp", json!([now + 600])),
        ("exp", Value::Null),
        ("exp", json!(now + 601)),
        ("nbf", json!(now + 300)),
        ("nbf", json!((now + 300).to_string())),
        ("nbf", Value::Null),
        ("iat", json!(now + 300)),
        ("iat", json!(i64::MIN)),
        ("iat", json!("now")),
        ("iss", json!("another")),
        ("iss", json!("")),
        ("iss", json!(["tidings"])),
        ("iss", json!("Tidings")),
        ("aud", json!("another")),
        ("aud", json!(["tidings"])),
        ("aud", json!(["tidings", "another"])),
        ("aud", Value::Null),
        ("sub", json!("")),
        ("sub", json!("admin")),
        ("sub", json!(ada.user_id.to_uppercase())),
        ("sub", json!([ada.user_id])),
        ("sub", Value::Null),
        ("sid", json!("")),
        ("sid", json!(7)),
        ("epoch", json!("1")),
        ("epoch", json!(1.5)),
        ("epoch", json!(-1)),
        ("epoch", json!(i64::MIN)),
        ("epoch", json!(u64::MAX)),
        ("perms", json!("all")),
        ("perms", json!(["PERMISSION_USERS_MANAGE"])),
        ("perms", Value::Null),
        ("bot", json!("no")),
        ("bot", json!(0)),
    ] {
        add(
            &format!("claim {name} {value}"),
            signed(&header, &with(&body, name, value)),
        );
    }
    for name in ["iss", "aud", "sub", "sid", "epoch", "perms", "bot", "iat", "nbf", "exp"] {
        add(&format!("no claim {name}"), signed(&header, &without(&body, name)));
    }
    let twice = body
        .to_string()
        .replacen('{', r#"{"sub":"00000000-0000-7000-8000-000000000000","#, 1);
    add("a claim twice", sign_texts(forge, &header.to_string(), &twice));
    let twice = header.to_string().replacen('{', r#"{"alg":"none","#, 1);
    add("a header twice", sign_texts(forge, &twice, &body.to_string()));
    add(
        "claims that are no object",
        sign_texts(forge, &header.to_string(), "[]"),
    );
    add(
        "claims that are no JSON",
        sign_texts(forge, &header.to_string(), "claims"),
    );
    tokens
        .into_iter()
        .map(|(what, token)| invalid(&what, token, ErrorReason::TokenInvalid))
        .collect()
}

/// Headers that carry no token, or a valid one in a wrong way (B018, B019).
fn malformed(valid: &str) -> Vec<Claim> {
    let one = |what: &str, value: String, reason| Claim {
        what: what.to_owned(),
        headers: vec![("authorization", value)],
        reason,
    };
    let (missing, invalid) = (ErrorReason::TokenMissing, ErrorReason::TokenInvalid);
    let two = |what: &str, first: String, second: String| Claim {
        what: what.to_owned(),
        headers: vec![("authorization", first), ("authorization", second)],
        reason: invalid,
    };
    let good = format!("Bearer {valid}");
    let mut parts = valid.split('.');
    let (header, body) = (parts.next().expect("a header"), parts.next().expect("claims"));
    let mut claims = vec![
        Claim {
            what: "no header".to_owned(),
            headers: Vec::new(),
            reason: missing,
        },
        Claim {
            what: "a token in another header".to_owned(),
            headers: vec![("x-authorization", good.clone()), ("cookie", format!("token={valid}"))],
            reason: missing,
        },
        Claim {
            what: "headers that only services send".to_owned(),
            headers: vec![
                ("x-user-id", "admin".to_owned()),
                ("x-tidings-client", "127.0.0.1".to_owned()),
            ],
            reason: missing,
        },
        two(
            "two headers, the valid one first",
            good.clone(),
            "Bearer nonsense".to_owned(),
        ),
        two(
            "two headers, the valid one last",
            "Bearer nonsense".to_owned(),
            good.clone(),
        ),
        two("the valid header twice", good.clone(), good.clone()),
    ];
    for (what, value) in [
        ("an empty header", String::new()),
        ("a scheme alone", "Bearer".to_owned()),
        ("a scheme and a space", "Bearer ".to_owned()),
        ("a token without a scheme", valid.to_owned()),
        ("another scheme", format!("Basic {valid}")),
        ("a scheme of ours", format!("Token {valid}")),
        ("two spaces", format!("Bearer  {valid}")),
        ("a tab", format!("Bearer\t{valid}")),
        ("a space at the end", format!("Bearer {valid} ")),
        ("a list", format!("Bearer {valid}, Bearer {valid}")),
        ("a quoted token", format!("Bearer \"{valid}\"")),
        ("a token of 12 KB", format!("Bearer {}", "a".repeat(12_000))),
        ("a token that goes on", format!("Bearer {valid}A")),
        ("a token with a fourth part", format!("Bearer {valid}.AAAA")),
        ("a token of five parts", format!("Bearer {header}.AAAA.AAAA.AAAA.AAAA")),
        ("a token of two parts", format!("Bearer {header}.{body}")),
        ("a token with padding", format!("Bearer {valid}=")),
        ("a token that is cut", format!("Bearer {}", &valid[..valid.len() - 1])),
        ("dots", "Bearer ..".to_owned()),
        ("nonsense", "Bearer nonsense".to_owned()),
        ("null", "Bearer null".to_owned()),
    ] {
        claims.push(one(what, value, invalid));
    }
    claims
}

/// Secrets of other kinds, all of them genuine (B064).
async fn of_other_kinds(suite: &Suite, ada: &Actor) -> Vec<Claim> {
    let ask = RequestPasswordResetRequest {
        email: ada.email.clone(),
        request_id: request_id(),
    };
    ada.credentials()
        .request_password_reset(ask)
        .await
        .expect("asks for a reset");
    let mailed = until_some("a mail", SOON, || async {
        mail::newest_token(&suite.mail_folder(), &ada.email)
    });
    let mut secrets = vec![
        ("a refresh token".to_owned(), ada.refresh_token.clone()),
        ("a mailed token".to_owned(), mailed.await),
        ("a login session's id".to_owned(), ada.login_session_id.clone()),
        ("a user's id".to_owned(), ada.user_id.clone()),
        ("a password".to_owned(), ada.password.replace(' ', "-")),
    ];
    for (_, callee) in SERVICES {
        let identity = suite.identity(Service::Gateway).token_for(callee);
        secrets.push((format!("the gateway's identity to {callee}"), identity));
    }
    let claims = secrets.into_iter();
    claims
        .map(|(what, secret)| invalid(&what, secret, ErrorReason::TokenInvalid))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_auth_would_sign_is_taken_however_its_scheme_is_written() {
    let suite = Suite::start(Shape::One).await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    let forge = Forge::set_up(&suite, &ada).await;
    let api = Api::new(suite.channel());
    let method = Api::method("tidings.user.v1.UserService.GetCurrentUser");
    // The refusals in this file prove something only where the same token without its fault is taken.
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": forge.key_id() });
    let body = serde_json::to_value(forge.claims(&ada)).expect("claims are JSON");
    let token = sign(&forge, &header, &body);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let headers = [("authorization", format!("{scheme} {token}"))];
        call(&api, &method, &headers).await.expect("a valid token is taken");
    }
    let ada = ada.with_token(token);
    ada.users()
        .get_current_user(GetCurrentUserRequest {})
        .await
        .expect("a valid token is taken");
}

fn invalid(what: &str, token: String, reason: ErrorReason) -> Claim {
    Claim {
        what: what.to_owned(),
        headers: vec![bearer(&token)],
        reason,
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

fn encode(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn unsigned(header: &Value, body: &Value) -> String {
    format!("{}.{}.", encode(header), encode(body))
}

fn sign(forge: &Forge, header: &Value, body: &Value) -> String {
    sign_texts(forge, &header.to_string(), &body.to_string())
}

fn sign_texts(forge: &Forge, header: &str, body: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body));
    let signature = forge.signature(&text);
    format!("{text}.{signature}")
}

fn hmac(text: &str, secret: &[u8]) -> String {
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).expect("HMAC signs any text");
    format!("{text}.{signature}")
}

fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

fn without(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().expect("an object").remove(name);
    object
}

/// An RPC with an empty request: who calls is decided before the request is read.
async fn call(api: &Api, method: &Method, headers: &[(&'static str, String)]) -> Result<DynamicMessage, Status> {
    let headers: Vec<(&'static str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    api.call(method, DynamicMessage::new(method.input()), &headers).await
}

fn must_be(outcome: &Result<DynamicMessage, Status>, code: Code, reason: ErrorReason) -> Option<String> {
    let status = match outcome {
        Ok(_) => return Some(format!("must be {code:?} {reason:?}, got OK")),
        Err(status) => status,
    };
    assert_contract(status);
    let right = status.code() == code && reason_of(status) == reason;
    (!right).then(|| {
        format!(
            "must be {code:?} {reason:?}, got {:?} {:?}",
            status.code(),
            reason_of(status)
        )
    })
}

/// What two answers are compared by.
fn outline(outcome: &Result<DynamicMessage, Status>) -> (Code, Vec<u8>) {
    match outcome {
        Ok(_) => (Code::Ok, Vec::new()),
        Err(status) => (status.code(), status.details().to_vec()),
    }
}

/// The RPCs that ask for this.
fn of(authentication: Authentication) -> Vec<Method> {
    static METHODS: LazyLock<Vec<Method>> = LazyLock::new(Api::methods);
    let methods = METHODS
        .iter()
        .filter(|method| policy(method).authentication == authentication);
    methods.cloned().collect()
}

fn policy(method: &Method) -> &'static Policy {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    policies().get(&path).expect("every RPC has a policy")
}

/// The service that has the RPC.
fn owner(method: &Method) -> Service {
    let service = method.parent_service();
    let name = service.package_name().split('.').nth(1).unwrap_or_default().to_owned();
    Service::from_name(&name).expect("every package belongs to a service")
}
