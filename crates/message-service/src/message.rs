//! Messages as they are stored and read.

use std::collections::{BTreeMap, HashMap};

use sqlx::types::Json;
use tidings_ids::{AttachmentId, ChatId, MessageId, UserId};
use tidings_proto_message::v1::{MessageType, ResponseState};
use time::OffsetDateTime;

use crate::attachment::AttachmentRow;

/// An application's own data on a message or chat.
pub(crate) type Metadata = BTreeMap<String, String>;

/// A row of `messages.messages`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MessageRow {
    pub(crate) chat_id: ChatId,
    pub(crate) sequence: i64,
    pub(crate) message_id: MessageId,
    pub(crate) sender_id: UserId,
    /// The column `type`: a number of [`MessageType`].
    pub(crate) kind: i16,
    pub(crate) body: String,
    pub(crate) metadata: Option<Json<Metadata>>,
    pub(crate) reply_to_message_id: Option<MessageId>,
    pub(crate) attachment_ids: Option<Vec<AttachmentId>>,
    pub(crate) response_to_message_id: Option<MessageId>,
    /// A number of [`ResponseState`].
    pub(crate) response_state: Option<i16>,
    pub(crate) response_finish_time: Option<OffsetDateTime>,
    pub(crate) revision: i64,
    pub(crate) create_time: OffsetDateTime,
    pub(crate) update_time: Option<OffsetDateTime>,
    pub(crate) delete_time: Option<OffsetDateTime>,
    pub(crate) original_time: Option<OffsetDateTime>,
    pub(crate) external_id: Option<String>,
    /// Whether the reader deleted it for oneself. Such a row never leaves the service.
    pub(crate) hidden: bool,
}

/// A message with its attachments, as a reader may see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) row: MessageRow,
    /// In the order of sending.
    pub(crate) attachments: Vec<AttachmentRow>,
}

impl MessageRow {
    /// What the message mainly consists of.
    pub(crate) fn message_type(&self) -> MessageType {
        MessageType::try_from(i32::from(self.kind)).unwrap_or(MessageType::Unspecified)
    }

    /// How far the response is; `None` for a message that is no response.
    pub(crate) fn response_state(&self) -> Option<ResponseState> {
        self.response_state
            .and_then(|state| ResponseState::try_from(i32::from(state)).ok())
    }

    /// Whether it is a tombstone.
    pub(crate) fn is_deleted(&self) -> bool {
        self.delete_time.is_some()
    }

    /// The message's etag: its revision, and nothing else.
    pub(crate) fn etag(&self) -> String {
        self.revision.to_string()
    }
}

/// Gives each row its attachments, in the order in which the message has them.
pub(crate) fn with_attachments(rows: Vec<MessageRow>, attachments: Vec<AttachmentRow>) -> Vec<Message> {
    let mut by_id: HashMap<AttachmentId, AttachmentRow> = attachments
        .into_iter()
        .map(|attachment| (attachment.attachment_id, attachment))
        .collect();
    rows.into_iter()
        .map(|row| {
            let ids = row.attachment_ids.as_deref().unwrap_or_default();
            let attachments = ids.iter().filter_map(|id| by_id.remove(id)).collect();
            Message { row, attachments }
        })
        .collect()
}
