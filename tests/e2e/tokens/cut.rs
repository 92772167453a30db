//! Tokens at the edge of their time, and parts of tokens, at every door (`reliability.md` A30, A31, A36).

use futures_util::{StreamExt as _, stream};
use tidings_authn::Claims;
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::{Actor, Api, Forge, Method, Shape, Suite};
use tonic::Code;

use super::{AT_ONCE, SERVICES, call, claim::bearer, must_be, owner};

/// One RPC of each service that changes nothing, whoever calls.
const PROBES: [&str; 4] = [
    "auth.v1.LoginSessionService.ListLoginSessions",
    "user.v1.UserService.GetCurrentUser",
    "chat.v1.GroupService.ListGroups",
    "message.v1.SyncService.GetSyncState",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_for_its_time_and_as_a_whole() {
    let suite = Suite::start(Shape::Five).await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    let forge = Forge::set_up(&suite).await;
    let mut findings = Vec::new();
    for probe in PROBES {
        let method = Api::method(&format!("tidings.{probe}"));
        let (process, _) = SERVICES
            .into_iter()
            .find(|(_, service)| *service == owner(&method))
            .expect("every service has a port");
        for (door, api) in [
            ("the gateway", Api::new(suite.channel())),
            ("the service", Api::new(suite.direct(process))),
        ] {
            let wrong = edges(&api, &method, &forge, &ada).await;
            let wrong = wrong.into_iter().chain(parts(&api, &method, &ada.access_token).await);
            findings.extend(wrong.map(|wrong| format!("{probe} at {door}: {wrong}")));
        }
    }
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

/// `exp` has no leeway; `iat` and `nbf` have the five seconds that clocks may differ by (G22).
async fn edges(api: &Api, method: &Method, forge: &Forge, ada: &Actor) -> Vec<String> {
    let mut findings = Vec::new();
    let made = |change: fn(&mut Claims)| {
        let mut claims = forge.claims(ada);
        change(&mut claims);
        forge.sign(&claims)
    };
    for (what, token) in [
        ("a token as it is", made(|_| {})),
        (
            "a token of a clock that is ahead by three seconds",
            made(|claims| {
                claims.iat += 3;
                claims.nbf += 3;
            }),
        ),
        (
            "a token that has a minute left",
            made(|claims| {
                claims.iat -= 540;
                claims.nbf -= 540;
                claims.exp -= 540;
            }),
        ),
    ] {
        let outcome = call(api, method, &[bearer(&token)]).await;
        findings.extend(outcome.err().map(|status| format!("{what} is refused: {status:?}")));
    }
    let (expired, invalid) = (ErrorReason::TokenExpired, ErrorReason::TokenInvalid);
    for (what, token, reason) in [
        ("a token that ended a second ago", forge.expired(ada), expired),
        (
            "a token that ends now",
            made(|claims| {
                claims.iat -= 600;
                claims.nbf -= 600;
                claims.exp -= 600;
            }),
            expired,
        ),
        (
            "a token that begins in ten seconds",
            made(|claims| claims.nbf += 10),
            invalid,
        ),
        (
            "a token that was issued in ten seconds",
            made(|claims| claims.iat += 10),
            invalid,
        ),
        (
            "a token that lives for a second too long",
            made(|claims| claims.exp += 1),
            invalid,
        ),
        (
            "a token that ends as it is issued",
            made(|claims| claims.exp = claims.iat),
            invalid,
        ),
        (
            "a token that ends before it is issued",
            made(|claims| claims.exp = claims.iat - 1),
            invalid,
        ),
    ] {
        let outcome = call(api, method, &[bearer(&token)]).await;
        let wrong = must_be(&outcome, Code::Unauthenticated, reason);
        findings.extend(wrong.map(|wrong| format!("{what}: {wrong}")));
    }
    findings
}

/// The token cut off at its ends, in its parts and around them, and with a letter changed.
async fn parts(api: &Api, method: &Method, token: &str) -> Vec<String> {
    let dots: Vec<usize> = token.match_indices('.').map(|(at, _)| at).collect();
    let near = |at: usize| {
        at < 4 || at + 90 > token.len() || at.is_multiple_of(16) || dots.iter().any(|dot| at.abs_diff(*dot) < 3)
    };
    let cut: Vec<String> = (1..token.len())
        .filter(|at| near(*at))
        .flat_map(|at| {
            let changed = if token.as_bytes()[at] == b'A' { 'B' } else { 'A' };
            [
                token[..at].to_owned(),
                token[at..].to_owned(),
                format!("{}{}", &token[..at], &token[at + 1..]),
                format!("{}{changed}{}", &token[..at], &token[at + 1..]),
            ]
        })
        .collect();
    let calls = stream::iter(&cut).map(|cut| async move {
        let outcome = call(api, method, &[bearer(cut)]).await;
        let wrong = must_be(&outcome, Code::Unauthenticated, ErrorReason::TokenInvalid)?;
        Some(format!("{cut}: {wrong}"))
    });
    calls
        .buffer_unordered(AT_ONCE)
        .filter_map(|finding| async { finding })
        .collect()
        .await
}
