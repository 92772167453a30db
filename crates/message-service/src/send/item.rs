use tidings_ids::{AttachmentId, ChatId, MessageId, RequestId, UserId};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::MessageType;
use tidings_rpc::Problem;
use time::OffsetDateTime;

use crate::{message::Metadata, requests::Method};

/// A message to be stored, checked for form.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) chat_id: ChatId,
    pub(crate) caller_id: UserId,
    pub(crate) method: Method,
    pub(crate) request_id: RequestId,
    pub(crate) request_hash: i64,
    pub(crate) message_id: MessageId,
    pub(crate) text: String,
    pub(crate) metadata: Metadata,
    pub(crate) reply_to: Option<MessageId>,
    pub(crate) attachment_ids: Vec<AttachmentId>,
    pub(crate) response_to: Option<ResponseTo>,
}

/// What makes a message a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseTo {
    pub(crate) message_id: MessageId,
    /// Whether the caller may write responses wherever it is a member. The assistant of a session may there in any case.
    pub(crate) may_respond: bool,
    /// What the caller says that it consists of.
    pub(crate) expected_type: Option<MessageType>,
}

impl Item {
    /// Whether it is text with metadata and a reply at the most, which is what batches are made of.
    pub(crate) fn is_plain(&self) -> bool {
        self.attachment_ids.is_empty() && self.response_to.is_none()
    }
}

/// What became of a message. The numbers are those of `0005_send.sql`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 0: it is stored, at this place.
    Stored { sequence: i64, create_time: OffsetDateTime },
    /// 1: the same request was made before and made this message, at this place.
    Repeated { message_id: MessageId, sequence: i64 },
    /// 2: the `request_id` was used for something else.
    RequestIdReused,
    /// 3, 8, 9: there is no such chat or the caller is no member of it; or the message replied to, or the attachment, is not
    /// there. All are answered alike.
    NotFound,
    /// 4: another transaction holds the chat's row.
    Deferred,
    /// 5.
    Archived,
    /// 6: the caller is muted until then.
    Muted { until: OffsetDateTime },
    /// 7: the caller may send again then; `wait` is how long that is by the database's clock.
    SlowMode { wait: std::time::Duration },
    /// 10, 11: an attachment is not ready or stands in another message; the message to answer is deleted.
    StateUnsuitable,
    /// 12: responses and system messages are not answered.
    KindUnsuitable,
    /// 13: the message has as many responses as it may have.
    TooManyResponses,
    /// 14: the caller may not write responses here.
    MayNotRespond,
    /// 15: the type that was named is not what the attachments make.
    WrongType,
    /// 16: one of a direct chat's users blocks the other.
    Blocked,
}

/// Responses that one message may have.
const RESPONSES_MAX: u32 = 50;

impl Outcome {
    /// The contract's word for a refusal.
    pub(crate) fn problem(&self) -> Problem {
        use ErrorReason as R;
        let reason = match self {
            // Those that are answers are handled before; what was put off for ever was refused nothing.
            Self::Stored { .. } | Self::Repeated { .. } | Self::Deferred => R::Conflict,
            Self::RequestIdReused => R::RequestIdReused,
            Self::NotFound => return Problem::not_found(),
            Self::Archived => R::ChatArchived,
            Self::Blocked => R::Blocked,
            Self::Muted { until } => return muted(*until),
            Self::SlowMode { wait } => return Problem::new(R::SlowMode).retry_after(*wait),
            Self::StateUnsuitable => R::StateUnsuitable,
            Self::KindUnsuitable => R::KindUnsuitable,
            Self::TooManyResponses => {
                return Problem::new(R::QuotaExceeded)
                    .with("quota", "responses")
                    .with("limit", RESPONSES_MAX);
            }
            Self::MayNotRespond => return Problem::new(R::PermissionMissing).with("permission", "RESPONSES_CREATE"),
            Self::WrongType => return Problem::field("type", "must be what the attachment makes it, or unspecified"),
        };
        Problem::new(reason)
    }
}

/// `MEMBER_MUTED` with its end.
pub(crate) fn muted(until: OffsetDateTime) -> Problem {
    let end = until
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default();
    Problem::new(ErrorReason::MemberMuted).with("mute_end_time", end)
}

/// Why it is not known what became of a message, or why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The queue is full. Nothing was done.
    #[error("the queue of sends is full")]
    Overloaded,
    /// The process stops. Nothing was done.
    #[error("the process is draining")]
    Draining,
    /// The call's time was over before its turn. Nothing was done.
    #[error("the call's time was over before its turn")]
    DeadlineExceeded,
    /// There is no connection. Nothing was done.
    #[error("postgres is unavailable")]
    Unavailable,
    /// The connection broke: stored or not, and only the same `request_id` tells.
    #[error("the outcome of the commit is unknown")]
    CommitUnknown,
    /// It waited for the chat's row with others in vain. Nothing was done.
    #[error("another transaction was in the way")]
    Contended,
    /// Postgres refused this very message. Nothing was done.
    #[error(transparent)]
    Database(#[from] tidings_db::Error),
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        Self::new(match error {
            SendError::Overloaded => ErrorReason::Overloaded,
            SendError::Draining => ErrorReason::Draining,
            SendError::DeadlineExceeded => ErrorReason::DeadlineExceeded,
            SendError::Unavailable => ErrorReason::DependencyUnavailable,
            SendError::CommitUnknown => ErrorReason::CommitUnknown,
            SendError::Contended => ErrorReason::Conflict,
            SendError::Database(error) => return error.into(),
        })
    }
}
