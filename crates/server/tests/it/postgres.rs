//! Starting, stopping, being killed, and starting again.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tidings_server::{
    data_dir::{self, DataDir},
    postgres::{Cluster, Error, Options, SUPERUSER},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder below one that the server's account may enter.
fn folder() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let path = parent.path().join("data");
    (parent, path)
}

fn start(path: &Path) -> (DataDir, Cluster) {
    let data_dir = DataDir::open(path).unwrap();
    let options = Options {
        install: false,
        ..Options::default()
    };
    let cluster = Cluster::start(&data_dir, &options).unwrap();
    (data_dir, cluster)
}

async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect(&cluster.url(SUPERUSER, "postgres"))
        .await
        .unwrap()
}

async fn note(connection: &mut PgConnection, text: &str) {
    sqlx::query("create table if not exists public.notes (text text not null)")
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query("insert into public.notes (text) values ($1)")
        .bind(text)
        .execute(connection)
        .await
        .unwrap();
}

async fn notes(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("select text from public.notes order by text")
        .fetch_all(connection)
        .await
        .unwrap()
}

async fn server_pid(connection: &mut PgConnection) -> Pid {
    let text: String = sqlx::query_scalar("select split_part(pg_read_file('postmaster.pid'), e'\\n', 1)")
        .fetch_one(connection)
        .await
        .unwrap();
    Pid::from_raw(text.parse().unwrap())
}

