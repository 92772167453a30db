//! A chat, read from its first message to its last.

use tidings_proto_message::v1::{After, ListMessagesRequest, SyncChangesRequest};

use crate::{
    chat_log::ChatLog,
    client::{Failure, Session},
    compare::Read,
};

/// The largest page that the server gives.
const PAGE_SIZE: i32 = 200;

/// A chat, read by `ListMessages`.
#[derive(Debug, Default)]
pub struct Listed {
    /// Its messages, in the order of the pages.
    pub messages: Vec<Read>,
    /// Sequences that the server says it leaves out.
    pub removed: i64,
}

/// Reads a chat by `ListMessages`, the oldest first.
///
/// # Errors
///
/// What the server refuses.
pub async fn list(session: &Session, chat_id: &str) -> Result<Listed, Failure> {
    let mut listed = Listed::default();
    let mut request = ListMessagesRequest {
        chat_id: chat_id.to_owned(),
        page_size: PAGE_SIZE,
        ..ListMessagesRequest::default()
    };
    loop {
        let page = session.list_messages(&request).await?;
        listed.messages.extend(page.messages.into_iter().map(Read::from));
        let removed = page
            .removed_ranges
            .iter()
            .map(|range| range.last_sequence - range.first_sequence + 1);
        listed.removed += removed.sum::<i64>();
        if page.next_page_token.is_empty() {
            return Ok(listed);
        }
        request.page_token = page.next_page_token;
    }
}

/// Reads a chat by `SyncChanges`, from its first change. Other chats of the reader come along and are passed over.
///
/// # Errors
///
/// What the server refuses.
pub async fn sync(session: &Session, chat_id: &str) -> Result<ChatLog, Failure> {
    let mut log = ChatLog::of_chat(chat_id);
    let after = After {
        chats: vec![log.chat_position()],
        ..After::default()
    };
    let mut request = SyncChangesRequest {
        after: Some(after),
        page_size: PAGE_SIZE,
        ..SyncChangesRequest::default()
    };
    loop {
        let page = session.sync_changes(&request).await?;
        if page
            .snapshots
            .iter()
            .flat_map(|snapshot| &snapshot.chat)
            .any(|chat| log.is_of(&chat.chat_id))
        {
            log.fault("a snapshot of a chat whose position was presented");
        }
        if page.left.iter().any(|left| log.is_of(&left.chat_id)) {
            log.fault("the chat was left, which nobody did");
        }
        // Changes and skipped ranges stand in lists of their own; together they are in the order of their positions.
        let mut skipped = page.skipped.into_iter().peekable();
        for change in page.changes {
            while let Some(range) = skipped.next_if(|range| range.last_position < change.position) {
                log.skip(&range);
            }
            log.apply(change);
        }
        skipped.for_each(|range| log.skip(&range));
        match (page.caught_up, page.next_page_token) {
            (true, _) => return Ok(log),
            (false, token) if token.is_empty() => return Err(Failure::malformed("SyncChanges", "next_page_token")),
            (false, token) => request.page_token = token,
        }
    }
}
