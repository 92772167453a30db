//! Files: announced, uploaded, completed, then carried by one message.

use tidings_ids::{AttachmentId, ChatId, UserId};
use tidings_proto_message::v1::AttachmentState;
use time::OffsetDateTime;

/// A row of `messages.attachments`, as far as readers see it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AttachmentRow {
    pub(crate) attachment_id: AttachmentId,
    pub(crate) chat_id: ChatId,
    pub(crate) uploader_id: UserId,
    pub(crate) file_name: String,
    pub(crate) media_type: String,
    pub(crate) size_bytes: i64,
    pub(crate) sha256: Vec<u8>,
    /// A number of [`AttachmentState`].
    pub(crate) state: i16,
    pub(crate) create_time: OffsetDateTime,
}

impl AttachmentRow {
    /// How far it is.
    pub(crate) fn state(&self) -> AttachmentState {
        AttachmentState::try_from(i32::from(self.state)).unwrap_or(AttachmentState::Unspecified)
    }
}
