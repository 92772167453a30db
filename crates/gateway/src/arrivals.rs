//! Requests on their way: a call takes a place among those at work once its request is here.
//!
//! How long a request takes is its client's doing, and who the client is nobody has asked yet. So those that are on their way
//! have bounds of their own, which leave others' alone: a time, and how many and how much of one network wait at once.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tidings_ids::Source;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Problem, RateKey};
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body};

use crate::admission::OVERLOAD_WAIT;

/// What waits at once of one network: it takes a phone's line some seconds to bring 64 KiB, and others none at all.
const PER_NETWORK: Amount = Amount {
    requests: 200,
    bytes: 16 * 1024 * 1024,
};

/// What waits at once in all.
const IN_ALL: Amount = Amount {
    requests: 8_192,
    bytes: 64 * 1024 * 1024,
};

/// The shortest time that a request is waited for, where its call has one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a line brings in a second that is worth waiting for: 64 kbit/s.
const LEAST_BYTES_PER_SECOND: u64 = 8 * 1024;

/// Counts the requests on their way.
#[derive(Debug)]
pub struct Arrivals {
    source: Source,
    patience: Duration,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    in_all: Amount,
    by_network: HashMap<RateKey, Amount>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    requests: usize,
    bytes: usize,
}

/// One request that is waited for.
struct Arriving {
    network: RateKey,
    counted: Amount,
    waiting: Arc<Mutex<Waiting>>,
}

impl Arrivals {
    pub fn new(source: Source) -> Self {
        Self {
            source,
            patience: PATIENCE,
            waiting: Arc::default(),
        }
    }

    /// All of a request's body, in the pieces that it came in. The body itself bounds its bytes, by `bytes_max` at about.
    ///
    /// What is here already is taken without being counted.
    ///
    /// # Errors
    ///
    /// The body's own; `DEADLINE_EXCEEDED` when it is not here by `deadline`, or not within the time that a slow line takes;
    /// `RATE_LIMITED` when too much of its network is on its way, `OVERLOADED` when too much is at all.
    pub async fn whole<B>(
        &self,
        network: RateKey,
        mut body: B,
        bytes_max: usize,
        deadline: Instant,
    ) -> Result<Request, Status>
    where
        B: HttpBody<Data = Bytes, Error = Status> + Unpin,
    {
        let mut request = Request::default();
        let mut arriving: Option<Arriving> = None;
        let slowest = Duration::from_secs(u64::try_from(bytes_max).unwrap_or(u64::MAX) / LEAST_BYTES_PER_SECOND);
        let deadline = deadline.min(Instant::now() + self.patience + slowest);
        let collect = async {
            loop {
                let frame = match body.frame().now_or_never() {
                    Some(frame) => frame,
                    None => {
                        if arriving.is_none() {
                            arriving = Some(self.arrives(network, request.bytes)?);
                        }
                        body.frame().await
                    }
                };
                let Some(frame) = frame else {
                    return Ok::<(), Status>(());
                };
                let Ok(piece) = frame?.into_data() else { continue };
                if let Some(arriving) = &mut arriving {
                    arriving.grow(piece.len()).map_err(|full| self.refusal(full))?;
                }
                request.push(piece);
            }
        };
        let late = |_elapsed| Err(Problem::new(ErrorReason::DeadlineExceeded).into());
        timeout_at(deadline, collect).await.unwrap_or_else(late)?;
        request.waited = arriving.is_some();
        Ok(request)
    }

    fn arrives(&self, network: RateKey, bytes: usize) -> Result<Arriving, Problem> {
        let mut arriving = Arriving {
            network,
            counted: Amount::default(),
            waiting: Arc::clone(&self.waiting),
        };
        let first = Amount { requests: 1, bytes };
        arriving.count(first).map_err(|full| self.refusal(full))?;
        Ok(arriving)
    }

    fn refusal(&self, full: Full) -> Problem {
        let reason = match full {
            Full::Network => ErrorReason::RateLimited,
            Full::All => ErrorReason::Overloaded,
        };
        Problem::new(reason).retry_after(self.source.jitter(OVERLOAD_WAIT))
    }
}

/// Whose bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    Network,
    All,
}

impl Amount {
    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            bytes: self.bytes + other.bytes,
        }
    }

    fn within(self, bound: Self) -> bool {
        self.requests <= bound.requests && self.bytes <= bound.bytes
    }
}

impl Arriving {
    fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        self.count(Amount { requests: 0, bytes })
    }

    fn count(&mut self, more: Amount) -> Result<(), Full> {
        let mut waiting = self.waiting.lock();
        let in_all = waiting.in_all.add(more);
        if !in_all.within(IN_ALL) {
            return Err(Full::All);
        }
        let of_network = waiting
            .by_network
            .get(&self.network)
            .copied()
            .unwrap_or_default()
            .add(more);
        if !of_network.within(PER_NETWORK) {
            return Err(Full::Network);
        }
        waiting.in_all = in_all;
        waiting.by_network.insert(self.network, of_network);
        self.counted = self.counted.add(more);
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        waiting.in_all.requests -= self.counted.requests;
        waiting.in_all.bytes -= self.counted.bytes;
        if let Some(of_network) = waiting.by_network.get_mut(&self.network) {
            of_network.requests -= self.counted.requests;
            of_network.bytes -= self.counted.bytes;
            if *of_network == Amount::default() {
                waiting.by_network.remove(&self.network);
            }
        }
    }
}

