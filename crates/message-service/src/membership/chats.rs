//! The chats of an audience in a membership change: statements of one transaction, under the lock of the audience's row. Each can be
//! repeated: what it has done already, it finds done.

use sqlx::{PgConnection, types::Json};
use tidings_ids::{AudienceId, ChatId, UserId};
use tidings_proto_common::v1::RemovalReason;
use tidings_rpc::Problem;
use uuid::Uuid;

use super::{
    apply::Piece,
    change::{AudienceChange, ChatFacts},
    user_log::{Entry, EntryKind},
};
use crate::{Error, message::Metadata};

/// Makes the chat and begins its log; whether it was not there before.
pub(super) async fn insert_chat(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    change: &AudienceChange,
    facts: &ChatFacts,
) -> Result<bool, Error> {
    let inserted = sqlx::query!(
        "insert into messages.chats
             (chat_id, audience_id, kind, history, archived, slow_mode_interval_secs, assistant_user_id, audience_number,
              last_position, activity)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint)
         on conflict (chat_id) do nothing",
        facts.chat_id.uuid(),
        audience_id.uuid(),
        facts.kind,
        facts.history,
        facts.archived,
        facts.slow_mode_interval_secs,
        facts.assistant_user_id.map(Uuid::from),
        change.number,
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return known_chat(tx, audience_id, change.number, facts.chat_id).await;
    }
    let metadata = metadata(facts);
    sqlx::query!(
        "insert into messages.chat_facts (chat_id, title, metadata, session_number, create_time, revision)
         values ($1, $2, $3, $4, $5, $6)",
        facts.chat_id.uuid(),
        facts.title,
        metadata as Option<Json<&Metadata>>,
        facts.session_number,
        facts.create_time,
        change.number,
    )
    .execute(&mut *tx)
    .await?;
    log_chat(tx, facts.chat_id, 1, 13, change.actor_id).await?;
    Ok(true)
}

/// A chat that is there already was made by this very change, or the chat service has given one id to two chats.
async fn known_chat(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    number: i64,
    chat_id: ChatId,
) -> Result<bool, Error> {
    let same = sqlx::query_scalar!(
        r#"select audience_id = $2 and audience_number = $3 as "same!" from messages.chats where chat_id = $1"#,
        chat_id.uuid(),
        audience_id.uuid(),
        number,
    )
    .fetch_optional(tx)
    .await?;
    if same == Some(true) {
        return Ok(false);
    }
    tracing::error!(%chat_id, %audience_id, "a chat was added with an id that is taken");
    Err(Problem::field("changes", "must add chats with new ids only").into())
}

/// Tells the members of a new chat, as many as the piece allows; whether all are told.
pub(super) async fn tell_members_of_chat(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    change: &AudienceChange,
    chat_id: ChatId,
    piece: &mut Piece,
) -> Result<bool, Error> {
    let limit = i64::try_from(piece.left).unwrap_or(i64::MAX);
    let told = sqlx::query_scalar!(
        "insert into messages.chat_members (chat_id, user_id, first_position, first_sequence, read_sequence)
         select $2, m.user_id, 1, 1, 0
         from messages.members m
         where m.audience_id = $1
           and not m.removed
           and not exists (select from messages.chat_members v where v.chat_id = $2 and v.user_id = m.user_id)
         order by m.user_id
         limit $3
         returning user_id",
        audience_id.uuid(),
        chat_id.uuid(),
        limit,
    )
    .fetch_all(tx)
    .await?;
    let all = told.len() < piece.left;
    for user_id in told {
        let kind = EntryKind::ChatJoined { position: 1 };
        piece.tell(Entry {
            user_id,
            actor_id: change.actor_id,
            chat_id,
            kind,
        });
    }
    Ok(all)
}

