//! Editing and deleting messages. Each runs under the lock of the chat's row, which gives the change its place in the log, and
//! checks in the contract's order: repetition, access, etag, effect. A repetition changes nothing and is answered whoever repeats it,
//! with the message for who may still see it.

use sqlx::{PgConnection, types::Json};
use tidings_audit::{self as audit, Event};
use tidings_db::{Pool, Schema, transaction};
use tidings_ids::{MessageId, Source, UserId};
use tidings_proto_common::v1::{AuditCategory, ErrorReason};
use tidings_proto_message::v1::{MessageType, ResponseState};
use tidings_rpc::Problem;
use time::OffsetDateTime;

use crate::{
    Error,
    access::{Access, lock_chat},
    bus::Bus,
    membership::user_log::{self, Entry, EntryKind},
    message::{Message, MessageRow, Metadata},
    read,
    requests::{Call, Earlier},
};

/// Earlier texts that are kept of a message. A deletion removes them all under the chat's lock, so nobody may make them so many that
/// it takes long.
const REVISIONS_MAX: i64 = 100;

/// What an edit changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) message_id: MessageId,
    pub(crate) text: Option<String>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) etag: String,
}

/// What a deletion removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deletion {
    pub(crate) message_id: MessageId,
    pub(crate) etag: String,
}

/// A message that its reader has hidden, and since when.
#[derive(Debug)]
pub(crate) struct Hidden {
    pub(crate) row: MessageRow,
    pub(crate) hide_time: OffsetDateTime,
}

/// Edits a message and returns it as it is then; `None` where the same was done before and the caller may no longer see it.
pub(crate) async fn update_message(pool: &Pool, bus: &Bus, call: &Call, edit: &Edit) -> Result<Option<Message>, Error> {
    let message = transaction!(pool, |tx| -> Result<Option<Message>, Error> {
        let Some(access) = begin(tx, call).await? else {
            return found_whole(tx, call, edit.message_id).await;
        };
        let row = found(tx, call, edit.message_id).await?;
        check_editable(call.caller_id, &row, edit)?;
        access.check_writable()?;
        store_edit(tx, &row, edit).await?;
        log(tx, &row, 11, call.caller_id).await?;
        call.remember(tx, row.message_id.uuid()).await?;
        found_whole(tx, call, row.message_id).await
    })?;
    bus.moved([call.chat_id], []);
    Ok(message)
}

/// Deletes a message for all and returns the tombstone; `None` as with an edit.
pub(crate) async fn delete_for_all(
    pool: &Pool,
    bus: &Bus,
    source: &Source,
    call: &Call,
    deletion: &Deletion,
) -> Result<Option<Message>, Error> {
    let message = transaction!(pool, |tx| -> Result<Option<Message>, Error> {
        let Some(access) = begin(tx, call).await? else {
            return found_whole(tx, call, deletion.message_id).await;
        };
        let row = found(tx, call, deletion.message_id).await?;
        if row.sender_id != call.caller_id && !access.is_admin() {
            return Err(Problem::new(ErrorReason::PermissionMissing).into());
        }
        if !row.is_deleted() {
            check_etag(&row, &deletion.etag)?;
            store_tombstone(tx, &row).await?;
            log(tx, &row, 12, call.caller_id).await?;
            if row.sender_id != call.caller_id {
                record(tx, source, call, &row).await?;
            }
        }
        call.remember(tx, row.message_id.uuid()).await?;
        found_whole(tx, call, row.message_id).await
    })?;
    bus.moved([call.chat_id], []);
    Ok(message)
}

