//! Whatever a caller says of hosts, the links in mails begin with the configured URL (A38).

use std::time::Duration;

use serde_json::json;
use tidings_proto_auth::v1::{
    RequestEmailVerificationRequest, RequestPasswordResetRequest, credential_service_client::CredentialServiceClient,
};
use tidings_testkit::{Actor, Process, Shape, Suite, mail, request_id, until_some};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use super::wire;

/// Nothing here takes longer on a machine that also compiles.
const SOON: Duration = Duration::from_secs(60);

/// Where links lead, by the configuration.
const PUBLIC: &str = "https://chat.of-the-deployment.org/app";

/// Whose links the attacker would like to be in the mail.
const EVIL: &str = "evil.example.net";

/// All that products of the field have made links from.
const HEADERS: [(&str, &str); 12] = [
    ("x-forwarded-host", EVIL),
    ("x-forwarded-server", EVIL),
    ("x-forwarded-proto", "evil-example-net"),
    ("x-forwarded-port", "6666"),
    ("x-forwarded-prefix", "/evil.example.net"),
    ("forwarded", "for=192.0.2.1;host=evil.example.net;proto=http"),
    ("x-original-host", EVIL),
    ("x-host", EVIL),
    ("x-original-url", "https://evil.example.net/"),
    ("x-rewrite-url", "https://evil.example.net/"),
    ("origin", "https://evil.example.net"),
    ("referer", "https://evil.example.net/"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_in_mails_lead_where_the_configuration_says_whatever_a_caller_says() {
    // A page may call from anywhere here, so that the header `origin` itself is no reason to refuse.
    let settings = [
        ("TIDINGS_PUBLIC_URL", PUBLIC),
        ("TIDINGS_CORS", "https://evil.example.net"),
    ];
    let suite = Suite::start_with(Shape::Five, &settings).await;
    for method in ["RequestPasswordReset", "RequestEmailVerification"] {
        by_json(&suite, method).await;
        for door in [suite.gateway_address(), suite.address_of(Process::Auth)] {
            by_grpc(&suite, &evil_channel(&door.to_string()), method).await;
        }
    }
}

/// Over HTTP/1.1, where the host is a header.
async fn by_json(suite: &Suite, method: &str) {
    let user = Actor::register(&suite.channel(), "json").await;
    let target = format!("/tidings.auth.v1.CredentialService/{method}");
    let body = json!({ "email": user.email, "requestId": request_id() }).to_string();
    let headers: Vec<(&str, &str)> = HEADERS.into_iter().chain([("host", EVIL)]).collect();
    let (status, answer) = wire::post(suite.gateway_address(), &target, &headers, &body).await;
    assert_eq!(status, 200, "{answer}");
    judge(suite, &user, method).await;
}

/// Over HTTP/2, where it is the authority.
async fn by_grpc(suite: &Suite, channel: &Channel, method: &str) {
    let user = Actor::register(&suite.channel(), "grpc").await;
    let mut client = CredentialServiceClient::new(channel.clone());
    let (email, request_id) = (user.email.clone(), request_id());
    if method == "RequestPasswordReset" {
        let ask = with_headers(RequestPasswordResetRequest { email, request_id });
        client.request_password_reset(ask).await.expect("asks");
    } else {
        let ask = with_headers(RequestEmailVerificationRequest { email, request_id });
        client.request_email_verification(ask).await.expect("asks");
    }
    judge(suite, &user, method).await;
}

/// The user's mail has a link, and nothing of what the caller said.
async fn judge(suite: &Suite, user: &Actor, method: &str) {
    let text = until_some("a mail with a link", SOON, || async {
        let mails = mail::to(&suite.mail_folder(), &user.email);
        mails.into_iter().find(|text| text.contains("token="))
    });
    let text = text.await;
    assert!(!text.contains("evil"), "{method}: {text}");
    let links: Vec<&str> = text
        .split_whitespace()
        .filter(|word| word.contains("://") || word.contains("token="))
        .collect();
    assert!(
        !links.is_empty() && links.iter().all(|link| link.starts_with(PUBLIC)),
        "{method}: {links:?}"
    );
}

/// A channel whose every request names the evil host as its authority.
fn evil_channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address makes a URL");
    let origin = format!("http://{EVIL}").parse().expect("a URL");
    endpoint.origin(origin).connect_lazy()
}

fn with_headers<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in HEADERS {
        let value = value.parse().expect("the value of a header");
        request.metadata_mut().insert(name, value);
    }
    request
}