/// A request that is here.
#[derive(Debug, Default)]
pub struct Request {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    waited: bool,
}

impl Request {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Whether it took time to come.
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Its bytes in one piece, which most came in.
    pub fn into_bytes(mut self) -> Bytes {
        if self.pieces.len() <= 1 {
            return self.pieces.pop_front().unwrap_or_default();
        }
        let mut bytes = BytesMut::with_capacity(self.bytes);
        for piece in &self.pieces {
            bytes.extend_from_slice(piece);
        }
        bytes.freeze()
    }

    /// A body of the same pieces.
    pub fn into_body(self) -> Body {
        Body::new(self)
    }
}

impl HttpBody for Request {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let piece = self.pieces.pop_front();
        self.bytes -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use tidings_ids::Source;
    use tidings_rpc::RateKey;
    use tokio::time::{Instant, timeout};
    use tonic::{Code, Status, body::Body};
    use tonic_types::StatusExt as _;

    use super::{Amount, Arrivals, IN_ALL, PER_NETWORK};

    fn arrivals() -> Arrivals {
        Arrivals::new(Source::seeded(1))
    }

    fn network(text: &str) -> RateKey {
        RateKey::prefix(text.parse().expect("an address"))
    }

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3_600)
    }

    /// A body of these pieces that ends, or never does.
    fn body(pieces: &[&'static str], ends: bool) -> Body {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, Status>(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        if ends {
            Body::new(StreamBody::new(stream::iter(pieces)))
        } else {
            Body::new(StreamBody::new(stream::iter(pieces).chain(stream::pending())))
        }
    }

    #[tokio::test]
    async fn what_is_here_is_taken_as_it_came_and_not_counted() {
        let arrivals = arrivals();
        let whole = arrivals
            .whole(network("192.0.2.1"), body(&["ab", "c"], true), 10, in_an_hour())
            .await;
        let whole = whole.expect("it is here");
        assert!(!whole.waited());
        let again = whole.into_body().collect().await.expect("no error").to_bytes();
        assert_eq!(again, "abc");
        assert_eq!(arrivals.waiting.lock().in_all, Amount::default());
    }

    #[tokio::test]
    async fn what_does_not_come_is_given_up_whatever_its_client_says() {
        let arrivals = Arrivals {
            patience: Duration::from_millis(20),
            ..arrivals()
        };
        let never = arrivals.whole(network("192.0.2.1"), body(&["ab"], false), 10, in_an_hour());
        let never = timeout(Duration::from_secs(10), never).await.expect("it is given up");
        assert_eq!(never.expect_err("it does not come").code(), Code::DeadlineExceeded);
        assert_eq!(arrivals.waiting.lock().in_all, Amount::default());
    }

    #[tokio::test]
    async fn one_network_does_not_use_up_what_all_have() {
        let arrivals = arrivals();
        let begin = |address: &str| {
            let mut arrival = Box::pin(arrivals.whole(network(address), body(&["ab"], false), 10, in_an_hour()));
            let refused = (&mut arrival)
                .now_or_never()
                .map(|ended| ended.map(drop).expect_err("it never ends well"));
            (
                arrival,
                refused
                    .and_then(|status| status.get_details_error_info())
                    .map(|info| info.reason),
            )
        };
        let mut waiting: Vec<_> = (0..PER_NETWORK.requests).map(|_| begin("192.0.2.1")).collect();
        assert!(waiting.iter().all(|(_, refused)| refused.is_none()));
        assert_eq!(begin("192.0.2.200").1.as_deref(), Some("RATE_LIMITED"));
        assert_eq!(begin("192.0.3.1").1, None);
        waiting.pop();
        assert_eq!(begin("192.0.2.200").1, None, "there is room again");
    }

    #[test]
    fn bytes_count_too() {
        let arrivals = arrivals();
        let mut first = arrivals
            .arrives(network("192.0.2.1"), PER_NETWORK.bytes)
            .expect("there is room");
        assert_eq!(first.grow(1), Err(super::Full::Network));
        let mut others = Vec::new();
        for number in 1..IN_ALL.bytes / PER_NETWORK.bytes {
            let network = network(&format!("198.51.{number}.1"));
            others.push(arrivals.arrives(network, PER_NETWORK.bytes).expect("there is room"));
        }
        let mut last = arrivals.arrives(network("203.0.113.1"), 0).expect("there is room");
        assert_eq!(last.grow(1), Err(super::Full::All));
        others.clear();
        assert_eq!(last.grow(1), Ok(()));
    }
}
