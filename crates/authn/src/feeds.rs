//! Following the feeds by which tokens are verified and refused: auth's signing keys and ended login sessions, user's
//! states.
//!
//! A follower never gives up: a stream that breaks, falls silent or has a hole is opened again after a pause, from the
//! last number that was applied. What is known counts as current only when everything up to the head that the feed has
//! named was applied, so that a process which cannot keep up refuses rather than trusts.

use std::{future::Future, sync::Arc, time::Duration};

use tidings_ids::{LoginSessionId, Source, UserId};
use tidings_proto_auth::v1::{
    ListSigningKeysRequest, WatchRevocationsRequest, WatchRevocationsResponse, auth_service_client::AuthServiceClient,
    watch_revocations_response,
};
use tidings_proto_user::v1::{
    UserState as State, UserStatus, WatchUserStatesRequest, WatchUserStatesResponse,
    user_state_service_client::UserStateServiceClient, watch_user_states_response,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status, Streaming,
    client::GrpcService,
    codegen::{Body as HttpBody, Bytes, StdError},
};

use crate::{AccountStatus, PublicKey, Revocations, UserState, Verifier};

/// A feed speaks every second. One that is silent for so long is opened again.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The first pause after a failure; each further one is twice as long, up to the longest.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Well below the ten seconds after which an unheard feed is not trusted.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// A retired key is refused within so long, and some for the answer (`reliability.md` F51: 10 s).
const KEYS_EVERY: Duration = Duration::from_secs(5);

/// However many tokens name unknown keys, auth is not asked more often.
const KEYS_PAUSE_MIN: Duration = Duration::from_secs(1);

/// A way to a service: a network channel, or one within the process.
pub trait Channel:
    GrpcService<
        tonic::body::Body,
        Error: Into<StdError>,
        ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Channel for T where
    T: GrpcService<
            tonic::body::Body,
            Error: Into<StdError>,
            ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Follows auth's `WatchRevocations` until `stop`.
pub async fn follow_revocations<T>(auth: T, revocations: Arc<Revocations>, source: Source, stop: CancellationToken)
where
    T: Channel,
{
    let feed = RevocationFeed {
        client: AuthServiceClient::new(auth),
        revocations,
    };
    follow(feed, &source, &stop).await;
}

/// Follows user's `WatchUserStates` until `stop`.
pub async fn follow_user_states<T>(user: T, revocations: Arc<Revocations>, source: Source, stop: CancellationToken)
where
    T: Channel,
{
    follow_user_states_with(user, revocations, source, stop, |_| {}).await;
}

/// The same, and hands each state on, in order, for whoever keeps more of them than tokens are refused by. A state may
/// come again after the stream was opened anew; its `number` tells.
pub async fn follow_user_states_with<T>(
    user: T,
    revocations: Arc<Revocations>,
    source: Source,
    stop: CancellationToken,
    each: impl Fn(&State) + Send + Sync,
) where
    T: Channel,
{
    let feed = UserStateFeed {
        client: UserStateServiceClient::new(user),
        revocations,
        each,
    };
    follow(feed, &source, &stop).await;
}

/// Keeps the verifier's keys those that auth lists, until `stop`. While auth is away the known ones stay.
pub async fn follow_signing_keys<T>(auth: T, verifier: Arc<Verifier>, source: Source, stop: CancellationToken)
where
    T: Channel,
{
    let mut client = AuthServiceClient::new(auth);
    let mut back_off = BACK_OFF;
    while !stop.is_cancelled() {
        let mut request = Request::new(ListSigningKeysRequest {});
        request.set_timeout(SILENCE_MAX);
        let listed = tokio::select! {
            listed = timeout(SILENCE_MAX, client.list_signing_keys(request)) => listed,
            () = stop.cancelled() => return,
        };
        let keys = listed
            .ok()
            .and_then(Result::ok)
            .map(|response| response.into_inner().keys);
        let asked = Instant::now();
        if let Some(keys) = keys {
            let keys: Vec<PublicKey> = keys
                .into_iter()
                .filter(|key| key.algorithm == "EdDSA")
                .filter_map(|key| {
                    Some(PublicKey {
                        key_id: key.key_id,
                        bytes: key.public_key.try_into().ok()?,
                    })
                })
                .collect();
            verifier.set_keys(&keys);
            back_off = BACK_OFF;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(source.jitter(KEYS_EVERY)) => {}
                () = async {
                    verifier.unknown_key_seen().await;
                    tokio::time::sleep_until(asked + KEYS_PAUSE_MIN).await;
                } => {}
            }
        } else {
            pause(&mut back_off, &source, &stop).await;
        }
    }
}

/// One feed: how it is opened, and what its frames mean.
trait Feed: Send {
    type Frame: Send;
    type Entry: Send;

