//! SIGTERM while peers are silent, half-spoken, stalled or waiting for an answer (`reliability.md` F52, F54, G36).
//!
//! In each case the process ends by itself, with exit code 0, within 20 s; what is in hand is answered, and who listens is told.

mod peers;

use std::{
    net::SocketAddr,
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::Connection as _;
use tidings_db::{Pool, Settings, connect_dedicated};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{Message, StreamChangesResponse, stream_changes_response::Frame};
use tidings_testkit::{Actor, Process, Shape, Suite, reason_of, until};
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::{Code, Status, Streaming, transport::Channel};

use self::peers::{Peers, stall, stall_plainly};
use crate::{
    dev::Dev,
    hold::{Hold, somebody_waits},
};

/// `reliability.md` G36.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Who listens is told at once, or at the latest when the process ends.
const NOTICE_LIMIT: Duration = STOP_LIMIT;

/// A service that has waited for a lock for 2 s gives its transaction up; so long is nothing held here, unless the machine stands still.
const LOCK_WAIT: Duration = Duration::from_millis(1_500);

/// A process that was started has come to what it waits for.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The longest text, in code points, each of the four bytes that one can have.
const LONG_TEXT: usize = 8_000;

/// So many of them are more than the kernel's buffers of a connection hold (4 MiB and some).
const LONG_TEXTS: usize = 200;

/// Long texts that are sent at once.
const AT_ONCE: usize = 8;

/// Two users, a chat with much to read in it, and a database to hold up calls in.
struct Scene {
    ada: Actor,
    bob: Actor,
    chat_id: String,
    settings: Settings,
    pool: Pool,
}

impl Scene {
    async fn set(channel: &Channel, settings: Settings, pool: Pool) -> Self {
        let ada = Actor::register(channel, "ada").await;
        let bob = Actor::register(channel, "bob").await;
        let chat_id = ada.direct_chat(&bob).await.chat_id;
        let text = "\u{1F4DC}".repeat(LONG_TEXT);
        let sends = stream::iter(0..LONG_TEXTS).map(|_| ada.send(&chat_id, &text));
        let sent: Result<Vec<Message>, Status> = sends.buffer_unordered(AT_ONCE).try_collect().await;
        sent.expect("sends long texts");
        Self {
            ada,
            bob,
            chat_id,
            settings,
            pool,
        }
    }

    /// The port's clients stand in each other's way: silent, half-spoken, stalled, listening, and one whose call is in hand. What
    /// `stop` ends must end well, tell the listener so that `told` finds it, and answer the call.
    async fn play(
        &self,
        address: SocketAddr,
        channel: &Channel,
        told: impl AsyncFnOnce(&mut Streaming<StreamChangesResponse>),
        stop: impl Future<Output = (ExitStatus, Duration)>,
    ) {
        let _peers = Peers::sit_down(address).await;
        let _stalled = stall(address, &self.ada, &self.chat_id).await;
        let (ada, bob) = (self.ada.through(channel), self.bob.through(channel));
        let mut listening = ada.listen().await.expect("opens a stream");
        opened(&mut listening).await;
        let begun = Instant::now();
        let (hold, call) = self.call_in_hand(bob).await;
        let finish = async {
            until("the port is closed", NOTICE_LIMIT, || async {
                TcpStream::connect(address).await.is_err()
            })
            .await;
            hold.release().await;
            let held = begun.elapsed();
            match call.await.expect("the call does not panic") {
                // It is answered all the same, with what anybody hears who has waited for too long.
                Err(status) if held >= LOCK_WAIT => assert_eq!(reason_of(&status), ErrorReason::Conflict),
                answer => drop(answer.expect("the call in hand is answered")),
            }
            told(&mut listening).await;
        };
        let ((status, took), ()) = tokio::join!(stop, finish);
        assert_ended_well(status, took);
    }

    /// A send that waits inside of the database.
    async fn call_in_hand(&self, sender: Actor) -> (Hold, JoinHandle<Result<Message, Status>>) {
        let hold = Hold::take(&self.settings, &["messages.messages".to_owned()]).await;
        let chat_id = self.chat_id.clone();
        let call = tokio::spawn(async move { sender.send(&chat_id, "in hand").await });
        somebody_waits(&self.pool).await;
        (hold, call)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_stops_in_time_whatever_its_peers_do() {
    let mut suite = Suite::start(Shape::One).await;
    let (address, channel) = (suite.gateway_address(), suite.channel());
    let scene = Scene::set(&channel, suite.database().settings(), suite.database().pool()).await;
    let _stalled = stall_plainly(address, &scene.bob, &scene.chat_id).await;
    scene
        .play(address, &channel, closing, suite.terminate(Process::All))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_five_processes_stops_in_time_whatever_its_peers_do() {
    let mut suite = Suite::start(Shape::Five).await;
    let (address, channel) = (suite.gateway_address(), suite.channel());
    let scene = Scene::set(&channel, suite.database().settings(), suite.database().pool()).await;

    // The gateway knows no frames: it ends the stream with the status.
    let stalled = stall_plainly(address, &scene.bob, &scene.chat_id).await;
    scene
        .play(address, &channel, draining, suite.terminate(Process::Gateway))
        .await;
    drop(stalled);

    let (address, channel) = (suite.address_of(Process::Message), suite.direct(Process::Message));
    scene
        .play(address, &channel, closing, suite.terminate(Process::Message))
        .await;

    for process in [Process::Chat, Process::Auth, Process::User] {
        let _peers = Peers::sit_down(suite.address_of(process)).await;
        let (status, took) = suite.terminate(process).await;
        assert_ended_well(status, took);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_stops_in_time_with_its_postgres() {
    let mut dev = Dev::prepare();
    dev.spawn();
    dev.serving().await;
    let (address, channel, pool) = (dev.address(), dev.channel(), dev.pool());
    let scene = Scene::set(&channel, dev.settings(), pool.clone()).await;
    let _stalled = stall_plainly(address, &scene.bob, &scene.chat_id).await;
    assert!(
        !dev.postgres().is_empty(),
        "its Postgres is looked for in the wrong place"
    );
    scene.play(address, &channel, closing, dev.terminate()).await;
    assert_eq!(dev.postgres(), [], "its Postgres is gone with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_stops_while_it_makes_its_first_database() {
    let mut dev = Dev::prepare();
    dev.spawn();
    until("the database is begun", START_LIMIT, || async {
        begun(&dev.data()) > 0
    })
    .await;
    let (status, took) = dev.terminate().await;
    assert_ended_well(status, took);
    assert_eq!(dev.postgres(), [], "its Postgres is gone with it");

    // What it leaves can be begun with again.
    dev.spawn();
    dev.serving().await;
    let (status, took) = dev.terminate().await;
    assert_ended_well(status, took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stops_while_it_waits_for_another_that_migrates() {
    let mut suite = Suite::prepare(Shape::One, &[]).await;
    let settings = suite.database().settings();
    let mut migrating = connect_dedicated(&settings, &[]).await.expect("a connection");
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(tidings_db::migrate::LOCK_KEY);
    lock.execute(&mut migrating).await.expect("nobody migrates yet");
    suite.spawn(Process::All);
    let pool = suite.database().pool();
    until("the process waits", START_LIMIT, || async {
        let asks = "select exists (select from pg_stat_activity where datname = current_database() \
                    and query like '%pg_try_advisory_lock%' and pid <> pg_backend_pid())";
        sqlx::query_scalar(asks)
            .fetch_one(&pool)
            .await
            .expect("the activity can be read")
    })
    .await;
    let (status, took) = suite.terminate(Process::All).await;
    assert_ended_well(status, took);
    migrating.close().await.expect("the connection is whole");

    // It had not begun, and has taken no lock with it.
    suite.migrate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stops_while_it_waits_for_its_database() {
    let nowhere = [("TIDINGS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")];
    let mut suite = Suite::prepare(Shape::Five, &nowhere).await;
    for process in [Process::User, Process::Message] {
        suite.spawn(process);
        let address = suite.address_of(process);
        until("the process listens", START_LIMIT, || async {
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        let (status, took) = suite.terminate(process).await;
        assert_ended_well(status, took);
    }
}

fn assert_ended_well(status: ExitStatus, took: Duration) {
    assert_eq!(status.code(), Some(0), "it ended with {status} after {took:?}");
    assert!(took <= STOP_LIMIT, "it took {took:?}");
}

async fn opened(stream: &mut Streaming<StreamChangesResponse>) {
    let first = stream
        .message()
        .await
        .expect("the stream is whole")
        .and_then(|response| response.frame);
    assert!(matches!(first, Some(Frame::Opened(_))), "{first:?}");
}

/// The stream says that it closes, and why, and then ends with that status.
async fn closing(stream: &mut Streaming<StreamChangesResponse>) {
    let (last, status) = end_of(stream).await;
    let Some(Frame::Closing(closing)) = last else {
        panic!("the last frame is {last:?}, before {status:?}");
    };
    assert_eq!(closing.reason(), ErrorReason::Draining);
    assert_draining(&status);
}

/// The stream ends with the status of a process that stops.
async fn draining(stream: &mut Streaming<StreamChangesResponse>) {
    let (_, status) = end_of(stream).await;
    assert_draining(&status);
}

fn assert_draining(status: &Status) {
    assert_eq!(
        (status.code(), reason_of(status)),
        (Code::Unavailable, ErrorReason::Draining)
    );
}

/// The last frame of a stream, and its status.
async fn end_of(stream: &mut Streaming<StreamChangesResponse>) -> (Option<Frame>, Status) {
    let end = async {
        let mut last = None;
        loop {
            match stream.message().await {
                Ok(Some(response)) => last = response.frame,
                Ok(None) => panic!("the stream ends with OK after {last:?}"),
                Err(status) => return (last, status),
            }
        }
    };
    tokio::time::timeout(NOTICE_LIMIT, end).await.expect("the stream ends")
}

/// How many things are in a folder.
fn begun(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
