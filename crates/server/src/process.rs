//! What every long-running command does alike: logs, signals, and an end within its bound.

use std::{future::Future, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use tidings_rpc::Drain;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

/// What still blocks a thread at the end, a name look-up or a full pipe, is not waited for any longer.
const BLOCKED_THREADS_WAIT: Duration = Duration::from_millis(500);

/// The exit code of a process that a second signal ended: by convention that of one that SIGINT killed.
const IMPATIENT: u8 = 130;

/// Runs a command to its end and says on standard error why it failed.
pub fn run<F>(command: F) -> ExitCode
where
    F: Future<Output = Result<()>>,
{
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let outcome = runtime.block_on(command);
    runtime.shutdown_timeout(BLOCKED_THREADS_WAIT);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("tidings: {}", chain(error.as_ref()));
    ExitCode::FAILURE
}

/// What went wrong, and what led to it. A cause is left out where what it led to says it already.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text += &format!(": {said}");
        }
        source = cause.source();
    }
    text
}

/// Logs of a command that somebody waits for: only what needs their attention.
pub fn warnings_only(name: &str) -> Result<tidings_telemetry::Guard> {
    Ok(tidings_telemetry::init(&tidings_telemetry::Settings {
        filter: "warn".to_owned(),
        ..tidings_telemetry::Settings::new(name)
    })?)
}

/// Begins the drain at the first SIGTERM or Ctrl-C, and ends the process at the second: whoever asks twice does not want to
/// wait.
///
/// Signals that came while the process was starting count too, so this is called before anything takes long.
pub fn drain_on_signal(drain: Drain) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        let name = received(&mut terminate, &mut interrupt).await;
        tracing::info!(
            signal = name,
            grace_secs = Drain::GRACE.as_secs(),
            "stopping: what is in hand is finished, a second signal ends at once"
        );
        drain.begin();
        received(&mut terminate, &mut interrupt).await;
        // The private Postgres is told by the kernel, and recovers at its next start.
        std::process::exit(i32::from(IMPATIENT));
    });
    Ok(())
}

async fn received(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = anyhow::Error::new(sqlx::Error::Io(refused)).context("cannot connect");
        let text = chain(error.as_ref());
        assert_eq!(text.matches("connection refused").count(), 1, "{text}");
        assert!(text.starts_with("cannot connect: error communicating"), "{text}");
        let error = anyhow::anyhow!("a reason").context("an outcome");
        assert_eq!(chain(error.as_ref()), "an outcome: a reason");
    }
}
