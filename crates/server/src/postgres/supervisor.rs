//! The thread that owns the server.
//!
//! A thread of its own and not a task: the kernel sends the parent-death signal when the *thread* ends that started the
//! child, and a runtime's threads end when they like.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid, getppid, setsid},
};

use super::{
    Error, GiveUp,
    binaries::Binaries,
    folder::{SOCKET_NAME, in_path},
    leftovers,
    user::{self, Account},
};

/// Replaying what a crash left to do takes seconds for a gigabyte; a minute says that something is wrong.
const READY_LIMIT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(5);
/// How soon a death is noticed.
const WATCH_POLL: Duration = Duration::from_millis(50);
/// Together less than what `dev` has for its whole shutdown: a last checkpoint, else an end without one.
const FAST_STOP_LIMIT: Duration = Duration::from_secs(4);
const IMMEDIATE_STOP_LIMIT: Duration = Duration::from_secs(1);
/// A server that dies again and again is not restarted in a circle.
const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(5);
/// A log that has grown past this is put aside at the next start.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;
const LOG_TAIL_LINES: usize = 12;

/// All that starting the server needs.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The programs.
    pub binaries: Binaries,
    /// The account, where this process is root.
    pub account: Option<Account>,
    /// The data folder.
    pub data: PathBuf,
    /// The folder of the socket.
    pub socket_folder: PathBuf,
    /// Where the server's log goes.
    pub log: PathBuf,
    /// How many connections it takes.
    pub connections_max: u16,
}

/// A running server; dropping it stops the server.
#[derive(Debug)]
pub struct Supervisor {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the server and waits until it takes connections, or the wait is given up.
    pub fn start(launch: Launch, give_up: &GiveUp) -> Result<Self, Error> {
        let (stop, stopped) = mpsc::channel();
        let (started, outcome) = mpsc::sync_channel(1);
        let log = launch.log.clone();
        let thread = thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || run(&launch, &started, &stopped))
            .map_err(in_path(&log))?;
        let supervisor = Self {
            stop: Some(stop),
            thread: Some(thread),
        };
        loop {
            match outcome.recv_timeout(WATCH_POLL) {
                Ok(result) => return result.map(|()| supervisor),
                // Dropped, the supervisor stops what it has started.
                Err(RecvTimeoutError::Timeout) if give_up.is_said() => return Err(Error::GivenUp),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(start_failed(&log, "its thread ended".to_owned()));
                }
            }
        }
    }

    /// Stops the server and waits until it has ended, which it has within a bound.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the private PostgreSQL panicked");
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(launch: &Launch, started: &SyncSender<Result<(), Error>>, stopped: &Receiver<()>) {
    let mut child = match launch.start(stopped) {
        Ok(Some(child)) => child,
        Ok(None) => return,
        Err(error) => {
            // Nobody waits any more only if the process is ending.
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(()));
    let mut delay = RESTART_DELAY_MIN;
    loop {
        let since = Instant::now();
        let Some(end) = watch(&mut child, stopped) else {
            launch.stop(&mut child);
            return;
        };
        if since.elapsed() > RESTART_DELAY_MAX {
            delay = RESTART_DELAY_MIN;
        }
        tracing::error!(%end, log = %launch.log.display(), "the private PostgreSQL ended: restarting it");
        child = loop {
            if asked_to_stop_within(stopped, delay) {
                return;
            }
            delay = (delay * 2).min(RESTART_DELAY_MAX);
            match launch.start(stopped) {
                Ok(Some(child)) => break child,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the private PostgreSQL does not start: trying again")
                }
            }
        };
    }
}

/// Waits for the server's end, or for the request to stop it, which is `None`.
fn watch(child: &mut Child, stopped: &Receiver<()>) -> Option<String> {
    loop {
        if asked_to_stop_within(stopped, WATCH_POLL) {
            return None;
        }
        if let Some(end) = ended(child) {
            return Some(end);
        }
    }
}

fn asked_to_stop_within(stopped: &Receiver<()>, limit: Duration) -> bool {
    !matches!(stopped.recv_timeout(limit), Err(RecvTimeoutError::Timeout))
}

