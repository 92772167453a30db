use serde_json::json;
use tidings_authn::{Service, ServiceIdentity, SuiteSecret};
use tidings_ids::Source;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::Policy;
use tidings_testkit::{Api, Method, Suite};
use tonic::Code;

use super::{
    SERVICE_HEADER, call,
    claim::{Claim, bearer, encode, hmac},
    must_be, policy,
};

/// Only the services that a policy names reach an RPC between services, and only with a proof that is theirs.
pub async fn internal_rpcs(suite: &Suite, api: &Api, service: Service, methods: &[Method], valid: &str) -> Vec<String> {
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
