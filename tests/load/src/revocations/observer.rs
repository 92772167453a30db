use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    StreamChangesRequest, StreamChangesResponse, SyncChangesRequest, stream_changes_response::Frame,
    sync_service_client::SyncServiceClient,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::{Status, Streaming, transport::Channel};

use super::{
    report::Times,
    stage::{Stage, User},
    way::Way,
};
use crate::client::Failure;
use crate::client::authorized;

/// A process that has just started, or has not heard of the user, trusts the token after this at the latest.
const WELCOME_LIMIT: Duration = Duration::from_secs(20);

/// Measures one end of somebody's rights.
pub async fn round(stage: &Stage, way: Way, patience: Duration) -> Result<Times> {
    let user = Arc::new(stage.user().await?);
    let observers = stage
        .nodes
        .iter()
        .map(|node| Observer::begin(node, &user, way.refusal()));
    let observers = try_join_all(observers).await?;
    let prepared = way.prepare(stage, &user).await?;
    // All are at work when the end begins.
    for observer in &observers {
        observer.is_answered().await?;
    }
    let begun = Instant::now();
    way.end(stage, &user, prepared).await?;
    let returned = Instant::now();
    let mut times = Times {
        call: returned - begun,
        ..Times::default()
    };
    for observer in observers {
        let (refused, closed) = timeout(patience, observer.end())
            .await
            .with_context(|| format!("not known everywhere after {patience:?}"))??;
        times.refused.push(refused.saturating_duration_since(returned));
        times.closed.push(closed.saturating_duration_since(returned));
    }
    Ok(times)
}

/// One user at one process: calling all the time, and listening.
struct Observer {
    answered: watch::Receiver<u64>,
    calling: JoinHandle<Result<Instant>>,
    listening: JoinHandle<Result<Instant>>,
}

impl Observer {
    async fn begin(node: &Channel, user: &Arc<User>, refusal: ErrorReason) -> Result<Self> {
        let stream = welcomed(node, user).await?;
        let (telling, answered) = watch::channel(0);
        Ok(Self {
            answered,
            calling: tokio::spawn(call_until_refused(node.clone(), Arc::clone(user), refusal, telling)),
            listening: tokio::spawn(listen_until_closed(stream, refusal)),
        })
    }

    /// Waits until calls are answered.
    async fn is_answered(&self) -> Result<()> {
        let mut answered = self.answered.clone();
        let seen = *answered.borrow();
        let waited = timeout(WELCOME_LIMIT, answered.wait_for(|answers| *answers > seen)).await;
        waited.context("calls are not answered")?.context("calls have ended")?;
        Ok(())
    }

    /// When calls were refused, and when the stream ended.
    async fn end(self) -> Result<(Instant, Instant)> {
        Ok((self.calling.await??, self.listening.await??))
    }
}

/// Opens a stream that is answered: it has said what there was before.
async fn welcomed(node: &Channel, user: &User) -> Result<Streaming<StreamChangesResponse>> {
    let begun = Instant::now();
    loop {
        let request = authorized(StreamChangesRequest::default(), &user.access_token);
        let status = match SyncServiceClient::new(node.clone()).stream_changes(request).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while let Some(answer) = timeout(WELCOME_LIMIT, stream.message()).await?? {
                    if matches!(answer.frame, Some(Frame::CaughtUp(_))) {
                        return Ok(stream);
                    }
                }
                bail!("a stream ended before it had begun");
            }
            Err(status) => status,
        };
        ensure!(begun.elapsed() < WELCOME_LIMIT, "a stream cannot be opened: {status}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn call_until_refused(
    node: Channel,
    user: Arc<User>,
    refusal: ErrorReason,
    telling: watch::Sender<u64>,
) -> Result<Instant> {
    let mut sync = SyncServiceClient::new(node);
    loop {
        let request = SyncChangesRequest {
            page_size: 1,
            ..SyncChangesRequest::default()
        };
        match sync.sync_changes(authorized(request, &user.access_token)).await {
            Ok(_) => telling.send_modify(|answers| *answers += 1),
            Err(status) => {
                promised("a call", &status, refusal)?;
                break;
            }
        }
    }
    let refused = Instant::now();
    // What was refused once is refused from then on.
    let again = authorized(SyncChangesRequest::default(), &user.access_token);
    match sync.sync_changes(again).await {
        Ok(_) => bail!("a call is answered again"),
        Err(status) => promised("a call", &status, refusal)?,
    }
    Ok(refused)
}

async fn listen_until_closed(mut stream: Streaming<StreamChangesResponse>, refusal: ErrorReason) -> Result<Instant> {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => bail!("a stream ended without saying why"),
            Err(status) => {
                promised("a stream", &status, refusal)?;
                return Ok(Instant::now());
            }
        }
    }
}

/// That something ended as the API says.
fn promised(what: &'static str, status: &Status, refusal: ErrorReason) -> Result<()> {
    let failure = Failure::of(what, status);
    ensure!(
        failure.reason == Some(refusal),
        "ended otherwise than promised: {failure}"
    );
    Ok(())
}
