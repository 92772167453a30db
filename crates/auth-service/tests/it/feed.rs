//! `WatchRevocations` and `ListSigningKeys`, by which others verify tokens.

use std::time::Duration;

use tidings_authn::Service;
use tidings_proto_auth::v1::{
    ListSigningKeysRequest, WatchRevocationsRequest, WatchRevocationsResponse, auth_service_client::AuthServiceClient,
    watch_revocations_response::Frame,
};
use tonic::{Status, Streaming};

use crate::world::{World, reason, refusal};

impl World {
    async fn watch(&self, after_number: i64) -> Result<Streaming<WatchRevocationsResponse>, Status> {
        let mut client = AuthServiceClient::new(self.peer(Service::Message));
        Ok(client
            .watch_revocations(WatchRevocationsRequest { after_number })
            .await?
            .into_inner())
    }

    /// Makes the entries of the feed older, as if they had been there for longer.
    async fn age_revocations(&self, by: &'static str) {
        let sql = format!("update auth.revocations set revoke_time = revoke_time - interval '{by}'");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&self.pool)
            .await
            .expect("updated");
    }

    /// Ends so many login sessions of a user who is there.
    async fn end_sessions(&self, count: usize) -> Vec<String> {
        let mut ended = Vec::new();
        for _ in 0..count {
            let issued = self.login("ada").await.expect("logged in");
            self.logout(&issued.access_token).await.expect("logged out");
            ended.push(issued.login_session_id);
        }
        ended
    }
}

/// The next frame. One comes at least every second, on a machine that has time for it.
async fn next(stream: &mut Streaming<WatchRevocationsResponse>) -> Result<Option<Frame>, Status> {
    let frame = tokio::time::timeout(Duration::from_secs(30), stream.message())
        .await
        .expect("a feed is never silent for so long");
    Ok(frame?.and_then(|frame| frame.frame))
}

/// The next entries: their numbers and login sessions.
async fn entries(stream: &mut Streaming<WatchRevocationsResponse>, count: usize) -> Vec<(i64, String)> {
    let mut entries = Vec::new();
    while entries.len() < count {
        if let Some(Frame::Revocations(batch)) = next(stream).await.expect("no error") {
            entries.extend(
                batch
                    .revocations
                    .into_iter()
                    .map(|entry| (entry.number, entry.login_session_id)),
            );
        }
    }
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_what_it_lacks_then_lives() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let ended = world.end_sessions(3).await;
    let mut stream = world.watch(0).await.expect("opened");
    let first = next(&mut stream).await.expect("a frame").expect("a frame");
    assert!(
        matches!(first, Frame::Heartbeat(beat) if beat.head_number == 3 && beat.sent_number == 0),
        "{first:?}"
    );
    let numbered: Vec<_> = (1..).zip(ended.iter().cloned()).collect();
    assert_eq!(entries(&mut stream, 3).await, numbered);

    let mut resumed = world.watch(2).await.expect("opened");
    assert_eq!(entries(&mut resumed, 1).await, numbered[2..]);
    let live = world.end_sessions(1).await;
    for stream in [&mut stream, &mut resumed] {
        assert_eq!(entries(stream, 1).await, [(4, live[0].clone())]);
        assert!(
            matches!(next(stream).await, Ok(Some(Frame::Heartbeat(beat))) if beat.head_number == 4 && beat.sent_number == 4)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_reader_begins_half_an_hour_ago_by_the_databases_clock() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    world.end_sessions(2).await;
    world.age_revocations("29 minutes").await;
    let mut all = world.watch(0).await.expect("opened");
    assert_eq!(entries(&mut all, 2).await.len(), 2);
    world.age_revocations("2 minutes").await;
    // Whatever a node takes the time for.
    world.source.advance(Duration::from_secs(3_600));
    let recent = world.end_sessions(1).await;
    let mut stream = world.watch(0).await.expect("opened");
    let first = next(&mut stream).await.expect("a frame");
    assert!(
        matches!(first, Some(Frame::Heartbeat(beat)) if beat.head_number == 3 && beat.sent_number == 2),
        "{first:?}"
    );
    assert_eq!(entries(&mut stream, 1).await, [(3, recent[0].clone())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_feed_does_not_have_is_told() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    world.end_sessions(2).await;
    assert_eq!(refusal(world.watch(3).await), "CURSOR_INVALID");
    assert_eq!(refusal(world.watch(-1).await), "FIELD_INVALID");
    world.age_revocations("2 hours").await;
    world.end_sessions(1).await;
    world.service.upkeep_once().await.expect("purged");
    assert_eq!(refusal(world.watch(1).await), "CURSOR_EXPIRED");
    world.watch(2).await.expect("the next is kept");
    world.age_revocations("2 hours").await;
    world.service.upkeep_once().await.expect("purged");
    assert_eq!(refusal(world.watch(2).await), "CURSOR_EXPIRED");
    world.watch(3).await.expect("nothing is missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_services_of_the_suite_may_watch() {
    let world = World::open().await;
    world.register("ada").await.expect("registered");
    let issued = world.login("ada").await.expect("logged in");
    let stranger = tidings_authn::SuiteSecret::new("another-0c9f6ad2b1e84e7fa3d5c7b09d1e2f34").expect("long enough");
    let identity = tidings_authn::ServiceIdentity::new(Service::Chat, &stranger, world.source.clone());
    let slot = tidings_rpc::Slot::new();
    slot.fill(world.service.stack.clone());
    let peer = tidings_rpc::Peer::local(Service::Auth, slot, std::sync::Arc::new(identity));
    let request = crate::world::bearing(WatchRevocationsRequest { after_number: 0 }, &issued.access_token);
    let refused = AuthServiceClient::new(peer)
        .watch_revocations(request)
        .await
        .map(|_| ());
    assert_eq!(refusal(refused), "TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_process() {
    let world = World::open().await;
    let mut stream = world.watch(0).await.expect("opened");
    next(&mut stream).await.expect("a heartbeat");
    world.drain.begin();
    loop {
        match next(&mut stream).await {
            Ok(frame) => assert!(frame.is_some(), "it says why it ends"),
            Err(status) => {
                assert_eq!(reason(&status), "DRAINING");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_start_at_once_sign_with_one_key() {
    let world = World::open().await;
    let nodes = futures_util::future::join_all((0..3).map(|_| world.second_node())).await;
    let mut keys = Vec::new();
    for node in nodes.iter().chain([&world]) {
        keys.push(
            node.auth()
                .list_signing_keys(ListSigningKeysRequest {})
                .await
                .expect("listed")
                .into_inner()
                .keys,
        );
    }
    assert_eq!(
        (
            keys[0].len(),
            keys[0][0].algorithm.as_str(),
            keys[0][0].public_key.len()
        ),
        (1, "EdDSA", 32)
    );
    keys.dedup();
    assert_eq!(keys.len(), 1);
}
