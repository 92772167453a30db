use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};
use tempfile::TempDir;
use tidings_db::testing::Database;
use tidings_proto_gateway::v1::{GetServerInfoRequest, gateway_service_client::GatewayServiceClient};
use tidings_rpc::testing::Authority;
use tokio::{
    process::{Child, Command},
    time::{Instant, timeout},
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{Actor, Process, Shape, built, certificates, free_address, until};

/// A start takes a second; a machine that is compiling beside it takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A process ends within the 20 s of `reliability.md` G36, and its exit is seen a little later.
const STOP_LIMIT: Duration = Duration::from_secs(25);

/// A suite with a database, a folder and ports of its own. Its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Suite {
    shape: Shape,
    folder: TempDir,
    database: Database,
    addresses: HashMap<Process, SocketAddr>,
    /// Where processes look for each other, where that is not the address itself.
    detours: HashMap<Process, SocketAddr>,
    children: HashMap<Process, Child>,
    settings: Vec<(String, String)>,
    /// Whether services speak mutual TLS.
    secured: bool,
}

impl Suite {
    /// Starts a suite with the settings of most tests: open registration, and rate limits that do not meet them.
    ///
    /// # Panics
    ///
    /// When it does not serve within a minute.
    pub async fn start(shape: Shape) -> Self {
        Self::start_with(shape, &[]).await
    }

    /// Starts a suite with further settings, by the names of their environment variables.
    ///
    /// # Panics
    ///
    /// When it does not serve within a minute.
    pub async fn start_with(shape: Shape, settings: &[(&str, &str)]) -> Self {
        let mut suite = Self::prepare(shape, settings).await;
        suite.begin().await;
        suite
    }

    /// Migrates, starts all processes and waits until they serve.
    ///
    /// # Panics
    ///
    /// When it does not serve within a minute.
    pub async fn begin(&mut self) {
        self.migrate().await;
        for process in Process::of(self.shape) {
            self.spawn(*process);
        }
        self.serving().await;
    }

    /// Has the services, when they are started, speak mutual TLS with certificates of this authority.
    ///
    /// # Panics
    ///
    /// When the certificates cannot be written.
    pub fn secure(&mut self, authority: &Authority) {
        self.certify(authority, &[authority]);
        self.secured = true;
    }

    /// Starts a second process of message, and waits until it serves.
    ///
    /// # Panics
    ///
    /// When it does not serve within a minute, and in a secured suite.
    pub async fn start_second_message(&mut self) {
        self.addresses.insert(Process::SecondMessage, free_address());
        self.spawn(Process::SecondMessage);
        let channel = self.direct(Process::SecondMessage);
        until("the second message process serves", START_LIMIT, || {
            let mut client = HealthClient::new(channel.clone());
            async move {
                let answer = client.check(HealthCheckRequest::default()).await;
                answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
            }
        })
        .await;
    }

    /// A suite whose processes are not started yet.
    ///
    /// # Panics
    ///
    /// When there is no database or no folder for it.
    pub async fn prepare(shape: Shape, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder of its own");
        for (name, secret) in [
            ("suite", "b7e1c0d94f5a4e6c8f2d3a1b0c9e8d7f6a5b4c3d"),
            ("auth", "5d8f1e2c7b6a49d0a3f4e5c6b7a8990112233445"),
        ] {
            fs::write(folder.path().join(name), secret).expect("a new file in its own folder");
        }
        let addresses = Process::of(shape)
            .iter()
            .map(|process| (*process, free_address()))
            .collect();
        Self {
            shape,
            folder,
            database: Database::create(&[]).await,
            addresses,
            detours: HashMap::new(),
            children: HashMap::new(),
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            secured: false,
        }
    }

