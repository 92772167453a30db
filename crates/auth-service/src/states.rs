//! Following the user service's states: usernames that change, and users who are suspended or deleted.
//!
//! The place in the feed is stored with the effects of what was read, so every entry is applied, once and in order, whichever
//! node reads it and whenever it is stopped. Of each user only the newest state of a batch is looked at, since each tells
//! everything:
//!
//! - Login sessions that began under a lower token epoch than the state's `login_epoch` end, and so do their streams. Those
//!   that began later stay, even where a suspension is only read after it was taken back. (Refreshing does not wait for this:
//!   it asks the user service, see `login.rs`.)
//! - The name is what the user service says. Names of one batch change at once, so that users can take each other's.
//! - A final deletion removes the account.
//!
//! Where the place is lost — the feed was not followed for longer than it is kept, or either database was restored from a
//! backup — every account is compared with the user's state now ([`resync`]), and then the feed is followed from where it was
//! before that began.

use std::{collections::HashMap, time::Duration};

use tidings_db::transaction;
use tidings_ids::{LoginSessionId, UserId};
use tidings_proto_common::v1::FeedHeartbeat;
use tidings_proto_user::v1 as proto;
use time::OffsetDateTime;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use crate::{
    Error,
    auth::Auth,
    store::{
        accounts,
        sessions::{self, EndReason, Which},
        user_states::{self, Place, UserState},
    },
    trail,
};

/// The feed speaks every second. One that is silent for so long is opened again.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The first pause after a failure; each further one is twice as long, up to the longest.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// Accounts that are compared in one transaction: as many as the user service tells about in one call.
const RESYNC_BATCH: i64 = 500;

