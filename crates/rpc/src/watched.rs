use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tidings_proto_common::v1::ErrorReason;
use tokio::time::Instant;
use tonic::{Status, body::Body};

use crate::{Answers, Problem, RateKey, answers::NoRoom};

/// A frame is handed out in pieces of at most this, so that what the protocol keeps of it is not all of it.
const PIECE_BYTES: usize = 16 * 1024;

/// What the protocol may keep of an answer that was handed out whole: HTTP/1.1's buffer.
const KEPT_BYTES: usize = 64 * 1024;

/// How an answer is looked after.
pub struct Watch {
    /// How long its reader may take nothing.
    pub patience: Duration,
    /// When it is over, whatever its reader takes.
    pub until: Option<Instant>,
    /// Whose it is, where what it holds counts.
    pub caller: Option<RateKey>,
    /// Whether it ends with gRPC's trailers, or breaks off as other protocols do.
    pub trailers: bool,
    /// What happens when it is let go of, once it holds nothing any more.
    pub on_let_go: Option<Box<dyn FnOnce() + Send>>,
}

/// The body of an answer that is let go of when its reader takes nothing for too long, or when there is no room for it.
pub struct Watched {
    slot: Arc<Slot>,
    answers: Answers,
    caller: Option<RateKey>,
    trailers: bool,
    /// Its place among those in their readers' hands. It has none while its reader waits for us.
    held: Option<u64>,
    /// What was not handed out yet of the current frame, but its end.
    rest: Bytes,
    /// The end of the current frame.
    last: Bytes,
    ended: bool,
}

/// What an answer holds, until it is let go.
pub(crate) struct Slot {
    open: Mutex<Option<Open>>,
    patience: Duration,
    until: Option<Instant>,
}

struct Open {
    inner: Body,
    /// Since when the reader has had a piece without asking for another. `None` while it waits for us.
    handed_out: Option<Instant>,
    on_let_go: Option<Box<dyn FnOnce() + Send>>,
}

impl Slot {
    /// Since when its reader has taken nothing, unless it waits for us or is asking just now.
    pub(crate) fn untaken_since(&self) -> Option<Instant> {
        self.open.try_lock()?.as_ref()?.handed_out
    }

    /// Whether its time is over, or its reader has taken nothing for so long.
    pub(crate) fn is_due(&self, now: Instant, patience: Duration) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        let patience = patience.min(self.patience);
        over || self
            .untaken_since()
            .is_some_and(|since| now.duration_since(since) >= patience)
    }

    /// Drops what it holds.
    pub(crate) fn let_go(&self) {
        let open = self.open.lock().take();
        let Some(Open { inner, on_let_go, .. }) = open else {
            return;
        };
        drop(inner);
        if let Some(on_let_go) = on_let_go {
            on_let_go();
        }
    }
}

impl Watched {
    pub(crate) fn new(answers: Answers, inner: Body, watch: Watch) -> Self {
        let slot = Arc::new(Slot {
            open: Mutex::new(Some(Open {
                inner,
                handed_out: Some(Instant::now()),
                on_let_go: watch.on_let_go,
            })),
            patience: watch.patience,
            until: watch.until,
        });
        Self {
            held: Some(answers.begin(&slot, watch.caller)),
            slot,
            answers,
            caller: watch.caller,
            trailers: watch.trailers,
            rest: Bytes::new(),
            last: Bytes::new(),
            ended: false,
        }
    }

    /// Takes a frame to hand it out in pieces. Its last ones are copies: they may be kept when all the rest is taken, and would keep
    /// all of it.
    fn take(&mut self, mut data: Bytes) {
        if data.len() > 2 * KEPT_BYTES {
            let last = data.split_off(data.len() - KEPT_BYTES);
            self.last = Bytes::copy_from_slice(&last);
        }
        self.rest = data;
    }