/// Takes the chat's facts over; whether there is such a chat.
pub(super) async fn update_chat(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    change: &AudienceChange,
    facts: &ChatFacts,
) -> Result<bool, Error> {
    let position = sqlx::query_scalar!(
        "update messages.chats
         set archived = $3,
             history = $4,
             slow_mode_interval_secs = $5,
             assistant_user_id = $6,
             audience_number = $7,
             last_position = last_position + 1
         where chat_id = $1 and audience_id = $2 and not removed
         returning last_position",
        facts.chat_id.uuid(),
        audience_id.uuid(),
        facts.archived,
        facts.history,
        facts.slow_mode_interval_secs,
        facts.assistant_user_id.map(Uuid::from),
        change.number,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(position) = position else {
        tracing::warn!(chat_id = %facts.chat_id, %audience_id, "a change of a chat that is not there was passed over");
        return Ok(false);
    };
    let metadata = metadata(facts);
    sqlx::query!(
        "update messages.chat_facts
         set title = $2, metadata = $3, session_number = $4, revision = $5
         where chat_id = $1",
        facts.chat_id.uuid(),
        facts.title,
        metadata as Option<Json<&Metadata>>,
        facts.session_number,
        change.number,
    )
    .execute(&mut *tx)
    .await?;
    log_chat(tx, facts.chat_id, position, 14, change.actor_id).await?;
    Ok(true)
}

/// Says whether anything can be sent in the chat. The row's lock puts it before or after each send.
pub(super) async fn set_blocked(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    chat_id: ChatId,
    blocked: bool,
) -> Result<(), Error> {
    let done = sqlx::query!(
        "update messages.chats
         set blocked = $3
         where chat_id = $1 and audience_id = $2",
        chat_id.uuid(),
        audience_id.uuid(),
        blocked,
    )
    .execute(tx)
    .await?;
    if done.rows_affected() == 0 {
        tracing::warn!(%chat_id, %audience_id, "a block in a chat that is not there was passed over");
    }
    Ok(())
}

/// The next chat of the audience whose end is not wholly written.
pub(super) async fn next_chat(tx: &mut PgConnection, audience_id: AudienceId) -> Result<Option<ChatId>, Error> {
    let chat_id = sqlx::query_scalar!(
        "select chat_id
         from messages.chats
         where audience_id = $1 and (ending or not removed)
         order by ending desc, chat_id
         limit 1",
        audience_id.uuid(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(chat_id)
}

/// Ends a chat: its row and the last entry of its log at once, then its members' logs as far as the piece allows; `ending` says
/// that some are left. Whether all is written.
pub(super) async fn remove_chat(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    change: &AudienceChange,
    chat_id: ChatId,
    piece: &mut Piece,
) -> Result<bool, Error> {
    let chat = sqlx::query!(
        "select removed, last_position
         from messages.chats
         where chat_id = $1 and audience_id = $2 and (ending or not removed)
         for update",
        chat_id.uuid(),
        audience_id.uuid(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(chat) = chat else { return Ok(true) };
    let mut position = chat.last_position;
    if !chat.removed {
        position += 1;
        sqlx::query!(
            "update messages.chats
             set removed = true, ending = true, last_position = $2, audience_number = $3
             where chat_id = $1",
            chat_id.uuid(),
            position,
            change.number,
        )
        .execute(&mut *tx)
        .await?;
        // From here on the sweeper knows it.
        sqlx::query!(
            "update messages.chat_facts set remove_time = clock_timestamp() where chat_id = $1",
            chat_id.uuid(),
        )
        .execute(&mut *tx)
        .await?;
        log_chat(tx, chat_id, position, 15, change.actor_id).await?;
        piece.wrote(chat_id);
    }
    if !leave_all(tx, audience_id, change, chat_id, position, piece).await? {
        return Ok(false);
    }
    sqlx::query!(
        "update messages.chats set ending = false where chat_id = $1",
        chat_id.uuid()
    )
    .execute(tx)
    .await?;
    Ok(true)
}

/// Ends the members' relation to a chat that is removed, as many as the piece allows; whether all are ended.
async fn leave_all(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    change: &AudienceChange,
    chat_id: ChatId,
    position: i64,
    piece: &mut Piece,
) -> Result<bool, Error> {
    let limit = i64::try_from(piece.left).unwrap_or(i64::MAX);
    let left = sqlx::query_scalar!(
        "insert into messages.chat_members as v
             (chat_id, user_id, first_position, first_sequence, read_sequence, left_position)
         select $2, m.user_id, 1, 1, 0, $3
         from messages.members m
         left join messages.chat_members v on v.chat_id = $2 and v.user_id = m.user_id
         where m.audience_id = $1 and not m.removed and v.left_position is null
         order by m.user_id
         limit $4
         on conflict (chat_id, user_id) do update
         set left_position = excluded.left_position
         returning user_id",
        audience_id.uuid(),
        chat_id.uuid(),
        position,
        limit,
    )
    .fetch_all(tx)
    .await?;
    let all = left.len() < piece.left;
    let reason = i16::try_from(i32::from(RemovalReason::Deleted)).expect("a small number");
    for user_id in left {
        let kind = EntryKind::ChatLeft { position, reason };
        piece.tell(Entry {
            user_id,
            actor_id: change.actor_id,
            chat_id,
            kind,
        });
    }
    Ok(all)
}

/// An entry about the chat itself.
async fn log_chat(
    tx: &mut PgConnection,
    chat_id: ChatId,
    position: i64,
    kind: i16,
    actor_id: UserId,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into messages.changes (chat_id, position, kind, actor_id, create_time)
         values ($1, $2, $3, $4, clock_timestamp())",
        chat_id.uuid(),
        position,
        kind,
        actor_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn metadata(facts: &ChatFacts) -> Option<Json<&Metadata>> {
    (!facts.metadata.is_empty()).then_some(Json(&facts.metadata))
}
