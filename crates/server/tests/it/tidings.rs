//! The binary `tidings` as its users run it.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
pub use tidings_testkit::free_address;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// Longer than any start takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A data folder below one that Postgres' account may enter.
pub fn folder() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let path = parent.path().join("data");
    (parent, path)
}

/// A command of the binary, without settings of whoever runs the tests.
pub fn tidings() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("TIDINGS_") || name == "DATABASE_URL")
        {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn run(arguments: &[&str]) -> Output {
    timeout(PATIENCE, tidings().args(arguments).output())
        .await
        .unwrap()
        .unwrap()
}

/// A running `tidings dev`.
pub struct Dev {
    child: Child,
    pub address: SocketAddr,
    pub banner: String,
}

impl Dev {
    /// Starts it and waits for its banner.
    pub async fn start(data_dir: &Path, further: &[&str]) -> Self {
        Self::start_with_log(data_dir, further, Stdio::null()).await
    }

    /// The same, with its log.
    pub async fn start_with_log(data_dir: &Path, further: &[&str], log: Stdio) -> Self {
        let address = free_address();
        let mut child = tidings()
            .args(["dev", "--listen", &address.to_string(), "--data-dir"])
            .arg(data_dir)
            .args(further)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        let read = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                banner += &line;
                banner.push('\n');
                if line.starts_with("Ctrl-C") {
                    return;
                }
            }
            panic!("it ended without serving");
        };
        timeout(PATIENCE, read).await.unwrap();
        Self { child, address, banner }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap())
    }

    /// Asks it to stop, and returns its exit code once it has.
    pub async fn terminate(mut self) -> Option<i32> {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().code()
    }

    /// Ends it as a crash does.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// The answer to a call in JSON over HTTP/1.1, head and body.
    pub async fn call(&self, method: &str, body: &str) -> String {
        self.call_with(method, "", body).await
    }

    /// The same with further headers, each with its line's end.
    pub async fn call_with(&self, method: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "POST /{method} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            self.address,
            body.len(),
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }
}
