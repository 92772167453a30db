//! Between what is stored and what the protos say. Pure functions, nothing is decided here.

use prost_types::Timestamp;
use tidings_ids::{AttachmentId, ChatId, MessageId};
use tidings_proto_message::v1 as proto;
use time::OffsetDateTime;

use crate::{
    attachment::AttachmentRow,
    message::{Message, MessageRow},
};

/// A time on the wire.
pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    let nanos = i32::try_from(time.nanosecond()).expect("a second has a thousand million nanoseconds");
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos,
    }
}

/// A time from the wire, if it is one that Postgres keeps.
pub(crate) fn time(timestamp: &Timestamp) -> Option<OffsetDateTime> {
    let nanos = u32::try_from(timestamp.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    let time = OffsetDateTime::from_unix_timestamp(timestamp.seconds).ok()?;
    time.replace_nanosecond(nanos - nanos % 1_000).ok()
}

/// A message as its readers see it.
pub(crate) fn message(message: &Message) -> proto::Message {
    let row = &message.row;
    let response = row.response_to_message_id.map(|to| proto::ResponseReference {
        to_message_id: to.to_string(),
        state: row.response_state().unwrap_or_default().into(),
    });
    proto::Message {
        message_id: row.message_id.to_string(),
        chat_id: row.chat_id.to_string(),
        sequence: row.sequence,
        sender_id: row.sender_id.to_string(),
        r#type: row.message_type().into(),
        text: row.body.clone(),
        attachments: message.attachments.iter().map(attachment).collect(),
        mentions: Vec::new(),
        reply_to_message_id: row.reply_to_message_id.map(|id| id.to_string()).unwrap_or_default(),
        response,
        metadata: row
            .metadata
            .as_ref()
            .map(|metadata| metadata.0.clone())
            .unwrap_or_default(),
        revision: row.revision,
        create_time: Some(timestamp(row.create_time)),
        update_time: row.update_time.map(timestamp),
        delete_time: row.delete_time.map(timestamp),
        original_time: row.original_time.map(timestamp),
        external_id: row.external_id.clone().unwrap_or_default(),
        etag: row.etag(),
    }
}

/// What is left of a message for the one who hides it: its place, without content.
pub(crate) fn hidden_message(row: &MessageRow, hide_time: OffsetDateTime) -> proto::Message {
    let shell = MessageRow {
        body: String::new(),
        metadata: None,
        delete_time: Some(hide_time),
        attachment_ids: None,
        ..row.clone()
    };
    message(&Message {
        row: shell,
        attachments: Vec::new(),
    })
}

/// A message that a repeated call is about and that its caller may no longer see: which one it was, and
/// nothing else; the sequence where sending it was the call, else 0.
pub(crate) fn unseen_message(chat_id: ChatId, message_id: MessageId, sequence: i64) -> proto::Message {
    proto::Message {
        message_id: message_id.to_string(),
        chat_id: chat_id.to_string(),
        sequence,
        ..proto::Message::default()
    }
}

/// The same of a response.
pub(crate) fn unseen_response(
    chat_id: ChatId,
    response_id: MessageId,
    to: MessageId,
    sequence: i64,
) -> proto::BotResponse {
    proto::BotResponse {
        response_id: response_id.to_string(),
        message_id: to.to_string(),
        chat_id: chat_id.to_string(),
        sequence,
        ..proto::BotResponse::default()
    }
}

/// The same of an attachment.
pub(crate) fn unseen_attachment(chat_id: ChatId, attachment_id: AttachmentId) -> proto::Attachment {
    proto::Attachment {
        attachment_id: attachment_id.to_string(),
        chat_id: chat_id.to_string(),
        ..proto::Attachment::default()
    }
}

/// A response as a resource of its own; `None` for a message that is no response.
pub(crate) fn response(message: &Message) -> Option<proto::BotResponse> {
    let row = &message.row;
    let to = row.response_to_message_id?;
    Some(proto::BotResponse {
        response_id: row.message_id.to_string(),
        message_id: to.to_string(),
        chat_id: row.chat_id.to_string(),
        sequence: row.sequence,
        author_id: row.sender_id.to_string(),
        r#type: row.message_type().into(),
        text: row.body.clone(),
        state: row.response_state().unwrap_or_default().into(),
        create_time: Some(timestamp(row.create_time)),
        finish_time: row.response_finish_time.map(timestamp),
        attachments: message.attachments.iter().map(attachment).collect(),
        delete_time: row.delete_time.map(timestamp),
    })
}

/// An attachment as those who may see it do.
pub(crate) fn attachment(row: &AttachmentRow) -> proto::Attachment {
    proto::Attachment {
        attachment_id: row.attachment_id.to_string(),
        chat_id: row.chat_id.to_string(),
        file_name: row.file_name.clone(),
        media_type: row.media_type.clone(),
        size_bytes: u32::try_from(row.size_bytes).unwrap_or(u32::MAX),
        sha256: hex::encode(&row.sha256),
        state: row.state().into(),
        create_time: Some(timestamp(row.create_time)),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::{time, timestamp};

    #[test]
    fn times_are_kept_to_the_microsecond() {
        let wire = Timestamp {
            seconds: 1_767_225_600,
            nanos: 123_456_789,
        };
        let kept = time(&wire).expect("a time");
        assert_eq!(
            timestamp(kept),
            Timestamp {
                nanos: 123_456_000,
                ..wire
            }
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert_eq!(time(&Timestamp { seconds, nanos }), None);
        }
    }
}