/// Hides a message from the caller; `None` as with an edit.
pub(crate) async fn delete_for_me(
    pool: &Pool,
    bus: &Bus,
    call: &Call,
    deletion: &Deletion,
) -> Result<Option<Hidden>, Error> {
    let hidden = transaction!(pool, |tx| -> Result<Option<Hidden>, Error> {
        let is_new = begin(tx, call).await?.is_some();
        let row = match visible(tx, call, deletion.message_id).await? {
            Some(row) => row,
            None if is_new => return Err(Problem::not_found().into()),
            None => return Ok(None),
        };
        if is_new && !row.hidden {
            check_etag(&row, &deletion.etag)?;
            let kind = EntryKind::MessageHidden {
                message_id: row.message_id,
                sequence: row.sequence,
            };
            let entry = Entry {
                user_id: call.caller_id,
                actor_id: call.caller_id,
                chat_id: call.chat_id,
                kind,
            };
            hide(tx, call, &row).await?;
            user_log::append(tx, &[entry]).await?;
        }
        if is_new {
            call.remember(tx, row.message_id.uuid()).await?;
        }
        let hide_time = hide_time(tx, call, &row).await?;
        Ok(Some(Hidden { row, hide_time }))
    })?;
    bus.moved([], [call.caller_id]);
    Ok(hidden)
}

/// Takes the chat's row, and then asks whether the call was made before, which is `None`, and else whether the caller is a member.
async fn begin(tx: &mut PgConnection, call: &Call) -> Result<Option<Access>, Error> {
    lock_chat(tx, call.chat_id).await?;
    match call.look_up(tx).await? {
        Earlier::Same(_) => Ok(None),
        Earlier::Nothing => Access::of(tx, call.chat_id, call.caller_id).await.map(Some),
    }
}

/// The message, unless the caller may not see it or has hidden it.
async fn found(tx: &mut PgConnection, call: &Call, id: MessageId) -> Result<MessageRow, Error> {
    let row = visible(tx, call, id).await?.filter(|row| !row.hidden);
    row.ok_or_else(|| Problem::not_found().into())
}

/// The message, unless the caller may not see it; also one that the caller has hidden.
async fn visible(tx: &mut PgConnection, call: &Call, id: MessageId) -> Result<Option<MessageRow>, Error> {
    Ok(read::rows_by_id(tx, call.chat_id, call.caller_id, &[id]).await?.pop())
}

/// The message as it is now with its attachments, if the caller may see it and has not hidden it.
async fn found_whole(tx: &mut PgConnection, call: &Call, id: MessageId) -> Result<Option<Message>, Error> {
    let row = visible(&mut *tx, call, id).await?.filter(|row| !row.hidden);
    Ok(read::complete(tx, Vec::from_iter(row)).await?.pop())
}

fn check_etag(row: &MessageRow, etag: &str) -> Result<(), Problem> {
    if etag.is_empty() || etag == row.etag() {
        Ok(())
    } else {
        Err(Problem::new(ErrorReason::EtagMismatch))
    }
}

fn check_editable(caller_id: UserId, row: &MessageRow, edit: &Edit) -> Result<(), Problem> {
    if row.message_type() == MessageType::System {
        return Err(Problem::new(ErrorReason::KindUnsuitable));
    }
    if row.sender_id != caller_id {
        return Err(Problem::new(ErrorReason::PermissionMissing));
    }
    check_etag(row, &edit.etag)?;
    let unfinished = row
        .response_state()
        .is_some_and(|state| state != ResponseState::Finished);
    if row.is_deleted() || unfinished {
        return Err(Problem::new(ErrorReason::StateUnsuitable));
    }
    if edit.text.as_deref() == Some("") && row.attachment_ids.is_none() {
        return Err(Problem::field(
            "text",
            "must not be empty where there are no attachments",
        ));
    }
    Ok(())
}

