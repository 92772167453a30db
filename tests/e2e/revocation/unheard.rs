//! A process whose feeds are older than ten seconds refuses rather than trusts.

use std::time::Duration;

use tidings_authn::Revocations;
use tidings_proto_auth::v1::LogoutRequest;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::StreamChangesResponse;
use tidings_testkit::{Actor, Process, Proxy, Shape, Suite, reason_of, until};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::SOON;

/// Within ten seconds, and some for a machine that also compiles.
const REFUSAL_LIMIT: Duration = Revocations::TRUSTED_FOR.saturating_add(Duration::from_secs(30));

/// A suite in which auth and user can be cut off from the others.
struct Partitioned {
    suite: Suite,
    auth: Proxy,
    user: Proxy,
}

impl Partitioned {
    async fn start() -> Self {
        let mut suite = Suite::prepare(Shape::Five, &[]).await;
        let auth = Proxy::to(suite.address_of(Process::Auth)).await.expect("a port");
        let user = Proxy::to(suite.address_of(Process::User)).await.expect("a port");
        suite.detour(Process::Auth, auth.address());
        suite.detour(Process::User, user.address());
        suite.begin().await;
        Self { suite, auth, user }
    }
}

/// Somebody at the message process, with a stream that is open.
struct Guest {
    actor: Actor,
    chat_id: String,
    stream: Streaming<StreamChangesResponse>,
}

impl Guest {
    async fn welcome(suite: &Suite, name: &str) -> Self {
        let actor = Actor::register(&suite.channel(), name).await;
        let friend = Actor::register(&suite.channel(), "friend").await;
        let chat_id = actor.direct_chat(&friend).await.chat_id;
        let actor = actor.through(&suite.direct(Process::Message));
        until("the message process trusts", SOON, || async {
            actor.list(&chat_id).await.is_ok()
        })
        .await;
        let stream = actor.listen().await.expect("opens a stream");
        Self { actor, chat_id, stream }
    }

    async fn call(&self) -> Result<(), Status> {
        self.actor.list(&self.chat_id).await.map(drop)
    }

    /// Waits until calls are refused, with this and nothing else.
    async fn until_refused(&self, reason: ErrorReason) {
        until("calls are refused", REFUSAL_LIMIT, || async {
            match self.call().await {
                Ok(()) => false,
                Err(status) => {
                    assert_eq!(reason_of(&status), reason, "{status:?}");
                    true
                }
            }
        })
        .await;
    }

    /// Waits until the stream ends, and returns why.
    async fn until_closed(&mut self) -> ErrorReason {
        let closed = async {
            loop {
                match self.stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("a stream ends with a reason"),
                    Err(status) => return reason_of(&status),
                }
            }
        };
        timeout(REFUSAL_LIMIT, closed).await.expect("the stream is closed")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_cut_off_from_auth_refuses_and_trusts_again_when_it_hears() {
    let Partitioned {
        suite,
        auth,
        user: _user,
    } = Partitioned::start().await;
    let (mut staying, mut leaving) = (
        Guest::welcome(&suite, "stays").await,
        Guest::welcome(&suite, "leaves").await,
    );
    auth.cut();
    staying.call().await.expect("what was heard is good for ten seconds");
    // The revocation that the process does not hear of.
    let mut at_auth = leaving.actor.through(&suite.direct(Process::Auth)).auth();
    at_auth.logout(LogoutRequest {}).await.expect("logs out");

    leaving.until_refused(ErrorReason::DependencyUnavailable).await;
    staying.until_refused(ErrorReason::DependencyUnavailable).await;
    assert_eq!(staying.until_closed().await, ErrorReason::DependencyUnavailable);
    assert_eq!(leaving.until_closed().await, ErrorReason::DependencyUnavailable);
    let opened = staying.actor.listen().await.expect_err("no stream is opened either");
    assert_eq!(reason_of(&opened), ErrorReason::DependencyUnavailable);

    auth.mend();
    until("the process trusts again", SOON, || async {
        let left = leaving
            .call()
            .await
            .expect_err("nobody who has logged out is trusted on the way back");
        let reason = reason_of(&left);
        assert!(
            matches!(
                reason,
                ErrorReason::DependencyUnavailable | ErrorReason::LoginSessionRevoked
            ),
            "{left:?}"
        );
        staying.call().await.is_ok()
    })
    .await;
    let left = leaving.call().await.expect_err("has logged out");
    assert_eq!(reason_of(&left), ErrorReason::LoginSessionRevoked);
    staying.actor.listen().await.expect("streams are opened again");
}

/// The same for the feed of users' states, over a link on which nothing passes any more: nobody is told that it is broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_to_which_nothing_comes_from_user_refuses_and_trusts_again_when_it_hears() {
    let Partitioned {
        suite,
        auth: _auth,
        user,
    } = Partitioned::start().await;
    let mut guest = Guest::welcome(&suite, "guest").await;
    user.silence();
    guest.call().await.expect("what was heard is good for ten seconds");
    guest.until_refused(ErrorReason::DependencyUnavailable).await;
    assert_eq!(guest.until_closed().await, ErrorReason::DependencyUnavailable);

    user.mend();
    until("the process trusts again", SOON, || async {
        guest.call().await.is_ok()
    })
    .await;
    guest.actor.listen().await.expect("streams are opened again");
}
