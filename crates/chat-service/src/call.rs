//! Repeated calls: what each `request_id` did, and what must be delivered before that is told.

use sqlx::PgConnection;
use tidings_db::{
    Pool, Schema,
    requests::{self, Claimed, Key, Outcome},
};
use tidings_ids::{AudienceId, ChatId, RequestId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Error;

/// A call that changes something: who calls, and by what a repetition is known.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: UserId,
    identity: Option<Identity>,
}

/// What a `request_id` stands for.
#[derive(Debug)]
struct Identity {
    caller: String,
    method: &'static str,
    scope: String,
    request_id: Uuid,
    request_hash: [u8; 32],
}

/// What a call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// The id of what it made; nil where it made nothing.
    pub(crate) id: Uuid,
    /// The audience that it concerns.
    pub(crate) audience_id: AudienceId,
    /// The audience's last change when the call was decided, which is the call's own if it made one. It must be delivered before
    /// the call is answered.
    pub(crate) number: i64,
}

impl Call {
    /// A call of `caller`. One without a `request_id` cannot be repeated: the id that the server would choose is told to nobody.
    pub(crate) fn new(
        caller: UserId,
        method: &'static str,
        chat_id: Option<ChatId>,
        request_id: Option<RequestId>,
        request_hash: [u8; 32],
    ) -> Self {
        let identity = request_id.map(|request_id| Identity {
            caller: caller.to_string(),
            method,
            scope: chat_id.map(|id| id.to_string()).unwrap_or_default(),
            request_id: request_id.uuid(),
            request_hash,
        });
        Self { caller, identity }
    }

    /// A call that takes no `request_id`.
    pub(crate) fn unrepeatable(caller: UserId) -> Self {
        Self { caller, identity: None }
    }

    /// The client's id for it, where it gave one.
    pub(crate) fn request_id(&self) -> Option<Uuid> {
        self.identity.as_ref().map(|identity| identity.request_id)
    }

    /// What the call did when it was made before, if it was.
    pub(crate) async fn look_up(&self, pool: &Pool) -> Result<Option<Done>, Error> {
        let Some(identity) = &self.identity else {
            return Ok(None);
        };
        earlier(requests::look_up(pool, Schema::Chats, &identity.key()).await?)
    }

    /// Takes the `request_id` in the transaction of the effect. What the call did, where somebody was faster.
    pub(crate) async fn claim(&self, tx: &mut PgConnection, now: OffsetDateTime) -> Result<Option<Done>, Error> {
        let Some(identity) = &self.identity else {
            return Ok(None);
        };
        earlier(requests::claim(tx, Schema::Chats, &identity.key(), &Outcome::default(), now).await?)
    }

    /// Writes what the call has done, in the transaction that claimed it.
    pub(crate) async fn record(&self, tx: &mut PgConnection, done: &Done) -> Result<(), Error> {
        let Some(identity) = &self.identity else { return Ok(()) };
        Ok(requests::set_outcome(tx, Schema::Chats, &identity.key(), &done.encode()).await?)
    }
}

impl Identity {
    fn key(&self) -> Key<'_> {
        Key {
            caller: &self.caller,
            method: self.method,
            scope: &self.scope,
            request_id: self.request_id,
            request_hash: &self.request_hash,
        }
    }
}

fn earlier(claimed: Claimed) -> Result<Option<Done>, Error> {
    match claimed {
        Claimed::Fresh => Ok(None),
        Claimed::Replay(outcome) => Done::decode(&outcome).map(Some),
        Claimed::Reused => Err(Error::RequestIdReused),
    }
}

impl Done {
    fn encode(&self) -> Outcome {
        let mut data = self.audience_id.uuid().as_bytes().to_vec();
        data.extend_from_slice(&self.number.to_be_bytes());
        Outcome {
            id: Some(self.id),
            data: Some(data),
        }
    }

    fn decode(outcome: &Outcome) -> Result<Self, Error> {
        let read = || {
            let (audience_id, number) = outcome.data.as_deref()?.split_at_checked(16)?;
            Some(Self {
                id: outcome.id?,
                audience_id: AudienceId::from_uuid(Uuid::from_slice(audience_id).ok()?),
                number: i64::from_be_bytes(number.try_into().ok()?),
            })
        };
        // Only this file writes these rows, so that another shape is a defect.
        read().ok_or(Error::Database(tidings_db::Error::Bug(sqlx::Error::RowNotFound)))
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;
    use uuid::Uuid;

    use super::Done;

    #[test]
    fn what_was_done_reads_back() {
        let source = Source::seeded(1);
        for id in [Uuid::nil(), Uuid::from_u128(7)] {
            let done = Done {
                id,
                audience_id: source.new_id(),
                number: 1 << 40,
            };
            assert_eq!(Done::decode(&done.encode()).ok(), Some(done));
        }
    }
}
