//! Plays the logs of a file, many at once, each in its order.

mod play;
mod room;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
pub use play::Played;
use play::Stage;
use tidings_ids::Source;
use tidings_proto_gateway::v1::RegistrationMode;
use tokio::time::Instant;

use crate::{
    accounts::Accounts,
    client::{self, Client},
    compare::Differences,
    dataset::Logs,
    identity::Identities,
    meter::Meter,
    progress::Progress,
    record::Recorder,
    summary::Summary,
    survey::Survey,
};

/// What to play, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file.
    pub file: PathBuf,
    /// Where the gateway listens.
    pub target: String,
    /// How many logs of the file, from its first on.
    pub logs: usize,
    /// Logs at once.
    pub chats: usize,
    /// Members of each chat who listen on a stream while it is sent to.
    pub subscribers: usize,
    /// Registrations at once.
    pub registrations: usize,
    /// Connections for calls.
    pub connections: usize,
    /// What the names and `request_id`s are made of, beside the file.
    pub run: String,
    /// Where to write down what the server acknowledges.
    pub record: Option<PathBuf>,
    /// How long a call is repeated before it has failed, and a stream waited for.
    pub patience: Duration,
    /// Whether to show how far it is.
    pub progress: bool,
}

/// Plays a file and reads everything back.
///
/// # Errors
///
/// When it could not begin, or the file broke off. What went wrong with single logs stands in the summary's differences.
pub async fn replay(options: &Options) -> anyhow::Result<Summary> {
    let identities = Identities::of_run(&options.run);
    let survey = Arc::new(Survey::of_file(&options.file, options.logs, &identities)?);
    let meter = Arc::new(Meter::default());
    let client_options = client::Options {
        target: options.target.clone(),
        connections: options.connections,
        streams: options.chats * options.subscribers,
        patience: options.patience,
    };
    let client = Client::new(&client_options, Arc::clone(&meter), Source::system())?;
    let server = client.server_info().await.with_context(|| {
        format!(
            "no server at {}: start one with `tidings dev --rate-factor 1000`",
            options.target
        )
    })?;
    anyhow::ensure!(
        !matches!(
            server.registration_mode(),
            RegistrationMode::Verified | RegistrationMode::Closed
        ),
        "the server does not let anybody register and log in at once: start it with --registration=open"
    );
    let stage = Arc::new(Stage {
        accounts: Accounts::new(client, identities, options.registrations),
        survey: Arc::clone(&survey),
        recorder: options.record.as_deref().map(Recorder::open).transpose()?,
        subscribers: options.subscribers.max(1),
        patience: options.patience,
    });

    let began = Instant::now();
    let progress = options.progress.then(|| Progress::start(Arc::clone(&meter), &survey));
    let logs = Logs::open(&options.file)?.take(options.logs);
    let played = stream::iter(logs)
        .map(|log| {
            let stage = Arc::clone(&stage);
            // A task for each log, so that they use all cores; the stream is polled for the next log only when one has ended.
            async move { anyhow::Ok(tokio::spawn(async move { anyhow::Ok(stage.play(&log?).await) }).await??) }
        })
        .buffer_unordered(options.chats.max(1));
    let mut played = std::pin::pin!(played);
    let mut total = Played::default();
    while let Some(log) = played.next().await {
        total.add(log?);
    }
    drop(progress);
    let mut differences = std::mem::take(&mut total.differences);
    check_totals(&survey, &total, &mut differences);
    Ok(Summary {
        file: options.file.clone(),
        target: options.target.clone(),
        server_version: server.version,
        run: options.run.clone(),
        survey,
        played: total,
        meter,
        elapsed: began.elapsed(),
        differences,
    })
}

/// The logs were compared one by one; this holds their sum against the count of the file, so that no log fell out between.
fn check_totals(survey: &Survey, played: &Played, differences: &mut Differences) {
    let expected = survey.messages - survey.blank;
    let streamed = expected.min(played.streamed);
    for (what, count) in [
        ("accepted", played.accepted),
        ("read by ListMessages", played.listed),
        ("read by SyncChanges", played.synced),
        ("read by StreamChanges at least once", streamed),
    ] {
        if count != expected {
            differences.add(
                "all logs",
                None,
                format!("{count} messages {what} instead of {expected}"),
            );
        }
    }
    if played.refused != survey.blank {
        differences.add(
            "all logs",
            None,
            format!("{} blank texts refused instead of {}", played.refused, survey.blank),
        );
    }
}
