//! Where a token says that its key is, nobody looks (A28).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::{Actor, Api, Forge, Process, Shape, Suite, until};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use super::{
    SERVICES, SOON, call,
    claim::{Claim, encode, hmac, invalid, sign, with},
    must_be,
};

/// A port on this machine, and how often somebody has connected to it.
struct Lure {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Lure {
    async fn set_up() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_is_fetched_from_where_a_token_says() {
    let mut suite = Suite::start(Shape::Five).await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    let forge = Forge::set_up(&suite).await;
    let lure = Lure::set_up().await;
    let url = format!("http://{}", lure.address);
    let claims = luring(&forge, &ada, &url);
    let mut ways = vec![("the gateway", suite.channel(), "user.v1.UserService.GetCurrentUser")];
    for (process, _) in SERVICES {
        let rpc = match process {
            Process::Auth => "auth.v1.LoginSessionService.ListLoginSessions",
            Process::User => "user.v1.UserService.GetCurrentUser",
            Process::Chat => "chat.v1.ChatService.ListChats",
            _ => "message.v1.SyncService.GetSyncState",
        };
        ways.push((process.name(), suite.direct(process), rpc));
    }
    for (way, channel, rpc) in ways {
        let api = Api::new(channel);
        let method = Api::method(&format!("tidings.{rpc}"));
        for claim in &claims {
            let outcome = call(&api, &method, &claim.headers).await;
            let wrong = must_be(&outcome, Code::Unauthenticated, claim.reason);
            assert_eq!(wrong, None, "{way} with {}", claim.what);
        }
    }
    // Nor are those of an issuer that nobody has named.
    let api = Api::new(suite.channel());
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "1", "jku": format!("{url}/jwks") });
    let body = json!({ "iss": url, "aud": "tidings", "sub": "ada", "iat": 1, "exp": 4_102_444_800_u32 });
    let token = hmac(&format!("{}.{}", encode(&header), encode(&body)), b"anything");
    let exchange = api
        .json(
            "tidings.auth.v1.AuthService.ExchangeExternalToken",
            json!({ "idToken": token }),
            None,
        )
        .await;
    exchange.expect_err("a token of nobody's issuer");

    // Once they have all ended, nothing comes any more that was begun for later.
    for process in Process::of(Shape::Five) {
        suite.terminate(*process).await;
    }
    // Whoever connects is counted, and nobody has before.
    TcpStream::connect(lure.address).await.expect("somebody listens");
    until("the one connection is counted", SOON, || async {
        lure.connections() > 0
    })
    .await;
    assert_eq!(lure.connections(), 1, "a key was fetched");
}

/// Tokens that say where their key is: signed with the right one, and with one that might be there.
fn luring(forge: &Forge, ada: &Actor, url: &str) -> Vec<Claim> {
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": forge.key_id() });
    let body = serde_json::to_value(forge.claims(ada)).expect("claims are JSON");
    let mut claims = Vec::new();
    for (name, value) in [
        ("jku", json!(format!("{url}/jwks"))),
        ("x5u", json!(format!("{url}/certificate"))),
        ("kid", json!(format!("{url}/key"))),
        ("iss", json!(url)),
        (
            "jwk",
            json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "x5u": format!("{url}/certificate") }),
        ),
        ("crit", json!(["jku"])),
    ] {
        let header = with(&header, name, value);
        let what = |key| format!("{name} and {key}");
        let token = sign(forge, &header, &body);
        claims.push(invalid(&what("the right key"), token, ErrorReason::TokenInvalid));
        let token = sign(&forge.impostor(), &header, &body);
        claims.push(invalid(&what("another key"), token, ErrorReason::TokenInvalid));
    }
    let elsewhere = sign(&forge.impostor(), &header, &with(&body, "iss", json!(url)));
    claims.push(invalid(
        "an issuer that is elsewhere",
        elsewhere,
        ErrorReason::TokenInvalid,
    ));
    claims
}
