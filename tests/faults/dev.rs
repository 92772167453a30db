//! `tidings dev` in a folder of its own, with its private Postgres.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tidings_db::{Pool, Settings};
use tidings_ids::Source;
use tidings_proto_gateway::v1::{GetServerInfoRequest, gateway_service_client::GatewayServiceClient};
use tidings_server::postgres::{Cluster, SUPERUSER};
use tidings_testkit::{built, free_address, until, until_some};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

/// A start with a new database takes seconds; a machine that compiles beside it takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A little more than the 20 s that an end may take, so that a late end is told as that.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The processes of a server that was killed are gone as soon as the kernel has seen to it.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// A data folder with an address, and `tidings dev` on both while it runs.
#[derive(Debug)]
pub struct Dev {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Dev {
    /// An empty folder.
    pub fn prepare() -> Self {
        let folder = tempfile::tempdir().expect("a folder of its own");
        // Where this is root, Postgres is not, and has to get through.
        let passable = fs::Permissions::from_mode(0o711);
        fs::set_permissions(folder.path(), passable).expect("our own folder");
        Self {
            folder,
            address: free_address(),
            child: None,
        }
    }

    /// Starts the process, and does not wait for anything.
    pub fn spawn(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("dev.log"))
            .expect("a file in its own folder");
        let mut command = Command::new(built("tidings"));
        command
            .args(["dev", "--listen", &self.address.to_string(), "--data-dir"])
            .arg(self.data())
            .env_remove("DATABASE_URL")
            .env_remove("TIDINGS_DATABASE_URL")
            .env("TIDINGS_RATE_FACTOR", "100000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        self.child = Some(command.spawn().expect("the binary runs"));
    }

    /// Waits until all services serve.
    pub async fn serving(&self) {
        let channel = self.channel();
        let what = format!("`tidings dev` serves (its log is in {})", self.folder.path().display());
        until(&what, START_LIMIT, || {
            let mut client = GatewayServiceClient::new(channel.clone());
            async move {
                let info = client.get_server_info(GetServerInfoRequest {}).await;
                info.is_ok_and(|info| {
                    let services = info.into_inner().services;
                    !services.is_empty() && services.iter().all(|service| service.serving)
                })
            }
        })
        .await;
    }

    /// Where it keeps everything.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A channel for clients.
    pub fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address makes a URL");
        endpoint.connect_lazy()
    }

    /// How its database is reached.
    pub fn settings(&self) -> Settings {
        Settings::owner(Cluster::url_in(&self.data(), SUPERUSER, "tidings"), "tidings-test")
    }

    /// Its database, for what a test looks at.
    pub fn pool(&self) -> Pool {
        tidings_db::connect(&self.settings(), &Source::system()).expect("a URL of our own making")
    }

    /// Ends the process at once, as a crash does.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("it is running");
        child.kill().await.expect("our own child can be killed");
    }

    /// Asks the process to stop; says how it ended and how long that took.
    pub async fn terminate(&mut self) -> (ExitStatus, Duration) {
        let mut child = self.child.take().expect("it is running");
        let begun = Instant::now();
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        kill(Pid::from_raw(pid.expect("it is running")), Signal::SIGTERM).expect("our own child takes signals");
        let ended = tokio::time::timeout(STOP_LIMIT, child.wait()).await;
        let status = ended
            .expect("it does not end")
            .expect("our own child can be waited for");
        (status, begun.elapsed())
    }

    /// The processes of its Postgres that run now: all of a server's have the data as their working directory.
    pub fn postgres(&self) -> Vec<Pid> {
        processes_in(&self.data().join("postgres"))
    }

    /// Ends all processes of its Postgres at once, as a crash of the machine does.
    pub async fn kill_postgres(&self) {
        let server = until_some("Postgres runs", KILL_LIMIT, || async { self.postmaster() }).await;
        // Stopped, it makes no further children while they are counted.
        let _ = kill(server, Signal::SIGSTOP);
        let all = self.postgres();
        for process in &all {
            let _ = kill(*process, Signal::SIGKILL);
        }
        until("Postgres is gone", KILL_LIMIT, || async {
            let left = self.postgres();
            all.iter().all(|process| !left.contains(process))
        })
        .await;
    }

    fn postmaster(&self) -> Option<Pid> {
        let claim = fs::read_to_string(self.data().join("postgres/postmaster.pid")).ok()?;
        let pid = Pid::from_raw(claim.lines().next()?.trim().parse().ok()?);
        self.postgres().contains(&pid).then_some(pid)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the log is in {}", self.folder.path().display());
        }
    }
}

fn processes_in(folder: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("Linux has /proc");
    processes
        .flatten()
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .collect()
}