    /// The next piece of the current frame.
    fn piece(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.rest = std::mem::take(&mut self.last);
        }
        let bytes = self.rest.len().min(PIECE_BYTES);
        (bytes > 0).then(|| self.rest.split_to(bytes))
    }

    /// Counts what the answer holds, now that its reader has some of it.
    fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let id = match self.held {
            Some(id) => id,
            None => *self.held.insert(self.answers.begin(&self.slot, self.caller)),
        };
        if self.caller.is_some() {
            self.answers.hold(id, bytes)
        } else {
            Ok(())
        }
    }

    /// The reader waits for us, or has all.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.answers.end(held);
        }
    }

    /// Ends it from our side.
    fn end(&mut self, reason: ErrorReason) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        self.release();
        (self.rest, self.last) = (Bytes::new(), Bytes::new());
        let status = Status::from(Problem::new(reason));
        if !self.trailers {
            return Poll::Ready(Some(Err(status)));
        }
        let mut trailers = HeaderMap::new();
        let written = status.add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let slot = Arc::clone(&this.slot);
        let mut slot = slot.open.lock();
        let Some(open) = slot.as_mut() else {
            drop(slot);
            return this.end(ErrorReason::SlowConsumer);
        };
        if let Some(piece) = this.piece() {
            open.handed_out = Some(Instant::now());
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let polled = Pin::new(&mut open.inner).poll_frame(cx);
        open.handed_out = polled.is_ready().then(Instant::now);
        drop(slot);
        let data = match polled {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            },
            Poll::Ready(end) => {
                this.ended = true;
                this.release();
                return Poll::Ready(end);
            }
            Poll::Pending => {
                if this.slot.until.is_none() {
                    this.release();
                }
                return Poll::Pending;
            }
        };
        if this.hold(data.len()).is_err() {
            let refused = this.slot.open.lock().take();
            drop(refused);
            return this.end(ErrorReason::Overloaded);
        }
        this.take(data);
        Poll::Ready(Some(Ok(Frame::data(this.piece().unwrap_or_default()))))
    }

    fn is_end_stream(&self) -> bool {
        let has_pieces = !self.rest.is_empty() || !self.last.is_empty();
        let inner_ends = || {
            self.slot
                .open
                .lock()
                .as_ref()
                .is_some_and(|open| open.inner.is_end_stream())
        };
        self.ended || (!has_pieces && inner_ends())
    }

    fn size_hint(&self) -> SizeHint {
        // It is asked for before anything is handed out.
        if self.rest.is_empty() && self.last.is_empty() {
            let open = self.slot.open.lock();
            open.as_ref().map(|open| open.inner.size_hint()).unwrap_or_default()
        } else {
            SizeHint::default()
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use tidings_ids::Source;
    use tonic::{Status, body::Body};
    use tonic_types::StatusExt as _;

    use super::{Watch, Watched};
    use crate::{Answers, RateKey};

    fn answer(answers: &Answers, bytes: usize, caller: Option<RateKey>) -> Watched {
        let content: Vec<u8> = (0..bytes)
            .map(|byte| u8::try_from(byte % 251).expect("small"))
            .collect();
        let watch = Watch {
            patience: Duration::from_secs(30),
            until: None,
            caller,
            trailers: true,
            on_let_go: None,
        };
        answers.watch(Body::new(Full::new(Bytes::from(content))), watch)
    }

    fn caller(source: &Source) -> Option<RateKey> {
        Some(RateKey::User(source.new_id()))
    }

    /// What comes first: bytes, or the reason why not.
    async fn first(answer: &mut Watched) -> Result<usize, String> {
        let frame = answer.frame().await.expect("a frame").expect("no error");
        let trailers = match frame.into_data() {
            Ok(data) => return Ok(data.len()),
            Err(frame) => frame.into_trailers().expect("trailers"),
        };
        let status = Status::from_header_map(&trailers).expect("a status");
        Err(status.get_details_error_info().expect("details").reason)
    }

    #[tokio::test]
    async fn a_large_frame_is_handed_out_in_pieces_whose_last_keep_nothing_else() {
        let answers = Answers::new();
        let mut answer = answer(&answers, 1_000_000, None);
        let mut pieces = Vec::new();
        while let Some(frame) = answer.frame().await {
            pieces.push(frame.expect("no error").into_data().expect("data"));
        }
        assert!(pieces.iter().all(|piece| piece.len() <= super::PIECE_BYTES));
        let content = pieces.concat();
        assert_eq!(content.len(), 1_000_000);
        assert!(
            content
                .iter()
                .zip((0..=250_u8).cycle())
                .all(|(byte, expected)| *byte == expected)
        );
        let kept = pieces.split_off(pieces.len() - super::KEPT_BYTES / super::PIECE_BYTES);
        let begin = pieces[0].as_ptr() as usize;
        assert!(
            kept.iter()
                .all(|piece| !(begin..begin + 1_000_000).contains(&(piece.as_ptr() as usize)))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_has_so_much_at_once_and_others_have_theirs() {
        let (answers, source) = (Answers::new(), Source::seeded(1));
        let (greedy, modest) = (caller(&source), caller(&source));
        // A single one may be longer than what one has.
        let mut long = answer(&answers, 20 << 20, greedy);
        assert!(first(&mut long).await.is_ok());
        let mut further = answer(&answers, 1, greedy);
        assert_eq!(first(&mut further).await, Err("OVERLOADED".to_owned()));
        let mut other = answer(&answers, 1_000, modest);
        assert_eq!(first(&mut other).await, Ok(1_000));
        drop(long);
        let mut further = answer(&answers, 1, greedy);
        assert_eq!(first(&mut further).await, Ok(1), "there is room again");
    }
}
