//! Server streams as Server-Sent Events, for curl and for `fetch` in browsers.
//!
//! The request is a `POST` with the RPC's message in JSON and `accept: text/event-stream`; the access token stands in
//! `authorization`, never in the URL, so that the browser's `EventSource`, which can send no headers, cannot be used. Each
//! message is an event `message`; an error is an event `error` with Connect's JSON, and ends the stream; where the service ends
//! the stream well, an event `end` says so, so that it can be told from a broken connection. A stream that fails before its
//! first message is answered with an HTTP status instead.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tonic::{Status, Streaming, body::Body};

use crate::{
    admission::{Admitted, Lasting},
    catalogue::Method,
    connect, json,
};

/// A comment is sent when nothing else was for this long, so that proxies, which often wait for 30 or 60 s, keep the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Tells nginx not to collect the stream.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The response that carries the stream.
pub fn response(method: Arc<Method>, messages: Streaming<Bytes>, permit: OwnedSemaphorePermit) -> Response<Body> {
    let events = stream::unfold(
        Some(Events {
            method,
            messages,
            keepalive: KEEPALIVE_INTERVAL,
        }),
        |events| async {
            let (event, events) = events?.next().await;
            Some((Ok::<_, Infallible>(Frame::data(event)), events))
        },
    );
    let response = Response::new(Body::new(StreamBody::new(events)));
    let mut response = Admitted::keep(response, permit, Lasting::Stream);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

struct Events {
    method: Arc<Method>,
    messages: Streaming<Bytes>,
    keepalive: Duration,
}

impl Events {
    /// The next event, and the rest unless it was the last.
    async fn next(mut self) -> (Bytes, Option<Self>) {
        let Ok(message) = timeout(self.keepalive, self.messages.message()).await else {
            return (Bytes::from_static(b":\n\n"), Some(self));
        };
        match message {
            Ok(Some(message)) => match json::from_binary(&self.method.descriptor.output(), message) {
                Ok(json) => (event("message", &json), Some(self)),
                Err(problem) => (error(&problem.into()), None),
            },
            Ok(None) => (event("end", b"{}"), None),
            Err(status) => (error(&connect::contracted(status)), None),
        }
    }
}

fn error(status: &Status) -> Bytes {
    event("error", connect::error::to_json(status).to_string().as_bytes())
}

/// JSON has no line breaks but escaped ones, so that it is one line of data.
fn event(name: &str, json: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(name.len() + json.len() + 16);
    event.put_slice(b"event: ");
    event.put_slice(name.as_bytes());
    event.put_slice(b"\ndata: ");
    event.put_slice(json);
    event.put_slice(b"\n\n");
    event.freeze()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::{Status, Streaming};

    use super::Events;
    use crate::{
        catalogue::{Catalogue, DESCRIPTORS},
        connect::BytesCodec,
    };

    #[tokio::test]
    async fn a_quiet_stream_is_kept_open_with_comments() {
        let catalogue = Catalogue::new(&DESCRIPTORS).expect("our own descriptors");
        let method = catalogue
            .get("/tidings.message.v1.SyncService/StreamChanges")
            .expect("public");
        let quiet = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Status>>());
        let messages = Streaming::new_request(BytesCodec, quiet, None, None);
        let keepalive = Duration::from_millis(10);
        let mut events = Some(Events {
            method: Arc::clone(method),
            messages,
            keepalive,
        });
        for _ in 0..3 {
            let (event, rest) = events.expect("it goes on").next().await;
            assert_eq!(event, ":\n\n");
            events = rest;
        }
        assert!(events.is_some());
    }
}
