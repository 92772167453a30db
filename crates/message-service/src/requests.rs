//! Repeated calls: what each `request_id` did. Sends look it up in their own functions; the rest use this.

use sqlx::PgConnection;
use tidings_db::Error;
use tidings_ids::{ChatId, RequestId, Source, UserId};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Problem, RequestHasher};
use uuid::Uuid;

/// The RPCs whose `request_id` is stored, by their numbers in `messages.requests`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `MessageService/SendMessage`; `send_batch` knows the number too.
    SendMessage = 1,
    /// `ResponseService/CreateResponse`.
    CreateResponse = 2,
    /// `MessageService/UpdateMessage`.
    UpdateMessage = 3,
    /// `MessageService/DeleteMessage`.
    DeleteMessage = 4,
    /// `AttachmentService/CreateUpload`.
    CreateUpload = 5,
    /// `AttachmentService/CompleteUpload`.
    CompleteUpload = 6,
}

impl Method {
    /// The number in the table.
    pub(crate) fn number(self) -> i16 {
        self as i16
    }

    fn name(self) -> &'static str {
        match self {
            Self::SendMessage => "tidings.message.v1.MessageService/SendMessage",
            Self::CreateResponse => "tidings.message.v1.ResponseService/CreateResponse",
            Self::UpdateMessage => "tidings.message.v1.MessageService/UpdateMessage",
            Self::DeleteMessage => "tidings.message.v1.MessageService/DeleteMessage",
            Self::CreateUpload => "tidings.message.v1.AttachmentService/CreateUpload",
            Self::CompleteUpload => "tidings.message.v1.AttachmentService/CompleteUpload",
        }
    }
}

/// A call that changes something in a chat: who calls, and by what a repetition is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) chat_id: ChatId,
    pub(crate) caller_id: UserId,
    pub(crate) method: Method,
    pub(crate) request_id: RequestId,
    pub(crate) request_hash: i64,
}

/// What there is under a call's `request_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// Nothing: the call is new.
    Nothing,
    /// The same call was made before and made or changed the thing with this id.
    Same(Uuid),
}

impl Call {
    /// The hash of the request, which must come without its `request_id`; the first 64 bits tell two requests apart well enough
    /// where both must come from one caller, and keyed, so that none can be made to fit.
    pub(crate) fn hash(hasher: &RequestHasher, method: Method, request: &impl prost::Message) -> i64 {
        let hash = hasher.hash(method.name(), request);
        i64::from_be_bytes(hash[..8].try_into().expect("8 of 32 bytes"))
    }

    /// The id of a request: the caller's, or one of ours where the caller gave none.
    pub(crate) fn request_id(given: Option<RequestId>, source: &Source) -> RequestId {
        given.unwrap_or_else(|| source.new_id())
    }

    /// What an earlier call under this `request_id` did. The chat's row must be locked, so that a concurrent repetition has
    /// either committed or not begun.
    ///
    /// # Errors
    ///
    /// `REQUEST_ID_REUSED` when it was another request.
    pub(crate) async fn look_up(&self, connection: &mut PgConnection) -> Result<Earlier, crate::Error> {
        let found = sqlx::query!(
            "select request_hash, outcome_id
             from messages.requests
             where chat_id = $1 and caller_id = $2 and method = $3 and request_id = $4",
            self.chat_id.uuid(),
            self.caller_id.uuid(),
            self.method.number(),
            self.request_id.uuid(),
        )
        .fetch_optional(connection)
        .await
        .map_err(Error::from)?;
        match found {
            None => Ok(Earlier::Nothing),
            Some(row) if row.request_hash == self.request_hash => Ok(Earlier::Same(row.outcome_id)),
            Some(_) => Err(Problem::new(ErrorReason::RequestIdReused).into()),
        }
    }

    /// Stores what the call did, in the transaction of its effect.
    pub(crate) async fn remember(&self, connection: &mut PgConnection, outcome_id: Uuid) -> Result<(), Error> {
        sqlx::query!(
            "insert into messages.requests
                 (chat_id, caller_id, method, request_id, request_hash, outcome_id, create_time)
             values ($1, $2, $3, $4, $5, $6, clock_timestamp())",
            self.chat_id.uuid(),
            self.caller_id.uuid(),
            self.method.number(),
            self.request_id.uuid(),
            self.request_hash,
            outcome_id,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