    fn open(&mut self, after: i64) -> impl Future<Output = Result<Streaming<Self::Frame>, Status>> + Send;

    /// `None` for a frame that makes no sense.
    fn read(&self, frame: Self::Frame) -> Option<Event<Self::Entry>>;

    fn apply(&self, entry: Self::Entry);

    /// All that the feed has was applied.
    fn heard(&self);
}

enum Event<E> {
    Heartbeat {
        head: i64,
        sent: i64,
    },
    /// Entries with their numbers.
    Entries(Vec<(i64, E)>),
}

async fn follow<F: Feed>(mut feed: F, source: &Source, stop: &CancellationToken) {
    let mut cursor = Cursor::default();
    let mut back_off = BACK_OFF;
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            ended = follow_once(&mut feed, &mut cursor, &mut back_off) => ended,
            () = stop.cancelled() => return,
        };
        match ended {
            Ended::Broken(why) => {
                tracing::debug!(feed = std::any::type_name::<F::Entry>(), why, "a feed is opened again")
            }
            Ended::CursorRefused => cursor = Cursor::default(),
        }
        pause(&mut back_off, source, stop).await;
    }
}

/// Why a stream ended.
enum Ended {
    Broken(&'static str),
    /// The feed does not have what follows the number that we had: it was forgotten, or a backup was restored.
    CursorRefused,
}

async fn follow_once<F: Feed>(feed: &mut F, cursor: &mut Cursor, back_off: &mut Duration) -> Ended {
    let opened = timeout(SILENCE_MAX, feed.open(cursor.reopen())).await;
    let mut stream = match opened {
        Ok(Ok(stream)) => stream,
        Ok(Err(status)) => return ended(&status),
        Err(_) => return Ended::Broken("it was not answered"),
    };
    loop {
        let frame = match timeout(SILENCE_MAX, stream.message()).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return Ended::Broken("it ended"),
            Ok(Err(status)) => return ended(&status),
            Err(_) => return Ended::Broken("it fell silent"),
        };
        let Some(event) = feed.read(frame) else {
            return Ended::Broken("a frame made no sense");
        };
        let current = match event {
            Event::Heartbeat { head, sent } => cursor.heartbeat(head, sent),
            Event::Entries(entries) => {
                let mut current = Ok(false);
                for (number, entry) in entries {
                    current = cursor.entry(number);
                    if current.is_err() {
                        break;
                    }
                    feed.apply(entry);
                }
                current
            }
        };
        match current {
            Ok(true) => {
                feed.heard();
                *back_off = BACK_OFF;
            }
            Ok(false) => {}
            Err(Hole) => return Ended::Broken("it has a hole"),
        }
    }
}

fn ended(status: &Status) -> Ended {
    // CURSOR_EXPIRED and CURSOR_INVALID are the only reasons of a feed with these codes.
    match status.code() {
        Code::OutOfRange | Code::InvalidArgument => Ended::CursorRefused,
        _ => Ended::Broken("it failed"),
    }
}

async fn pause(back_off: &mut Duration, source: &Source, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(source.jitter(*back_off)) => {}
        () = stop.cancelled() => {}
    }
    *back_off = (*back_off * 2).min(BACK_OFF_MAX);
}

/// How far a feed was applied.
#[derive(Debug, Default)]
struct Cursor {
    /// Everything up to this number was applied, or lies before where the reader began.
    last: Option<i64>,
    /// The newest head that was named, while it is not reached.
    awaited: Option<i64>,
}

/// Frames do not follow each other.
#[derive(Debug, PartialEq)]
struct Hole;

impl Cursor {
    /// The number to open the feed after.
    fn reopen(&mut self) -> i64 {
        self.awaited = None;
        // After 0 the feed says itself where it begins.
        self.last = self.last.filter(|last| *last > 0);
        self.last.unwrap_or(0)
    }

    /// Whether everything up to the feed's head was applied.
    fn heartbeat(&mut self, head: i64, sent: i64) -> Result<bool, Hole> {
        if *self.last.get_or_insert(sent) != sent {
            return Err(Hole);
        }
        self.awaited = (sent < head).then_some(head);
        Ok(self.awaited.is_none())
    }

    /// Whether this entry reaches the head that the last heartbeat named.
    fn entry(&mut self, number: i64) -> Result<bool, Hole> {
        let last = self.last.as_mut().filter(|last| **last + 1 == number).ok_or(Hole)?;
        *last = number;
        Ok(self.awaited.take_if(|awaited| *awaited <= number).is_some())
    }
}

struct RevocationFeed<T> {
    client: AuthServiceClient<T>,
    revocations: Arc<Revocations>,
}