/// The text before goes to the revisions, where the oldest makes room for it.
async fn store_edit(tx: &mut PgConnection, row: &MessageRow, edit: &Edit) -> Result<(), Error> {
    sqlx::query!(
        "insert into messages.message_revisions (chat_id, message_id, revision, body, metadata, create_time)
         select m.chat_id, m.message_id, m.revision, m.body, m.metadata, coalesce(m.update_time, m.create_time)
         from messages.messages m
         where m.chat_id = $1 and m.sequence = $2",
        row.chat_id.uuid(),
        row.sequence,
    )
    .execute(&mut *tx)
    .await?;
    if row.revision > REVISIONS_MAX {
        sqlx::query!(
            "delete from messages.message_revisions where chat_id = $1 and message_id = $2 and revision <= $3",
            row.chat_id.uuid(),
            row.message_id.uuid(),
            row.revision - REVISIONS_MAX,
        )
        .execute(&mut *tx)
        .await?;
    }
    let metadata = edit.metadata.as_ref().filter(|metadata| !metadata.is_empty()).map(Json);
    sqlx::query!(
        "update messages.messages
         set body = coalesce($3, body),
             metadata = case when $4 then $5 else metadata end,
             revision = revision + 1,
             update_time = clock_timestamp()
         where chat_id = $1 and sequence = $2",
        row.chat_id.uuid(),
        row.sequence,
        edit.text,
        edit.metadata.is_some(),
        metadata as Option<Json<&Metadata>>,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The words are gone: from the row, from the revisions, and with the attachments from the store (see the sweeper).
async fn store_tombstone(tx: &mut PgConnection, row: &MessageRow) -> Result<(), Error> {
    sqlx::query!(
        "update messages.messages
         set body = '', metadata = null, attachment_ids = null, revision = revision + 1, delete_time = clock_timestamp()
         where chat_id = $1 and sequence = $2",
        row.chat_id.uuid(),
        row.sequence,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "delete from messages.message_revisions where chat_id = $1 and message_id = $2",
        row.chat_id.uuid(),
        row.message_id.uuid(),
    )
    .execute(&mut *tx)
    .await?;
    if let Some(ids) = &row.attachment_ids {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.uuid()).collect();
        sqlx::query!(
            "update messages.attachments set state = 3, file_name = '' where chat_id = $1 and attachment_id = any ($2)",
            row.chat_id.uuid(),
            &ids,
        )
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// The chat's next change: this message, as it is now.
async fn log(tx: &mut PgConnection, row: &MessageRow, kind: i16, actor_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "with moved as (
             update messages.chats
             set last_position = last_position + 1
             where chat_id = $1
             returning last_position
         )
         insert into messages.changes (chat_id, position, kind, actor_id, message_id, sequence, revision, create_time)
         select $1, last_position, $2, $3, $4, $5, $6, clock_timestamp()
         from moved",
        row.chat_id.uuid(),
        kind,
        actor_id.uuid(),
        row.message_id.uuid(),
        row.sequence,
        row.revision + 1,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The audit trail has whose message was deleted by somebody else. What users do to their own is theirs.
async fn record(tx: &mut PgConnection, source: &Source, call: &Call, row: &MessageRow) -> Result<(), Error> {
    let event = Event::of_call(source, AuditCategory::Content, "message.delete_message")
        .subject(row.chat_id)
        .subject(row.message_id)
        .subject(row.sender_id)
        .request(Some(call.request_id));
    Ok(audit::record(tx, Schema::Messages, &event).await?)
}

async fn hide(tx: &mut PgConnection, call: &Call, row: &MessageRow) -> Result<(), Error> {
    sqlx::query!(
        "insert into messages.hidden_messages (chat_id, user_id, sequence, create_time)
         values ($1, $2, $3, clock_timestamp())",
        call.chat_id.uuid(),
        call.caller_id.uuid(),
        row.sequence,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn hide_time(tx: &mut PgConnection, call: &Call, row: &MessageRow) -> Result<OffsetDateTime, Error> {
    Ok(sqlx::query_scalar!(
        "select create_time from messages.hidden_messages where chat_id = $1 and user_id = $2 and sequence = $3",
        call.chat_id.uuid(),
        call.caller_id.uuid(),
        row.sequence,
    )
    .fetch_one(tx)
    .await?)
}