/// What ended a stream, or kept it from being opened.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// It is to be opened again.
    #[error("{0}")]
    Broken(&'static str),
    /// The feed does not have what follows our place.
    #[error("the place in the feed is lost")]
    PlaceLost,
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<tidings_db::Error> for Ended {
    fn from(error: tidings_db::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        match status.code() {
            // CURSOR_EXPIRED and CURSOR_INVALID are the only reasons of a feed with these codes.
            Code::OutOfRange | Code::InvalidArgument => Self::PlaceLost,
            _ => Self::Broken("the feed failed"),
        }
    }
}

/// Follows the feed until the process stops. Every node does; each entry is applied by one.
pub(crate) async fn follow(auth: &Auth) {
    let mut back_off = BACK_OFF;
    while !auth.env.drain.has_begun() {
        let outcome = match follow_once(auth, &mut back_off).await {
            Err(Ended::PlaceLost) => resync(auth).await,
            outcome => outcome,
        };
        match outcome {
            Err(Ended::Failed(error)) => tracing::warn!(%error, "the states of users could not be followed"),
            Err(why) => tracing::debug!(%why, "the feed of user states is opened again"),
            Ok(()) => {}
        }
        tokio::select! {
            () = auth.env.drain.begun() => {}
            () = tokio::time::sleep(auth.source().jitter(back_off)) => {}
        }
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

async fn follow_once(auth: &Auth, back_off: &mut Duration) -> Result<(), Ended> {
    let place = user_states::place(&auth.pool).await?;
    let place = place.filter(|place| place.resync_after.is_none());
    let mut applied = place.ok_or(Ended::PlaceLost)?.position;
    let (mut stream, heartbeat) = open(auth, applied).await?;
    if heartbeat.sent_number != applied {
        // After 0 the feed begins where it likes.
        return Err(Ended::PlaceLost);
    }
    *back_off = BACK_OFF;
    loop {
        use proto::watch_user_states_response::Frame;
        let frame = tokio::select! {
            frame = next(&mut stream) => frame?,
            () = auth.env.drain.begun() => return Ok(()),
        };
        let (numbers, states): (Vec<i64>, Option<Vec<UserState>>) = match frame {
            Frame::Heartbeat(heartbeat) if heartbeat.sent_number == applied => continue,
            Frame::Heartbeat(_) => return Err(Ended::Broken("the feed has a hole")),
            Frame::States(batch) => (
                batch.states.iter().map(|state| state.number).collect(),
                batch.states.into_iter().map(read).collect(),
            ),
            // Blocks concern no credentials; only their numbers count.
            Frame::Blocks(batch) => (
                batch.changes.iter().map(|change| change.number).collect(),
                Some(Vec::new()),
            ),
        };
        let states = states.ok_or(Ended::Broken("a state makes no sense"))?;
        let dense = numbers.iter().copied().eq((applied + 1..).take(numbers.len()));
        let last = numbers.last().copied().filter(|_| dense);
        let last = last.ok_or(Ended::Broken("the feed has a hole"))?;
        apply(auth, applied, &states, last).await?;
        applied = last;
    }
}

/// Opens the feed. Its first frame is a heartbeat.
async fn open(
    auth: &Auth,
    after_number: i64,
) -> Result<(Streaming<proto::WatchUserStatesResponse>, FeedHeartbeat), Ended> {
    use proto::watch_user_states_response::Frame;
    let mut feed = auth.users.feed();
    let request = proto::WatchUserStatesRequest { after_number };
    let opened = tokio::select! {
        opened = timeout(SILENCE_MAX, feed.watch_user_states(request)) => opened,
        () = auth.env.drain.begun() => return Err(Ended::Broken("the process stops")),
    };
    let mut stream = opened
        .map_err(|_| Ended::Broken("the feed did not answer"))??
        .into_inner();
    match next(&mut stream).await? {
        Frame::Heartbeat(heartbeat) => Ok((stream, heartbeat)),
        _ => Err(Ended::Broken("the feed did not begin with a heartbeat")),
    }
}

async fn next(
    stream: &mut Streaming<proto::WatchUserStatesResponse>,
) -> Result<proto::watch_user_states_response::Frame, Ended> {
    let message = timeout(SILENCE_MAX, stream.message()).await;
    let message = message.map_err(|_| Ended::Broken("the feed fell silent"))??;
    let frame = message.ok_or(Ended::Broken("the feed ended"))?.frame;
    frame.ok_or(Ended::Broken("a frame makes no sense"))
}

/// What concerns us of a state.
fn read(state: proto::UserState) -> Option<UserState> {
    let deleted = state.status() == proto::UserStatus::Deleted;
    Some(UserState {
        number: state.number,
        user_id: UserId::parse(&state.user_id).ok()?,
        username: Some(state.username).filter(|username| !username.is_empty() && !deleted),
        login_epoch: state.login_epoch,
        deleted,
        deletion_final: deleted && state.deletion_final,
    })
}

/// Applies the entries that follow `after`, unless another node has done so.
async fn apply(auth: &Auth, after: i64, states: &[UserState], last: i64) -> Result<(), Ended> {
    let now = auth.now();
    let applied = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let place = user_states::lock_place(&mut *tx).await?;
        let Some(place) = place.filter(|place| place.resync_after.is_none() && place.position >= after) else {
            return Ok(None);
        };
        if place.position >= last {
            return Ok(Some(Vec::new()));
        }
        let fresh = newest(states.iter().filter(|state| state.number > place.position));
        let ended = settle(auth, &mut *tx, &fresh, now).await?;
        let place = Place {
            position: last,
            ..place
        };
        user_states::set_place(&mut *tx, place).await?;
        Ok(Some(ended))
    })?;
    // Another node has begun to compare everything anew.
    let ended = applied.ok_or(Ended::PlaceLost)?;
    announce(auth, &ended);
    Ok(())
}

fn announce(auth: &Auth, ended: &[LoginSessionId]) {
    if !ended.is_empty() {
        auth.announce_ended(ended);
    }
}

/// The newest state of each user, in order of id.
fn newest<'a>(states: impl Iterator<Item = &'a UserState>) -> Vec<UserState> {
    let mut newest: HashMap<UserId, &UserState> = HashMap::new();
    for state in states {
        newest.insert(state.user_id, state);
    }
    let mut newest: Vec<UserState> = newest.into_values().cloned().collect();
    newest.sort_by_key(|state| state.user_id);
    newest
}

/// Makes the accounts what the states say: one state a user, in order of id. Returns the login sessions that ended.
async fn settle(
    auth: &Auth,
    tx: &mut sqlx::PgConnection,
    states: &[UserState],
    now: OffsetDateTime,
) -> Result<Vec<LoginSessionId>, Error> {
    let concerned = user_states::concerned(&mut *tx, states).await?;
    let states: Vec<UserState> = states
        .iter()
        .filter(|state| concerned.contains(&state.user_id))
        .cloned()
        .collect();
    for state in &states {
        accounts::lock(&mut *tx, state.user_id).await?;
    }
    user_states::set_numbers(&mut *tx, &states).await?;
    rename(&mut *tx, &states).await?;
    let mut ended = Vec::new();
    for state in &states {
        let reason = if state.deleted {
            EndReason::Deleted
        } else {
            EndReason::Suspended
        };
        let which = if state.deletion_final {
            Which::All
        } else {
            Which::Before(state.login_epoch)
        };
        let of_user = sessions::end(&mut *tx, state.user_id, which, reason, now).await?;
        trail::record_ended(auth, &mut *tx, state.user_id, &of_user, reason).await?;
        ended.extend(of_user);
        if state.deletion_final {
            user_states::remove_account(&mut *tx, state.user_id).await?;
            let event = trail::event(auth, "auth.remove_account").subject(state.user_id);
            trail::record(&mut *tx, &event).await?;
        }
    }
    Ok(ended)
}

