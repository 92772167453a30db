//! `SyncService.StreamChanges`, one opening of it.

use std::{sync::Arc, time::Duration};

use tidings_proto_message::v1::{
    After, StreamChangesRequest, StreamChangesResponse, stream_changes_response::Frame,
    sync_service_client::SyncServiceClient,
};
use tonic::{Code, Status, Streaming};

use super::{Failure, Session, session::authorized};

const METHOD: &str = "StreamChanges";

/// A stream whose headers have not come after this long is opened again.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// A heartbeat comes at least every 30 seconds; a stream that is silent for this long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// An open stream.
#[derive(Debug)]
pub struct ChangeStream {
    session: Session,
    token: Arc<str>,
    frames: Streaming<StreamChangesResponse>,
}

impl ChangeStream {
    /// Tries once to open a stream, on the connections that streams have for themselves.
    ///
    /// # Errors
    ///
    /// What the attempt met. A token that was refused has been replaced by then, and the failure is transient.
    pub async fn open(session: &Session, after: After) -> Result<Self, Failure> {
        let token = session.access_token().await?;
        let mut client = SyncServiceClient::new(session.client().stream_channel());
        let request = authorized(StreamChangesRequest { after: Some(after) }, &token);
        let opened = match tokio::time::timeout(OPEN_TIMEOUT, client.stream_changes(request)).await {
            Ok(opened) => opened,
            Err(_) => Err(Status::deadline_exceeded("the stream did not open in time")),
        };
        match opened {
            Ok(stream) => Ok(Self {
                session: session.clone(),
                token,
                frames: stream.into_inner(),
            }),
            Err(status) => Err(explain(session, &token, &status).await?),
        }
    }

    /// The next frame that this client knows.
    ///
    /// # Errors
    ///
    /// Why the stream has ended, as [`open`](Self::open) tells it.
    pub async fn next(&mut self) -> Result<Frame, Failure> {
        loop {
            let status = match tokio::time::timeout(SILENCE_MAX, self.frames.message()).await {
                Ok(Ok(Some(StreamChangesResponse { frame: Some(frame) }))) => return Ok(frame),
                Ok(Ok(Some(StreamChangesResponse { frame: None }))) => continue,
                Ok(Ok(None)) => Status::unavailable("the server ended the stream"),
                Ok(Err(status)) => status,
                Err(_) => Status::unavailable("the stream fell silent"),
            };
            return Err(explain(&self.session, &self.token, &status).await?);
        }
    }
}

/// Replaces the token where it was what a stream failed for, and makes that failure one that may be repeated.
async fn explain(session: &Session, token: &str, status: &Status) -> Result<Failure, Failure> {
    let failure = Failure::of(METHOD, status);
    if !failure.is_about_the_token() {
        return Ok(failure);
    }
    session.renew(token).await?;
    Ok(Failure {
        code: Code::Unavailable,
        reason: None,
        ..failure
    })
}
