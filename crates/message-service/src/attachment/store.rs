use sqlx::PgConnection;
use tidings_db::Pool;
use tidings_ids::{AttachmentId, ChatId, UserId};
use tidings_rpc::Problem;
use time::OffsetDateTime;

use super::{Announced, AttachmentRow};
use crate::{Error, requests::Call};

/// What the last `PUT` brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// There was none.
    Nothing,
    /// The announced bytes.
    Announced,
    /// Other bytes, which were not kept.
    Other,
}

/// An upload as its uploader has it.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) row: AttachmentRow,
    pub(super) put: Put,
}

/// Uploads of the user that are not complete.
pub(super) async fn uploading(tx: &mut PgConnection, user_id: UserId) -> Result<i64, Error> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "count!" from messages.attachments where uploader_id = $1 and state = 1"#,
        user_id.uuid(),
    )
    .fetch_one(tx)
    .await?)
}

pub(super) async fn insert(
    tx: &mut PgConnection,
    call: &Call,
    id: AttachmentId,
    announced: &Announced,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into messages.attachments
             (chat_id, attachment_id, uploader_id, file_name, media_type, size_bytes, sha256, create_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        call.chat_id.uuid(),
        id.uuid(),
        call.caller_id.uuid(),
        announced.file_name,
        announced.media_type,
        announced.size_bytes,
        &announced.sha256[..],
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The caller's own upload, locked; `NOT_FOUND` for any other.
pub(super) async fn own(tx: &mut PgConnection, call: &Call, id: AttachmentId) -> Result<Own, Error> {
    let row = sqlx::query!(
        "select attachment_id, chat_id, uploader_id, file_name, media_type, size_bytes, sha256, state, put_state, create_time
         from messages.attachments
         where chat_id = $1 and attachment_id = $2 and uploader_id = $3
         for update",
        call.chat_id.uuid(),
        id.uuid(),
        call.caller_id.uuid(),
    )
    .fetch_optional(tx)
    .await?;
    let row = row.ok_or_else(Problem::not_found)?;
    let put = match row.put_state {
        1 => Put::Announced,
        2 => Put::Other,
        _ => Put::Nothing,
    };
    let row = AttachmentRow {
        attachment_id: row.attachment_id,
        chat_id: row.chat_id,
        uploader_id: row.uploader_id,
        file_name: row.file_name,
        media_type: row.media_type,
        size_bytes: row.size_bytes,
        sha256: row.sha256,
        state: row.state,
        create_time: row.create_time,
    };
    Ok(Own { row, put })
}

pub(super) async fn set_ready(tx: &mut PgConnection, chat_id: ChatId, id: AttachmentId) -> Result<(), Error> {
    sqlx::query!(
        "update messages.attachments set state = 2 where chat_id = $1 and attachment_id = $2",
        chat_id.uuid(),
        id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// An attachment that the user may see: one's own until a message carries it, then with the message.
pub(super) async fn seen(
    pool: &Pool,
    chat_id: ChatId,
    user_id: UserId,
    id: AttachmentId,
) -> Result<AttachmentRow, Error> {
    let row = sqlx::query_as!(
        AttachmentRow,
        "select
             t.attachment_id, t.chat_id, t.uploader_id, t.file_name, t.media_type, t.size_bytes, t.sha256, t.state, t.create_time
         from messages.access a
         join messages.attachments t on t.chat_id = $1 and t.attachment_id = $3
         where a.chat_id = $1
           and a.user_id = $2
           and case
               when t.message_id is null then t.uploader_id = a.user_id
               else exists (
                   select
                   from messages.messages m
                   where m.chat_id = $1
                     and m.message_id = t.message_id
                     and m.sequence >= a.first_sequence
                     and not exists (
                         select
                         from messages.hidden_messages h
                         where h.chat_id = m.chat_id and h.user_id = a.user_id and h.sequence = m.sequence
                     )
               )
           end",
        chat_id.uuid(),
        user_id.uuid(),
        id.uuid(),
    )
    .fetch_optional(pool)
    .await?;
    row.ok_or_else(|| Problem::not_found().into())
}

/// An attachment by its id, for the media routes, whose URLs carry the permission.
pub(crate) async fn find_upload(
    pool: &Pool,
    chat_id: ChatId,
    id: AttachmentId,
) -> Result<Option<AttachmentRow>, tidings_db::Error> {
    Ok(sqlx::query_as!(
        AttachmentRow,
        "select attachment_id, chat_id, uploader_id, file_name, media_type, size_bytes, sha256, state, create_time
         from messages.attachments
         where chat_id = $1 and attachment_id = $2",
        chat_id.uuid(),
        id.uuid(),
    )
    .fetch_optional(pool)
    .await?)
}

/// Notes what a `PUT` brought; whether the upload still waited for it. Once the announced bytes are there, others change nothing.
pub(crate) async fn record_put(
    pool: &Pool,
    chat_id: ChatId,
    id: AttachmentId,
    put: Put,
) -> Result<bool, tidings_db::Error> {
    let number: i32 = match put {
        Put::Nothing => 0,
        Put::Announced => 1,
        Put::Other => 2,
    };
    let done = sqlx::query!(
        "update messages.attachments
         set put_state = case when put_state = 1 then 1 else $3::integer end
         where chat_id = $1 and attachment_id = $2 and state = 1",
        chat_id.uuid(),
        id.uuid(),
        number,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}
