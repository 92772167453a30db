//! The frame of every change: lock the audience, know a repetition, number what happened, and tell nobody before the message service
//! knows it.

use std::sync::Arc;

use sqlx::PgConnection;
use tidings_db::Pool;
use tidings_ids::{AudienceId, Source, UserId};
use uuid::Uuid;

use crate::{
    Config, Error,
    call::{Call, Done},
    delivery::Deliveries,
    message_log::MessageLog,
    role::Role,
    store::audiences::{self, Audience},
    trail,
    users::Users,
};

/// Decides and stores what this service owns. The nouns' files add to it what can be done with each.
#[derive(Clone)]
pub(crate) struct Keeper {
    pub(crate) pool: Pool,
    pub(crate) source: Source,
    pub(crate) config: Arc<Config>,
    pub(crate) users: Users,
    pub(crate) log: MessageLog,
    pub(crate) deliveries: Deliveries,
}

/// Something as one user sees it: read in one statement, together with what of its audience is not delivered yet.
#[derive(Debug, Clone)]
pub(crate) struct Seen<T> {
    pub(crate) thing: T,
    pub(crate) audience_id: AudienceId,
    /// What the user is in the audience; `None` where the user is no member and may not know of the thing.
    pub(crate) role: Option<Role>,
    /// The last change of the audience that was not delivered when this was read.
    pub(crate) pending: Option<i64>,
}

impl<T> Seen<T> {
    /// The thing and the user's role, for a member.
    pub(crate) fn into_member(self) -> Result<(T, Role), Error> {
        let role = self.role.ok_or(Error::NotFound)?;
        Ok((self.thing, role))
    }
}

impl Keeper {
    /// Begins the transaction of a change: locks the audience's row, which comes before all other locks so that no two calls wait for
    /// each other, and knows a call that was made before.
    ///
    /// The caller checks access after this, since its right may have gone while it waited for the row; then come the effect and
    /// [`finish`](Self::finish).
    pub(crate) async fn enter(
        &self,
        tx: &mut PgConnection,
        call: &Call,
        audience_id: AudienceId,
    ) -> Result<Audience, Error> {
        let audience = audiences::lock(tx, audience_id).await?.ok_or(Error::NotFound)?;
        self.claim(tx, call).await?;
        if audience.has_ended() {
            Err(Error::NotFound)
        } else {
            Ok(audience)
        }
    }

    /// The same for an audience that the call makes, whose row nobody else can hold.
    pub(crate) async fn found(
        &self,
        tx: &mut PgConnection,
        call: &Call,
        audience_id: AudienceId,
    ) -> Result<Audience, Error> {
        self.claim(tx, call).await?;
        Ok(audiences::create(tx, audience_id, self.source.now()).await?)
    }

    async fn claim(&self, tx: &mut PgConnection, call: &Call) -> Result<(), Error> {
        match call.claim(tx, self.source.now()).await? {
            None => Ok(()),
            Some(done) => Err(Error::Repeated(done)),
        }
    }

    /// Ends the transaction of a change: numbers what the audience has logged, and records what the call has done. `made` is the id of
    /// what it made, or the nil id.
    pub(crate) async fn finish(
        &self,
        tx: &mut PgConnection,
        call: &Call,
        audience: Audience,
        made: Uuid,
    ) -> Result<Done, Error> {
        let audience_id = audience.id;
        trail::record_changes(&mut *tx, &self.source, call, &audience).await?;
        let number = audience.store(tx, call.caller, self.source.now()).await?;
        let done = Done {
            id: made,
            audience_id,
            number,
        };
        call.record(tx, &done).await?;
        Ok(done)
    }

    /// What was done, by this call or by the same one before, once it is delivered.
    pub(crate) async fn delivered(&self, stored: Result<Done, Error>) -> Result<Done, Error> {
        let done = match stored {
            Err(Error::Repeated(done)) => done,
            stored => stored?,
        };
        self.deliver(&done).await?;
        Ok(done)
    }

    /// What the call did when it was made before, once that is delivered.
    pub(crate) async fn replay(&self, call: &Call) -> Result<Option<Done>, Error> {
        let done = call.look_up(&self.pool).await?;
        if let Some(done) = &done {
            self.deliver(done).await?;
        }
        Ok(done)
    }

    /// Delivers an audience's changes up to what was done.
    pub(crate) async fn deliver(&self, done: &Done) -> Result<(), Error> {
        self.deliveries.deliver(done.audience_id, done.number).await
    }

    /// The thing, once everything that was known of its audience when it was read is delivered.
    ///
    /// Reads are held to this too: what they tell would otherwise be contradicted by the next send or stream, as when `ListMembers` no
    /// longer shows somebody who can still read along. A read of an audience with nothing pending, which is the ordinary case, pays
    /// one look into an index for it.
    pub(crate) async fn settled<T>(&self, seen: Seen<T>) -> Result<Seen<T>, Error> {
        if let Some(number) = seen.pending {
            self.deliveries.deliver(seen.audience_id, number).await?;
        }
        Ok(seen)
    }

    /// The same for a list, which waits for all of its audiences at once.
    pub(crate) async fn all_settled<T>(&self, list: Vec<Seen<T>>) -> Result<Vec<Seen<T>>, Error> {
        let waits = list
            .iter()
            .filter_map(|seen| Some(self.deliveries.deliver(seen.audience_id, seen.pending?)));
        futures_util::future::try_join_all(waits).await?;
        Ok(list)
    }
}

/// What a call answers with once its effect is stored: the thing as it is now, or `None` where the caller may no longer see it.
pub(crate) fn as_it_is_now<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(thing) => Ok(Some(thing)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error.after_effect()),
    }
}

/// The audience of a chat or group that is its own audience.
pub(crate) fn own_audience(id: impl Into<Uuid>) -> AudienceId {
    AudienceId::from_uuid(id.into())
}

/// Whether the caller's `etag` names this revision. The empty one does not ask.
pub(crate) fn check_etag(etag: &str, revision: i64) -> Result<(), Error> {
    if etag.is_empty() || etag == self::etag(revision) {
        Ok(())
    } else {
        Err(Error::EtagMismatch)
    }
}

/// The etag of a revision.
pub(crate) fn etag(revision: i64) -> String {
    revision.to_string()
}

/// Who is asked for by a change that has no audience yet.
pub(crate) fn others(caller: UserId, user_ids: &[UserId]) -> Vec<UserId> {
    let mut others: Vec<UserId> = user_ids.iter().copied().filter(|user_id| *user_id != caller).collect();
    others.sort_unstable();
    others.dedup();
    others
}
