//! Bodies of requests, with the limits that tonic does not set.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tidings_proto_common::v1::ErrorReason;
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body};

use crate::Problem;

/// A request's body that ends when a message in it is announced larger than its RPC takes, before the message is read, when a
/// second message begins that its RPC does not take, and when the call's time is over, however slowly bytes arrive.
pub struct RequestBody {
    inner: Body,
    bytes_max: usize,
    streamed: bool,
    deadline: Pin<Box<Sleep>>,
    prefix: Prefix,
}

/// Where in the sequence of length-prefixed messages the body stands.
#[derive(Default)]
struct Prefix {
    /// Bytes of the current prefix that have been seen: a flag and four bytes of length.
    seen: usize,
    length: u32,
    /// Bytes of the current message that are still to come.
    left: usize,
    /// Whether a whole prefix has been seen: what follows its message is another one.
    complete: bool,
}

impl RequestBody {
    /// `inner`, with one message of at most `bytes_max`, until `deadline`.
    #[must_use]
    pub fn new(inner: Body, bytes_max: usize, deadline: Instant) -> Self {
        Self {
            inner,
            bytes_max,
            streamed: false,
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
            prefix: Prefix::default(),
        }
    }

    /// The same with as many messages as the RPC's policy lets a client stream.
    #[must_use]
    pub fn streamed(self, streamed: bool) -> Self {
        Self { streamed, ..self }
    }
}

/// Why a body is not read on.
#[derive(Debug, PartialEq, Eq)]
enum Excess {
    /// A message is announced with this length.
    Bytes(usize),
    /// Another message begins.
    Message,
}

impl Excess {
    fn problem(self, bytes_max: usize) -> Problem {
        match self {
            Self::Bytes(_) => Problem::new(ErrorReason::MessageTooLarge).with("limit_bytes", bytes_max),
            // tonic would read the first and drop the rest unseen.
            Self::Message => Problem::field("", "the request must be one message"),
        }
    }
}

impl Prefix {
    const BYTES: usize = 5;

    /// Follows the framing through `data`, up to what is too much.
    fn follow(&mut self, mut data: &[u8], bytes_max: usize, streamed: bool) -> Result<(), Excess> {
        while !data.is_empty() {
            if self.left > 0 {
                let step = self.left.min(data.len());
                self.left -= step;
                data = &data[step..];
                continue;
            }
            if self.complete && !streamed {
                return Err(Excess::Message);
            }
            if self.seen > 0 {
                self.length = (self.length << 8) | u32::from(data[0]);
            }
            self.seen += 1;
            data = &data[1..];
            if self.seen == Self::BYTES {
                let length = usize::try_from(self.length).unwrap_or(usize::MAX);
                if length > bytes_max {
                    return Err(Excess::Bytes(length));
                }
                *self = Self {
                    left: length,
                    complete: true,
                    ..Self::default()
                };
            }
        }
        Ok(())
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(other) => return Poll::Ready(other),
                Poll::Pending => {
                    let over = this.deadline.as_mut().poll(cx);
                    return over.map(|()| Some(Err(Problem::new(ErrorReason::DeadlineExceeded).into())));
                }
            };
            let Some(data) = frame.data_ref() else {
                return Poll::Ready(Some(Ok(frame)));
            };
            // What ends a body is often a frame without bytes. Passed on, it would be one that does not end it, and after a
            // hundred of those h2 closes the connection, which to a service carries everybody's calls.
            if data.is_empty() {
                continue;
            }
            let checked = this.prefix.follow(data, this.bytes_max, this.streamed);
            let frame = checked
                .map(|()| frame)
                .map_err(|excess| excess.problem(this.bytes_max).into());
            return Poll::Ready(Some(frame));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::time::Instant;
    use tonic::{Status, body::Body};

    use super::{Excess, Prefix, RequestBody};

    #[tokio::test]
    async fn frames_without_bytes_are_not_passed_on() {
        let chunks =
            ["", "ab", "", "c", ""].map(|chunk| Ok::<_, Status>(Frame::data(Bytes::from_static(chunk.as_bytes()))));
        let body = Body::new(StreamBody::new(tokio_stream::iter(chunks)));
        let mut body = RequestBody::new(body, usize::MAX, Instant::now() + crate::deadline::MAX);
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(frame.expect("no error").into_data().expect("data"));
        }
        assert_eq!(frames, [Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
    }

    #[test]
    fn a_message_is_refused_by_its_announced_length() {
        let mut prefix = Prefix::default();
        assert_eq!(prefix.follow(&[0, 0, 0, 0, 2, 7, 7, 0, 0], 10, true), Ok(()));
        assert_eq!(prefix.follow(&[0, 0, 11], 10, true), Err(Excess::Bytes(11)));
        assert_eq!(
            Prefix::default().follow(&[0, 0xff, 0xff, 0xff, 0xff], 10, true),
            Err(Excess::Bytes(0xffff_ffff))
        );
    }

    #[test]
    fn a_second_message_is_refused_where_one_is_taken() {
        let mut prefix = Prefix::default();
        assert_eq!(prefix.follow(&[0, 0, 0, 0, 2, 7], 10, false), Ok(()));
        assert_eq!(prefix.follow(&[7], 10, false), Ok(()));
        assert_eq!(prefix.follow(&[0], 10, false), Err(Excess::Message));
        let mut empty = Prefix::default();
        assert_eq!(empty.follow(&[0, 0, 0, 0, 0], 10, false), Ok(()));
        assert_eq!(empty.follow(&[0], 10, false), Err(Excess::Message));
    }
}
