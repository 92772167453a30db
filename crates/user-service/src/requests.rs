use sqlx::PgConnection;
use tidings_db::{
    Schema,
    requests::{self, Claimed, Key, Outcome},
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::Error;

/// What makes a call repeatable, and tells its repetition from another call.
#[derive(Debug, Clone)]
pub struct Request {
    /// The RPC's name.
    pub method: &'static str,
    /// Who calls.
    pub caller: String,
    /// The client's id for it; without one the call is not repeatable.
    pub id: Option<Uuid>,
    /// The keyed hash of its content.
    pub hash: [u8; 32],
}

impl Request {
    /// Claims the `request_id` in the transaction of the effect. Returns what the first call did if this one repeats it, and
    /// `None` if this is the first.
    ///
    /// # Errors
    ///
    /// `REQUEST_ID_REUSED` when another call has the id.
    pub async fn claim(
        &self,
        tx: &mut PgConnection,
        outcome: Outcome,
        now: OffsetDateTime,
    ) -> Result<Option<Outcome>, Error> {
        let Some(request_id) = self.id else { return Ok(None) };
        let key = Key {
            caller: &self.caller,
            method: self.method,
            scope: "",
            request_id,
            request_hash: &self.hash,
        };
        match requests::claim(tx, Schema::Users, &key, &outcome, now).await? {
            Claimed::Fresh => Ok(None),
            Claimed::Replay(outcome) => Ok(Some(outcome)),
            Claimed::Reused => Err(Error::RequestIdReused),
        }
    }
}