impl<T> Feed for RevocationFeed<T>
where
    T: Channel,
{
    type Frame = WatchRevocationsResponse;
    type Entry = LoginSessionId;

    async fn open(&mut self, after: i64) -> Result<Streaming<Self::Frame>, Status> {
        Ok(self
            .client
            .watch_revocations(WatchRevocationsRequest { after_number: after })
            .await?
            .into_inner())
    }

    fn read(&self, frame: Self::Frame) -> Option<Event<LoginSessionId>> {
        use watch_revocations_response::Frame;
        match frame.frame? {
            Frame::Heartbeat(beat) => Some(Event::Heartbeat {
                head: beat.head_number,
                sent: beat.sent_number,
            }),
            Frame::Revocations(batch) => {
                let entries = batch.revocations.into_iter();
                let read =
                    entries.map(|entry| Some((entry.number, LoginSessionId::parse(&entry.login_session_id).ok()?)));
                read.collect::<Option<_>>().map(Event::Entries)
            }
        }
    }

    fn apply(&self, session: LoginSessionId) {
        self.revocations.session_revoked(session);
    }

    fn heard(&self) {
        self.revocations.heard_sessions();
    }
}

struct UserStateFeed<T, E> {
    client: UserStateServiceClient<T>,
    revocations: Arc<Revocations>,
    each: E,
}

impl<T, E> Feed for UserStateFeed<T, E>
where
    T: Channel,
    E: Fn(&State) + Send + Sync,
{
    type Frame = WatchUserStatesResponse;
    /// Blocks, which no token is refused by, are counted and passed over.
    type Entry = Option<(UserId, State)>;

    async fn open(&mut self, after: i64) -> Result<Streaming<Self::Frame>, Status> {
        Ok(self
            .client
            .watch_user_states(WatchUserStatesRequest { after_number: after })
            .await?
            .into_inner())
    }

    fn read(&self, frame: Self::Frame) -> Option<Event<Self::Entry>> {
        use watch_user_states_response::Frame;
        match frame.frame? {
            Frame::Heartbeat(beat) => Some(Event::Heartbeat {
                head: beat.head_number,
                sent: beat.sent_number,
            }),
            Frame::States(batch) => {
                let entries = batch.states.into_iter();
                let read =
                    entries.map(|state| Some((state.number, Some((UserId::parse(&state.user_id).ok()?, state)))));
                read.collect::<Option<_>>().map(Event::Entries)
            }
            Frame::Blocks(batch) => {
                let entries = batch.changes.into_iter().map(|change| (change.number, None));
                Some(Event::Entries(entries.collect()))
            }
        }
    }

    fn apply(&self, entry: Self::Entry) {
        let Some((user, state)) = entry else { return };
        // Whatever is not known to permit acting forbids it.
        let status = if state.status() == UserStatus::Active {
            AccountStatus::Active
        } else {
            AccountStatus::Inactive
        };
        self.revocations.user_changed(
            user,
            UserState {
                token_epoch: state.token_epoch,
                status,
            },
        );
        (self.each)(&state);
    }

    fn heard(&self) {
        self.revocations.heard_users();
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Hole};

    #[test]
    fn a_reader_is_current_when_it_has_all_that_the_feed_has() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.reopen(), 0);
        assert_eq!(cursor.heartbeat(9, 7), Ok(false));
        assert_eq!(cursor.entry(8), Ok(false));
        assert_eq!(cursor.entry(9), Ok(true));
        assert_eq!(cursor.heartbeat(9, 9), Ok(true));
        assert_eq!(
            cursor.entry(10),
            Ok(false),
            "the next heartbeat says whether that was all"
        );
        assert_eq!(cursor.heartbeat(10, 10), Ok(true));
        assert_eq!(cursor.reopen(), 10);
        assert_eq!(cursor.heartbeat(12, 10), Ok(false));
    }

    #[test]
    fn holes_repetitions_and_entries_before_the_first_heartbeat_are_noticed() {
        let begun = |last| Cursor {
            last: Some(last),
            awaited: None,
        };
        assert_eq!(Cursor::default().entry(1), Err(Hole));
        assert_eq!(begun(7).entry(9), Err(Hole));
        assert_eq!(begun(7).entry(7), Err(Hole));
        assert_eq!(begun(7).heartbeat(9, 9), Err(Hole));
        assert_eq!(begun(7).heartbeat(9, 6), Err(Hole));
    }

    #[test]
    fn an_empty_feed_is_current_and_asked_from_its_start_again() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.heartbeat(0, 0), Ok(true));
        assert_eq!(cursor.reopen(), 0);
        assert_eq!(cursor.heartbeat(5, 3), Ok(false), "it says itself where it begins");
    }
}
