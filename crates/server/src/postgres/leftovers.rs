//! What a predecessor that was killed left running on a data folder.
//!
//! The caller holds the lock of the folder, so that whatever still serves it has lost its suite. Mostly there is nothing:
//! the kernel tells the server when its parent dies. It may still be writing its last checkpoint, though; and where the
//! server itself was killed, its children may be busy with a statement and not have noticed.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Error, folder::in_path};

/// How long a server gets for its last checkpoint, then for leaving without one, then for dying.
const FAST_LIMIT: Duration = Duration::from_secs(10);
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(2);
const KILL_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// Ends what still runs on the data folder, and removes the two files by which a new server would take it for running: the
/// number in them may by now belong to an unrelated process, or to a dead one that nobody reaps.
pub fn end(data: &Path, socket: &Path) -> Result<(), Error> {
    let found = on(data);
    if !found.is_empty() {
        tracing::warn!(
            processes = found.len(),
            "ending a PostgreSQL that an earlier run left behind"
        );
        if let Some(server) = server_of(data).filter(|server| found.contains(server)) {
            signal(&[server], Signal::SIGINT);
            if !gone_within(data, FAST_LIMIT) {
                signal(&[server], Signal::SIGQUIT);
                gone_within(data, IMMEDIATE_LIMIT);
            }
        }
        kill_all(data)?;
    }
    for claim in [data.join("postmaster.pid"), socket.with_added_extension("lock")] {
        match fs::remove_file(&claim) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(in_path(&claim)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Kills whatever runs on the data folder. Each of the server's processes is its own process group, so that the group of
/// the server would not be all.
pub fn kill_all(data: &Path) -> Result<(), Error> {
    signal(&on(data), Signal::SIGKILL);
    if gone_within(data, KILL_LIMIT) {
        return Ok(());
    }
    match on(data).first() {
        Some(pid) => Err(Error::Leftover(pid.as_raw())),
        None => Ok(()),
    }
}

fn signal(processes: &[Pid], signal: Signal) {
    for pid in processes {
        // One that has ended meanwhile is what is wanted.
        let _ = kill(*pid, signal);
    }
}

fn gone_within(data: &Path, limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        if on(data).is_empty() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// The server that wrote its number into the data folder.
fn server_of(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    (pid > 0).then(|| Pid::from_raw(pid))
}

/// The processes that serve the data folder: all of a server's have it as their working directory.
#[cfg(target_os = "linux")]
fn on(data: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter(|process| {
            let path = process.path();
            fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == data)
                && fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("postgres"))
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

/// Without `/proc` only the server itself is known; its children end with it, as soon as they look.
#[cfg(not(target_os = "linux"))]
fn on(data: &Path) -> Vec<Pid> {
    let Some(server) = server_of(data) else {
        return Vec::new();
    };
    let listed = std::process::Command::new("ps")
        .args(["-o", "command=", "-p", &server.to_string()])
        .output();
    let serves = listed.is_ok_and(|listed| {
        let command = String::from_utf8_lossy(&listed.stdout).into_owned();
        command.contains("postgres") && command.contains(&*data.to_string_lossy())
    });
    if serves { vec![server] } else { Vec::new() }
}
