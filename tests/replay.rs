//! Two logs of real conversation through the public API and back, and the same again.

use std::{
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use tidings_db::Pool;
use tidings_testkit::{Shape, Suite, built};
use tokio::process::Command;

/// Real conversation, which is no part of the project: where it is not at hand, some is made.
const CONVERSATION: &str = "../shared/data/ubuntu-irc/messages.jsonl.gz";

/// Logs that are played.
const LOGS: &str = "2";

/// A thousand messages a log and a hundred people, each with two password hashes.
const LIMIT: Duration = Duration::from_secs(600);

/// What a replay stores. Logins come on top, each time anew.
const TABLES: [&str; 9] = [
    "auth.accounts",
    "users.users",
    "chats.groups",
    "chats.members",
    "chats.chats",
    "messages.chats",
    "messages.members",
    "messages.messages",
    "messages.changes",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_logs_come_back_as_they_were_sent_and_a_repetition_stores_nothing() {
    let suite = Suite::start(Shape::One).await;
    let conversation = conversation(suite.folder()).await;
    let pool = suite.database().pool();

    let first = replay(&suite, &conversation).await;
    assert!(first.contains("everything was sent for the first time"), "{first}");
    let stored = stored(&pool).await;
    assert!(stored.iter().all(|(_, rows)| *rows > 0), "{stored:?}");

    let again = replay(&suite, &conversation).await;
    assert!(again.contains("0 were stored now"), "{again}");
    assert_eq!(self::stored(&pool).await, stored, "{again}");
}

/// The file to play.
async fn conversation(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let real = root.expect("tests stand in the project").join(CONVERSATION);
    if real.exists() {
        return real;
    }
    let made = folder.join("messages.jsonl.gz");
    let mut generate = Command::new(built("tidings-load"));
    generate.arg("generate").arg(&made).args(["--logs", LOGS]);
    assert_well(&run(&mut generate).await);
    made
}

/// Plays the file, and returns what the tool tells.
async fn replay(suite: &Suite, conversation: &Path) -> String {
    let mut replay = Command::new(built("tidings-load"));
    replay
        .arg("replay")
        .arg(conversation)
        .args(["--logs", LOGS, "--quiet", "--target"])
        .arg(suite.gateway_address().to_string());
    let output = run(&mut replay).await;
    assert_well(&output);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!("{told}");
    told
}

async fn run(command: &mut Command) -> Output {
    let output = command.kill_on_drop(true).output();
    tokio::time::timeout(LIMIT, output)
        .await
        .expect("the tool ends in time")
        .expect("the tool runs")
}

fn assert_well(output: &Output) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
}

/// How many rows each table has.
async fn stored(pool: &Pool) -> Vec<(&'static str, i64)> {
    let mut stored = Vec::new();
    for table in TABLES {
        let count = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        let rows = sqlx::query_scalar(count).fetch_one(pool).await;
        stored.push((table, rows.expect("the table can be counted")));
    }
    stored
}