/// Gives the accounts their names: first nobody has one, so that none is in another's way.
async fn rename(tx: &mut sqlx::PgConnection, states: &[UserState]) -> Result<(), Error> {
    let names: Vec<(UserId, &str)> = states
        .iter()
        .filter_map(|state| Some((state.user_id, state.username.as_deref()?)))
        .collect();
    let user_ids: Vec<UserId> = names.iter().map(|(user_id, _)| *user_id).collect();
    user_states::clear_names(&mut *tx, &user_ids).await?;
    for (user_id, username) in names {
        user_states::take_stale_name(&mut *tx, username, user_id).await?;
        user_states::set_name(&mut *tx, user_id, username).await?;
    }
    Ok(())
}

/// Compares every account with its user's state now, from where that was left off, or from the start.
async fn resync(auth: &Auth) -> Result<(), Ended> {
    let seen = user_states::place(&auth.pool).await?;
    if seen.is_none_or(|place| place.resync_after.is_none()) {
        // Where the feed is before the first account is compared: what changes meanwhile comes again.
        let (_, heartbeat) = open(auth, 0).await?;
        tracing::info!(
            position = heartbeat.head_number,
            "the place in the feed of user states is lost: all accounts are compared with their users"
        );
        begin_resync(auth, seen, heartbeat.head_number).await?;
    }
    while resync_page(auth).await? {
        if auth.env.drain.has_begun() {
            return Ok(());
        }
    }
    Ok(())
}

/// Unless another node has begun it since the place was looked at.
async fn begin_resync(auth: &Auth, seen: Option<Place>, head: i64) -> Result<(), Ended> {
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if user_states::lock_place(&mut *tx).await? != seen {
            return Ok(());
        }
        let place = Place {
            position: head,
            resync_after: Some(Uuid::nil()),
        };
        user_states::set_place(&mut *tx, place).await?;
        user_states::forget_numbers_above(&mut *tx, head).await?;
        Ok(())
    })?;
    Ok(())
}

/// Compares the next accounts. Returns whether there are more.
async fn resync_page(auth: &Auth) -> Result<bool, Ended> {
    let Some(place) = user_states::place(&auth.pool).await? else {
        return Ok(false);
    };
    let Some(after) = place.resync_after else {
        return Ok(false);
    };
    let user_ids = user_states::accounts_after(&auth.pool, after, RESYNC_BATCH).await?;
    // Asked outside of the transaction; whoever has moved the place since has done this page.
    let mut states = Vec::new();
    if !user_ids.is_empty() {
        let found = auth.users.states(&user_ids).await?;
        let read: Option<Vec<UserState>> = found.into_iter().map(read).collect();
        states = newest(read.ok_or(Ended::Broken("a state makes no sense"))?.iter());
    }
    let now = auth.now();
    let ended = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if user_states::lock_place(&mut *tx).await? != Some(place) {
            return Ok(Vec::new());
        }
        let ended = settle(auth, &mut *tx, &states, now).await?;
        // What the feed will still tell of these users is old where it has a lower number.
        let ahead: Vec<UserState> = states
            .iter()
            .filter(|state| state.number > place.position)
            .cloned()
            .collect();
        user_states::set_numbers(&mut *tx, &ahead).await?;
        let next = Place {
            resync_after: user_ids.last().map(|user_id| user_id.uuid()),
            ..place
        };
        user_states::set_place(&mut *tx, next).await?;
        Ok(ended)
    })?;
    announce(auth, &ended);
    Ok(!user_ids.is_empty())
}

#[cfg(test)]
mod tests {
    use tidings_ids::{Source, UserId};

    use super::{UserState, newest};

    #[test]
    fn of_each_user_the_newest_state_counts() {
        let source = Source::seeded(1);
        let (ada, bob): (UserId, UserId) = (source.new_id(), source.new_id());
        let state = |number, user_id, username: &str| UserState {
            number,
            user_id,
            username: Some(username.to_owned()),
            login_epoch: 0,
            deleted: false,
            deletion_final: false,
        };
        let states = [state(1, ada, "a"), state(2, bob, "b"), state(3, ada, "c")];
        let mut expected = vec![state(2, bob, "b"), state(3, ada, "c")];
        expected.sort_by_key(|state| state.user_id);
        assert_eq!(newest(states.iter()), expected);
    }
}
