//! A path that only resembles an RPC's is no way around its policy, at the gateway and at each service (A21, B016).

use futures_util::{StreamExt as _, stream};
use tidings_authn::Service;
use tidings_proto_common::v1::{Authentication, ErrorReason};
use tidings_testkit::{Actor, Api, Method, Shape, Suite, assert_contract, reason_of};
use tonic::{Code, Status, transport::Channel};

use super::wire;
use crate::matrix::{PORTS, SERVICE_HEADER, is_internal, owner, policies, policy};

/// Calls at once.
const AT_ONCE: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_resembles_an_rpcs_reaches_nothing() {
    let suite = Suite::start(Shape::Five).await;
    let admin = suite.administrator().await;
    let gateway = suite.channel();
    let methods = Api::methods();
    let mut calls = Vec::new();
    for method in &methods {
        // Who may do everything, and at the services who may ask for everything: only the path stands in the way.
        let bearer = ("authorization", format!("Bearer {}", admin.access_token));
        calls.push((method, gateway.clone(), vec![bearer.clone()]));
        let callee = owner(method);
        if let Some((_, process)) = PORTS.into_iter().find(|(service, _)| *service == callee) {
            let caller = policy(policies(), method).callers.first().copied();
            let identity = suite.identity(caller.unwrap_or(Service::Gateway)).token_for(callee);
            calls.push((method, suite.direct(process), vec![bearer, (SERVICE_HEADER, identity)]));
        }
    }
    assert!(calls.len() > 200, "only {} doors", calls.len());
    let findings: Vec<String> = stream::iter(&calls)
        .map(|(method, door, headers)| unknown(method, door, headers))
        .buffer_unordered(AT_ONCE)
        .concat()
        .await;
    assert!(findings.is_empty(), "{} findings: {findings:#?}", findings.len());
}

/// Every variant of the path must be no RPC; with a query it must be the RPC itself, which asks who calls.
async fn unknown(method: &Method, door: &Channel, headers: &[(&str, String)]) -> Vec<String> {
    let path = wire::path(method);
    let mut findings = Vec::new();
    for variant in variants(&path) {
        let status = wire::refusal(door, &variant, headers).await;
        findings.extend(wrong(status, Code::Unimplemented, ErrorReason::MethodUnknown).map(|wrong| variant + &wrong));
    }
    let asks = policy(policies(), method).authentication;
    if asks == Authentication::User && !is_internal(method) {
        let status = wire::refusal(door, &format!("{path}?x=1"), &[]).await;
        let wrong = wrong(status, Code::Unauthenticated, ErrorReason::TokenMissing);
        findings.extend(wrong.map(|wrong| format!("{path} with a query{wrong}")));
    }
    findings
}

fn wrong(status: Option<Status>, code: Code, reason: ErrorReason) -> Option<String> {
    let Some(status) = status else {
        return Some(": not refused".to_owned());
    };
    assert_contract(&status);
    let right = status.code() == code && reason_of(&status) == reason;
    (!right).then(|| format!(": {status:?}"))
}

/// What a policy that compares texts might take for another path, and a router for the same.
fn variants(path: &str) -> Vec<String> {
    let (service, method) = path.rsplit_once('/').expect("a service and a method");
    vec![
        format!("/{path}"),
        format!("{service}//{method}"),
        format!("{path}/"),
        format!("{path}/."),
        path.to_lowercase(),
        path.to_uppercase(),
        format!("{service}%2F{method}"),
        format!("{service}/%{:02X}{}", method.as_bytes()[0], &method[1..]),
        format!("/x/..{path}"),
        format!("/.{path}"),
        format!("{path};x"),
        format!("{path}%00"),
        format!("{path}%20"),
        format!("{path}/{method}"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_resembles_an_rpcs_reaches_nothing_in_json() {
    let suite = Suite::start(Shape::One).await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    let bearer = format!("Bearer {}", ada.access_token);
    let address = suite.gateway_address();
    let path = "/tidings.user.v1.UserService/GetCurrentUser";
    let headers = [("authorization", bearer.as_str())];
    for target in [
        path.to_owned(),
        format!("{path}?x=1"),
        format!("http://{address}{path}"),
    ] {
        let (status, answer) = wire::post(address, &target, &headers, "{}").await;
        assert_eq!(status, 200, "{target}: {answer}");
        let (status, _) = wire::post(address, &target, &[], "{}").await;
        assert_eq!(status, 401, "{target} by nobody");
    }
    let without_slash = path.trim_start_matches('/').to_owned();
    for target in variants(path).into_iter().chain([without_slash]) {
        let (status, answer) = wire::post(address, &target, &headers, "{}").await;
        assert!(
            matches!(status, 400 | 404 | 501) && !answer.contains(&ada.user_id),
            "{target}: {answer}"
        );
    }
}
