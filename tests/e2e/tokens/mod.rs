//! Who somebody claims to be, on every RPC: forged, expired, revoked and other kinds of tokens at the gateway and straight at each
//! service, and services that are not who they should be (`reliability.md` B018, B019, B061 to B065, B102, B104).

mod claim;
mod cut;
mod fetched;
mod fields;
mod forged;
mod identities;

use std::{sync::LazyLock, time::Duration};

use futures_util::{StreamExt as _, stream};
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use tidings_authn::Service;
use tidings_proto_auth::v1::{LogoutRequest, RequestPasswordResetRequest};
use tidings_proto_common::v1::{Authentication, ErrorReason, Permission};
use tidings_proto_user::v1::{AssignRoleRequest, CreateRoleRequest, GetCurrentUserRequest};
use tidings_rpc::Policy;
use tidings_testkit::{
    Actor, Api, Forge, Method, Process, Shape, Suite, assert_contract, mail, reason_of, request_id, until, until_some,
};
use tonic::{Code, Status};

use self::{
    claim::{Claim, bearer, invalid, sign},
    forged::{forged, malformed},
    identities::internal_rpcs,
};
use crate::matrix::policies;

/// The header in which services prove who they are.
const SERVICE_HEADER: &str = "x-tidings-service";

/// Calls at once.
const AT_ONCE: usize = 16;

/// A revocation acts within a second; a machine that compiles beside it takes longer.
const SOON: Duration = Duration::from_secs(60);

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

/// Everything that somebody without a valid token may present, and a token that is valid.
async fn claims(suite: &Suite) -> (Vec<Claim>, String) {
    let channel = suite.channel();
    let ada = Actor::register(&channel, "ada").await;
    let admin = suite.administrator().await;
    let forge = Forge::set_up(suite).await;
    let mut claims = forged(&forge, &ada);
    claims.extend(malformed(&ada.access_token));
    claims.extend(of_other_kinds(suite, &admin, &ada).await);
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
    promote(&admin, &promoted).await;
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

/// Secrets of other kinds, all of them genuine (B064).
async fn of_other_kinds(suite: &Suite, admin: &Actor, ada: &Actor) -> Vec<Claim> {
    let ask = RequestPasswordResetRequest {
        email: ada.email.clone(),
        request_id: request_id(),
    };
    ada.credentials()
        .request_password_reset(ask)
        .await
        .expect("asks for a reset");
    let mailed = until_some("a mail", SOON, || async {
        mail::newest_token(&suite.mail_folder(), &ada.email, "reset-password")
    });
    let mut secrets = vec![
        ("a refresh token".to_owned(), ada.refresh_token.clone()),
        ("a mailed token".to_owned(), mailed.await),
        ("a login session's id".to_owned(), ada.login_session_id.clone()),
        ("a user's id".to_owned(), ada.user_id.clone()),
        ("a password".to_owned(), ada.password.replace(' ', "-")),
    ];
    secrets.extend(of_programs(suite, admin, ada).await);
    for (_, callee) in SERVICES {
        let identity = suite.identity(Service::Gateway).token_for(callee);
        secrets.push((format!("the gateway's identity to {callee}"), identity));
    }
    let claims = secrets.into_iter();
    claims
        .map(|(what, secret)| invalid(&what, secret, ErrorReason::TokenInvalid))
        .collect()
}

/// What programs, devices and lists are given.
async fn of_programs(suite: &Suite, admin: &Actor, ada: &Actor) -> Vec<(String, String)> {
    let api = Api::new(suite.channel());
    let ask = async |rpc: &str, request: Value, token: Option<&str>| {
        let answer = api.json(&format!("tidings.{rpc}"), request, token).await;
        answer.unwrap_or_else(|status| panic!("{rpc}: {status:?}"))
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let operator = Some(admin.access_token.as_str());
    let account = json!({ "username": "program" });
    let account = ask("auth.v1.ServiceAccountService.CreateServiceAccount", account, operator).await;
    let key = json!({
        "userId": account["serviceAccount"]["userId"], "label": "a key", "permissions": ["PERMISSION_RESPONSES_CREATE"],
    });
    let key = ask("auth.v1.ServiceAccountService.CreateApiKey", key, operator).await;
    let login = json!({ "identifier": ada.username, "password": ada.password });
    let login = ask("auth.v1.AuthService.Login", login, None).await;
    let page = ask(
        "user.v1.UserService.ListUsers",
        json!({ "pageSize": 1 }),
        Some(&ada.access_token),
    )
    .await;
    vec![
        ("an API key".to_owned(), text(&key["key"])),
        ("an API key's id".to_owned(), text(&key["apiKey"]["apiKeyId"])),
        ("a device token".to_owned(), text(&login["deviceToken"])),
        ("a page token".to_owned(), text(&page["nextPageToken"])),
        ("an ID token of an unknown issuer".to_owned(), id_token(ada)),
    ]
}

/// An ID token as an issuer signs it that nobody here trusts.
fn id_token(ada: &Actor) -> String {
    let header = claim::encode(&json!({ "alg": "HS256", "typ": "JWT", "kid": "1" }));
    let claims = claim::encode(
        &json!({ "iss": "https://issuer.example.org", "aud": "tidings", "sub": ada.user_id, "exp": 4_102_444_800_u32 }),
    );
    claim::hmac(&format!("{header}.{claims}"), b"the secret of somebody else's issuer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_auth_would_sign_is_taken_however_its_scheme_is_written() {
    let suite = Suite::start(Shape::One).await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    let forge = Forge::set_up(&suite).await;
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