fn runs(pid: Pid) -> bool {
    // A dead process that nobody has reaped yet still takes signals.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(pid, None).is_ok() && !state.contains(") Z ")
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_a_start() {
    let (_parent, path) = folder();
    let (data_dir, cluster) = start(&path);
    let mut connection = connect(&cluster).await;
    note(&mut connection, "kept").await;
    let server = server_pid(&mut connection).await;

    cluster.stop();
    assert!(!runs(server), "the server has ended with its stop");
    drop(data_dir);

    let (_data_dir, cluster) = start(&path);
    assert_eq!(notes(&mut connect(&cluster).await).await, ["kept"]);
}

#[tokio::test]
async fn the_server_is_private_durable_and_not_root() {
    let (_parent, path) = folder();
    let (_data_dir, cluster) = start(&path);
    let mut connection = connect(&cluster).await;

    for (setting, expected) in [
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("max_connections", "100"),
        ("shared_buffers", "256MB"),
        ("jit", "off"),
        ("server_encoding", "UTF8"),
    ] {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, expected, "{setting}");
    }
    let lowered: String = sqlx::query_scalar("select lower('ÄÖÜ')")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(lowered, "äöü", "letters beyond ASCII have cases");
    let mode = fs::metadata(cluster.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let server = server_pid(&mut connection).await;
    let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let uids = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(uids.split_whitespace().skip(1).all(|uid| uid != "0"), "{uids}");
}

#[tokio::test]
async fn a_second_suite_on_one_folder_is_refused_and_says_so() {
    let (_parent, path) = folder();
    let (_data_dir, cluster) = start(&path);

    let refused = DataDir::open(&path).unwrap_err();
    assert!(matches!(refused, data_dir::Error::InUse { .. }));
    assert!(refused.to_string().contains("--data-dir"), "{refused}");

    note(&mut connect(&cluster).await, "the first is unharmed").await;
}

#[tokio::test]
async fn a_server_that_is_killed_is_restarted_with_what_it_had_acknowledged() {
    let (_parent, path) = folder();
    let (_data_dir, cluster) = start(&path);
    let mut connection = connect(&cluster).await;
    note(&mut connection, "acknowledged").await;
    let server = server_pid(&mut connection).await;

    kill(server, Signal::SIGKILL).unwrap();
    let url = cluster.url(SUPERUSER, "postgres");
    until("another server answers", async || {
        let Ok(mut connection) = PgConnection::connect(&url).await else {
            return false;
        };
        server_pid(&mut connection).await != server
    })
    .await;
    assert_eq!(notes(&mut connect(&cluster).await).await, ["acknowledged"]);
}

/// Another process of this test binary that holds a folder and its server until it is killed.
struct Suite(Child);

impl Suite {
    fn start(path: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "postgres::hold_a_folder_until_killed", "--nocapture"])
            .env("TIDINGS_TEST_HOLD", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test of its own: what [`Suite`] runs. Without the variable it has nothing to do.
#[tokio::test]
async fn hold_a_folder_until_killed() {
    let Some(path) = std::env::var_os("TIDINGS_TEST_HOLD") else {
        return;
    };
    let path = PathBuf::from(path);
    let (_data_dir, cluster) = start(&path);
    note(&mut connect(&cluster).await, "by the one that was killed").await;
    fs::write(path.join("url"), cluster.url(SUPERUSER, "postgres")).unwrap();
    // Until the other end of standard input is gone.
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
}

/// A suite on the folder that has written its note, and its server's number.
async fn holding_suite(path: &Path) -> (Suite, Pid) {
    let suite = Suite::start(path);
    let mut url = String::new();
    until("the other suite serves", async || {
        url = fs::read_to_string(path.join("url")).unwrap_or_default();
        !url.is_empty()
    })
    .await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let server = server_pid(&mut connection).await;
    (suite, server)
}

#[tokio::test]
async fn after_kill_9_of_the_suite_its_server_ends_and_the_next_start_recovers() {
    let (_parent, path) = folder();
    let (mut suite, server) = holding_suite(&path).await;
    assert!(matches!(DataDir::open(&path), Err(data_dir::Error::InUse { .. })));

    suite.0.kill().unwrap();
    suite.0.wait().unwrap();
    let (_data_dir, cluster) = start(&path);

    assert!(!runs(server), "two servers on one folder");
    assert_eq!(
        notes(&mut connect(&cluster).await).await,
        ["by the one that was killed"]
    );
}

#[tokio::test]
async fn a_server_that_outlived_its_suite_is_stopped_by_the_next_start() {
    let (_parent, path) = folder();
    let (mut suite, server) = holding_suite(&path).await;

    // Stopped, the server cannot follow the kernel's word that its parent died.
    kill(server, Signal::SIGSTOP).unwrap();
    suite.0.kill().unwrap();
    suite.0.wait().unwrap();
    assert!(runs(server));
    let start_again = tokio::task::spawn_blocking({
        let path = path.clone();
        move || start(&path)
    });
    let (_data_dir, cluster) = start_again.await.unwrap();

    assert!(!runs(server), "two servers on one folder");
    assert_eq!(
        notes(&mut connect(&cluster).await).await,
        ["by the one that was killed"]
    );
}

#[tokio::test]
async fn kill_9_of_everything_loses_nothing_and_a_foreign_pid_does_not_stand_in_the_way() {
    let (_parent, path) = folder();
    let (mut suite, server) = holding_suite(&path).await;
    let backends = children_of(server);
    assert!(!backends.is_empty());

    suite.0.kill().unwrap();
    for pid in backends.into_iter().chain([server]) {
        // It may have ended by itself.
        let _ = kill(pid, Signal::SIGKILL);
    }
    suite.0.wait().unwrap();
    until("the server is gone", async || !runs(server)).await;
    // Its number has meanwhile gone to a process that lives: this one.
    let pid_file = path.join("postgres/postmaster.pid");
    let left = fs::read_to_string(&pid_file).unwrap_or_else(|_| format!("{server}\n"));
    fs::write(
        &pid_file,
        left.replacen(&server.to_string(), &std::process::id().to_string(), 1),
    )
    .unwrap();

    let (_data_dir, cluster) = start(&path);
    assert_eq!(
        notes(&mut connect(&cluster).await).await,
        ["by the one that was killed"]
    );
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let listed = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    listed
        .split_whitespace()
        .map(|pid| Pid::from_raw(pid.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn an_initdb_that_was_interrupted_is_made_again() {
    let (_parent, path) = folder();
    fs::create_dir_all(path.join("postgres.unfinished/base")).unwrap();
    fs::write(path.join("postgres.unfinished/PG_VERSION"), "15\n").unwrap();
    let (_data_dir, cluster) = start(&path);
    note(&mut connect(&cluster).await, "whole").await;
}

#[tokio::test]
async fn a_folder_too_deep_for_a_socket_works_too() {
    let (_parent, path) = folder();
    let (_data_dir, cluster) = start(&path.join("deep".repeat(30)));
    note(&mut connect(&cluster).await, "reached").await;
}

#[test]
fn a_folder_closed_to_the_server_is_refused_with_its_name() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (parent, path) = folder();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let data_dir = DataDir::open(&path).unwrap();
    let refused = Cluster::start(&data_dir, &Options::default()).unwrap_err();
    assert!(matches!(refused, Error::Unreachable { .. }), "{refused}");
    assert!(
        refused.to_string().contains(&*parent.path().to_string_lossy()),
        "{refused}"
    );
}

#[test]
fn a_server_that_does_not_start_is_told_with_the_end_of_its_log() {
    let (_parent, path) = folder();
    let (data_dir, cluster) = start(&path);
    let settings = cluster.data().join("postgresql.conf");
    cluster.stop();
    fs::write(settings, "shared_buffers = nonsense\n").unwrap();

    let refused = Cluster::start(&data_dir, &Options::default()).unwrap_err();
    assert!(matches!(refused, Error::Start { .. }), "{refused}");
    assert!(refused.to_string().contains("shared_buffers"), "{refused}");
}

#[test]
fn the_folder_that_a_setting_names_is_the_only_one_looked_at() {
    let (parent, path) = folder();
    let data_dir = DataDir::open(&path).unwrap();
    let options = Options {
        bin_dir: Some(parent.path().to_owned()),
        ..Options::default()
    };
    let refused = Cluster::start(&data_dir, &options).unwrap_err();
    assert!(refused.to_string().contains("--postgres-bin-dir"), "{refused}");
}