    /// Has the processes that are started from now on take this setting, by the name of its environment variable, in place of the one
    /// before.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Its database, for what a test looks at or does from outside.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Where mails are written.
    #[must_use]
    pub fn mail_folder(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    /// Where logs are written, a file a process.
    #[must_use]
    pub fn log_of(&self, process: Process) -> PathBuf {
        self.folder.path().join(format!("{}.log", process.name()))
    }

    /// Where clients connect.
    #[must_use]
    pub fn gateway_address(&self) -> SocketAddr {
        let gateway = match self.shape {
            Shape::One => Process::All,
            Shape::Five => Process::Gateway,
        };
        self.addresses[&gateway]
    }

    /// A channel for clients.
    #[must_use]
    pub fn channel(&self) -> Channel {
        channel_to(self.gateway_address())
    }

    /// Where a process listens.
    #[must_use]
    pub fn address_of(&self, process: Process) -> SocketAddr {
        self.addresses[&process]
    }

    /// A channel straight to a service, past the gateway.
    #[must_use]
    pub fn direct(&self, process: Process) -> Channel {
        channel_to(self.addresses[&process])
    }

    /// Lets the other processes, when they are started next, look for this one at another address, such as a proxy's.
    pub fn detour(&mut self, process: Process, through: SocketAddr) {
        self.detours.insert(process, through);
    }

    /// Migrates the database, as an operator does before the first start.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn migrate(&self) {
        let output = self.command("migrate").output().await.expect("the binary runs");
        assert!(
            output.status.success(),
            "tidings migrate: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Starts a process that is not running.
    ///
    /// # Panics
    ///
    /// When the binary cannot be run.
    pub fn spawn(&mut self, process: Process) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_of(process))
            .expect("a file in its own folder");
        let mut command = self.command(process.command());
        command.env("TIDINGS_LISTEN", self.addresses[&process].to_string());
        if self.secured {
            certificates::given(&mut command, self, process);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().expect("the binary runs");
        self.children.insert(process, child);
    }

    /// A command of the binary with the suite's settings.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let folder = self.folder.path();
        let mut command = Command::new(built("tidings"));
        command
            .arg(name)
            .env_remove("DATABASE_URL")
            .env("TIDINGS_DATABASE_URL", self.database.url());
        command
            .env("TIDINGS_SUITE_SECRET_FILE", folder.join("suite"))
            .env("TIDINGS_AUTH_SECRET_FILE", folder.join("auth"));
        command
            .env("TIDINGS_DATA_DIR", folder.join("data"))
            .env("TIDINGS_MAIL_DIR", self.mail_folder());
        command
            .env("TIDINGS_PUBLIC_URL", format!("http://{}", self.gateway_address()))
            .env("TIDINGS_REGISTRATION", "open")
            .env("TIDINGS_RATE_FACTOR", "100000");
        command
            .env("TIDINGS_LOG_FORMAT", "json")
            .env("TIDINGS_UNSAFE_ALLOW_LOSS", "true");
        for process in [Process::Auth, Process::User, Process::Chat, Process::Message] {
            if let Some(address) = self.detours.get(&process).or_else(|| self.addresses.get(&process)) {
                let name = format!("TIDINGS_{}_ADDRESS", process.command().to_uppercase());
                let scheme = if self.secured { "https" } else { "http" };
                command.env(name, certificates::url(scheme, *address));
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// An administrator of the deployment, made as an operator makes one.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub async fn administrator(&self) -> Actor {
        let (username, email, password) = (
            "the-administrator",
            "administrator@example.org",
            "correct horse of the operator",
        );
        let mut command = self.command("admin");
        command
            .args(["create", "--username", username, "--email", email])
            .env("TIDINGS_PASSWORD", password);
        let output = command.output().await.expect("the binary runs");
        assert!(
            output.status.success(),
            "tidings admin create: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Actor::login(&self.channel(), username, email, password)
            .await
            .expect("the administrator logs in")
    }

    /// Waits until the gateway says that all services serve.
    ///
    /// # Panics
    ///
    /// When that takes longer than a minute; the logs are named then.
    pub async fn serving(&self) {
        let channel = self.channel();
        let what = format!("the suite serves (logs in {})", self.folder.path().display());
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

    /// Ends a process at once, as a crash does, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it is not running.
    pub async fn kill(&mut self, process: Process) {
        let mut child = self.children.remove(&process).expect("it is running");
        child.kill().await.expect("our own child can be killed");
    }

    /// Asks a process to stop, and returns how it ended and how long that took.
    ///
    /// # Panics
    ///
    /// When it is not running, or does not end in time.
    pub async fn terminate(&mut self, process: Process) -> (ExitStatus, Duration) {
        let mut child = self.children.remove(&process).expect("it is running");
        let begun = Instant::now();
        signal(&child, Signal::SIGTERM);
        let status = timeout(STOP_LIMIT, child.wait()).await;
        let status = status
            .unwrap_or_else(|_| panic!("{process:?} does not end"))
            .expect("our own child can be waited for");
        (status, begun.elapsed())
    }

    /// The id of a running process.
    ///
    /// # Panics
    ///
    /// When it is not running.
    #[must_use]
    pub fn pid(&self, process: Process) -> u32 {
        self.children[&process].id().expect("it is running")
    }

    /// The shape that it runs in.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        // The logs of a test that failed are worth keeping.
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the logs are in {}", self.folder.path().display());
        }
    }
}

/// Sends a signal to a child that has not been waited for, whose id so is still its own.
fn signal(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .expect("it is running");
    nix::sys::signal::kill(Pid::from_raw(pid), signal).expect("our own child takes signals");
}

fn channel_to(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address makes a URL");
    endpoint
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .connect_lazy()
}
