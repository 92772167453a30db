//! What somebody on the network between the services sees (A68).

use tidings_proto_chat::v1::CreateConversationRequest;
use tidings_testkit::{Actor, Authority, Process, Proxy, Shape, Suite, request_id};

/// In every text and secret of the play.
const CANARY: &str = "canary-3c1f";

const SERVICES: [Process; 4] = [Process::Auth, Process::User, Process::Chat, Process::Message];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_what_users_write_is_on_the_wire_between_services() {
    let mut suite = Suite::prepare(Shape::Five, &[]).await;
    suite.secure(&Authority::new());
    for (process, heard, sent) in overheard(suite).await {
        assert!(!sent.is_empty(), "nobody has called {process:?}");
        assert!(!heard, "the canary is on the wire to {process:?}");
    }
}

/// The same without TLS finds it, so that the test above would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_would_hear_it_in_plaintext() {
    let suite = Suite::prepare(Shape::Five, &[]).await;
    for (process, heard, _) in overheard(suite).await {
        assert!(heard, "the canary was never on the wire to {process:?}");
    }
}

/// Plays a little with a listener before each service, and says whether it heard the canary, and all that it heard.
async fn overheard(mut suite: Suite) -> Vec<(Process, bool, Vec<u8>)> {
    let mut listeners = Vec::new();
    for process in SERVICES {
        let proxy = Proxy::recording(suite.address_of(process)).await.expect("a port");
        suite.detour(process, proxy.address());
        listeners.push((process, proxy));
    }
    suite.begin().await;
    // Its password, its name and its profile go to auth and user, a title to chat, a text to message.
    let ada = Actor::register(&suite.channel(), CANARY).await;
    let bob = Actor::register(&suite.channel(), "bob").await;
    let create = CreateConversationRequest {
        user_ids: vec![bob.user_id.clone()],
        title: CANARY.to_owned(),
        request_id: request_id(),
        ..CreateConversationRequest::default()
    };
    let created = ada.chats().create_conversation(create).await.expect("creates a chat");
    let chat = created.into_inner().chat.expect("a chat");
    ada.send(&chat.chat_id, CANARY).await.expect("sends");
    assert_eq!(bob.list(&chat.chat_id).await.expect("lists")[0].text, CANARY);
    let hear = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    listeners
        .into_iter()
        .map(|(process, proxy)| {
            let bytes = proxy.recorded();
            (process, hear(&bytes), bytes)
        })
        .collect()
}