fn ended(child: &mut Child) -> Option<String> {
    match child.try_wait() {
        Ok(end) => end.map(|end: ExitStatus| end.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

impl Launch {
    /// Starts the server after clearing away what another left. `None` where a stop was asked for meanwhile.
    fn start(&self, stopped: &Receiver<()>) -> Result<Option<Child>, Error> {
        leftovers::end(&self.data, &self.socket_folder.join(SOCKET_NAME))?;
        if asked_to_stop_within(stopped, Duration::ZERO) {
            return Ok(None);
        }
        let mut child = self.spawn()?;
        let start = Instant::now();
        loop {
            if self.is_ready(&child) {
                return Ok(Some(child));
            }
            if let Some(end) = ended(&mut child) {
                return Err(start_failed(&self.log, format!("it ended with {end}")));
            }
            if start.elapsed() >= READY_LIMIT {
                self.stop(&mut child);
                return Err(start_failed(
                    &self.log,
                    format!("not ready after {} s", READY_LIMIT.as_secs()),
                ));
            }
            if asked_to_stop_within(stopped, READY_POLL) {
                self.stop(&mut child);
                return Ok(None);
            }
        }
    }

    /// The server says on the eighth line of its pid file when it takes connections; `pg_ctl` reads the same.
    fn is_ready(&self, child: &Child) -> bool {
        let Ok(text) = fs::read_to_string(self.data.join("postmaster.pid")) else {
            return false;
        };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.first() == Some(&child.id().to_string().as_str()) && lines.get(7) == Some(&"ready")
    }

    fn spawn(&self) -> Result<Child, Error> {
        let setting = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
        let mut command = user::command(&self.binaries.program("postgres"), self.account.as_ref());
        command
            .arg("-D")
            .arg(&self.data)
            .args(setting("listen_addresses", ""))
            .args(setting("port", "5432"))
            .args(setting(
                "unix_socket_directories",
                &self.socket_folder.to_string_lossy(),
            ))
            .args(setting("unix_socket_permissions", "0700"))
            .args(setting("max_connections", &self.connections_max.to_string()))
            .args(
                ["fsync", "synchronous_commit", "full_page_writes"]
                    .iter()
                    .flat_map(|name| setting(name, "on")),
            )
            .stdout(Stdio::null())
            .stderr(self.open_log()?);
        end_with_parent(&mut command);
        command.spawn().map_err(in_path(&self.binaries.program("postgres")))
    }

    fn open_log(&self) -> Result<fs::File, Error> {
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            fs::rename(&self.log, self.log.with_extension("log.old")).map_err(in_path(&self.log))?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(in_path(&self.log))
    }

    /// Ends the server: first politely, at last by force.
    fn stop(&self, child: &mut Child) {
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("the system's process numbers are of this type"));
        for (signal, limit) in [
            (Signal::SIGINT, FAST_STOP_LIMIT),
            (Signal::SIGQUIT, IMMEDIATE_STOP_LIMIT),
        ] {
            // The child is not reaped before `ended` says so: its number is its own until then.
            let _ = kill(pid, signal);
            let start = Instant::now();
            while start.elapsed() < limit {
                if ended(child).is_some() {
                    return;
                }
                thread::sleep(READY_POLL);
            }
        }
        tracing::warn!("the private PostgreSQL does not end: killing it");
        let _ = child.kill();
        let _ = child.wait();
        if let Err(error) = leftovers::kill_all(&self.data) {
            tracing::error!(%error, "the private PostgreSQL is not gone");
        }
    }
}

/// Puts the server into a session of its own, so that Ctrl-C reaches the services and not it, and on Linux has the
/// kernel tell it to stop when this process dies, however it dies.
#[expect(unsafe_code, reason = "std has no safe way to run code between fork and exec")]
fn end_with_parent(command: &mut std::process::Command) {
    let parent = getpid();
    // SAFETY: the closure runs in the forked child, where only async-signal-safe functions may be called. It makes three
    // system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            #[cfg(target_os = "linux")]
            nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
            // The parent may have died before the kernel was asked to tell.
            if getppid() != parent {
                return Err(io::Error::from_raw_os_error(nix::libc::ECANCELED));
            }
            Ok(())
        });
    }
}

fn start_failed(log: &Path, why: String) -> Error {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    Error::Start {
        why,
        log: log.to_owned(),
        tail: lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n"),
    }
}
