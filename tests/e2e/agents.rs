//! Who looks through their login sessions sees what each client called itself, whichever protocol it spoke.

use serde_json::{Value, json};
use tidings_testkit::{Actor, Api, Shape, Suite};

use crate::protocols::{LOGIN, Protocol};

/// Longer than what is kept, and with what is no printable ASCII: a tab, and letters that a terminal would be turned around by.
fn browser(protocol: Protocol) -> Vec<u8> {
    let long = "x".repeat(1_000);
    format!("{protocol:?}-browser/1.0\t\u{202e}({long})").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_sessions_name_the_client_in_one_process() {
    play(Shape::One).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_sessions_name_the_client_in_five_processes() {
    play(Shape::Five).await;
}

async fn play(shape: Shape) {
    let suite = Suite::start(shape).await;
    let ada = Actor::register(&suite.channel(), "ada").await;
    let login = json!({ "identifier": ada.username, "password": ada.password, "deviceLabel": "agents" });
    for protocol in Protocol::ALL {
        let named = browser(protocol);
        // A client's own word of what services trust counts for nothing.
        let headers = [
            ("user-agent", named.as_slice()),
            ("x-tidings-agent", b"forged".as_slice()),
        ];
        let answer = protocol.call(&suite, LOGIN, &login, &headers).await;
        answer.unwrap_or_else(|refusal| panic!("{protocol:?}: {refusal}"));
    }
    let listed = Api::new(suite.channel())
        .json(
            "tidings.auth.v1.LoginSessionService.ListLoginSessions",
            json!({}),
            Some(&ada.access_token),
        )
        .await
        .expect("one's own login sessions");
    let sessions = listed["loginSessions"].as_array().expect("a list").clone();
    let agent = |session: &Value| session["userAgent"].as_str().unwrap_or_default().to_owned();
    for protocol in Protocol::ALL {
        let beginning = format!("{protocol:?}-browser/1.0(xxx");
        let found = sessions.iter().map(agent).find(|agent| agent.starts_with(&beginning));
        let found = found.unwrap_or_else(|| panic!("no {beginning} in {sessions:?}"));
        assert_eq!(found.len(), 256);
    }
    assert!(
        sessions.iter().map(agent).all(|agent| !agent.contains("forged")),
        "{sessions:?}"
    );
}
