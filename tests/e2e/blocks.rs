//! A block of one user by another reaches the chats of both: by user's feed to chat, and from chat to the transaction of a send.

use std::time::Duration;

use tidings_proto_chat::v1::{CreateConversationRequest, OpenDirectChatRequest};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_user::v1::{BlockUserRequest, UnblockUserRequest};
use tidings_testkit::{Actor, Process, Shape, Suite, reason_of, request_id, until};
use tonic::Status;

/// Nothing here takes longer on a machine that also compiles; by itself a block acts within a second.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_acts_in_one_process() {
    play(&Suite::start(Shape::One).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_acts_in_five_processes_and_outlives_them() {
    let mut suite = Suite::start(Shape::Five).await;
    play(&suite).await;

    let [ada, bob] = ["ada", "bob"].map(|name| (name, suite.channel()));
    let (ada, bob) = (
        Actor::register(&ada.1, ada.0).await,
        Actor::register(&bob.1, bob.0).await,
    );
    let chat_id = ada.direct_chat(&bob).await.chat_id;
    suite.kill(Process::Chat).await;
    block(&ada, &bob).await;
    bob.send(&chat_id, "nobody has heard of it yet").await.expect("sent");
    suite.spawn(Process::Chat);
    suite.serving().await;
    until("the block", SOON, async || refused(bob.send(&chat_id, "hello").await)).await;
}

async fn play(suite: &Suite) {
    let channel = suite.channel();
    let ada = Actor::register(&channel, "ada").await;
    let bob = Actor::register(&channel, "bob").await;
    let carol = Actor::register(&channel, "carol").await;
    let chat_id = ada.direct_chat(&bob).await.chat_id;
    ada.send(&chat_id, "before").await.expect("sent");

    block(&bob, &ada).await;
    block(&bob, &carol).await;
    until("the block", SOON, async || refused(ada.send(&chat_id, "hello").await)).await;
    assert!(refused(bob.send(&chat_id, "hello").await), "nor the other way");
    let before = bob.list(&chat_id).await.expect("still read");
    assert!(before.iter().any(|message| message.text == "before"));

    until("the block of who has no chat yet", SOON, async || {
        let open = OpenDirectChatRequest {
            user_id: bob.user_id.clone(),
        };
        refused(carol.chats().open_direct_chat(open).await)
    })
    .await;
    let converse = CreateConversationRequest {
        user_ids: vec![carol.user_id.clone(), bob.user_id.clone()],
        request_id: request_id(),
        ..CreateConversationRequest::default()
    };
    assert!(refused(ada.chats().create_conversation(converse).await));
    ada.conversation(&[&carol]).await;

    let unblock = UnblockUserRequest {
        user_id: ada.user_id.clone(),
        request_id: request_id(),
    };
    bob.blocks().unblock_user(unblock).await.expect("unblocked");
    until("the end of the block", SOON, async || {
        ada.send(&chat_id, "again").await.is_ok()
    })
    .await;
}

async fn block(blocker: &Actor, blocked: &Actor) {
    let request = BlockUserRequest {
        user_id: blocked.user_id.clone(),
        request_id: request_id(),
    };
    blocker.blocks().block_user(request).await.expect("blocked");
}

/// Whether the call was refused because of a block.
fn refused<T>(outcome: Result<T, Status>) -> bool {
    outcome.is_err_and(|status| {
        assert_eq!(reason_of(&status), ErrorReason::Blocked, "{status:?}");
        true
    })
}
