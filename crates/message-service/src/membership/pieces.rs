//! The statements of one transaction of a membership change. All run under the lock of the audience's row, and each can be
//! repeated: what it has done already, it finds done.

use sqlx::{PgConnection, types::Json};
use tidings_ids::{AudienceId, ChatId, UserId};
use tidings_proto_common::v1::RemovalReason;
use tidings_rpc::Problem;
use uuid::Uuid;

use super::{
    apply::Piece,
    change::{AudienceChange, ChatFacts, MemberPut},
    user_log::{Entry, EntryKind},
};
use crate::{Error, message::Metadata};

/// What a change of a member means for the logs of the chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberStep {
    Nothing,
    Joined,
    Updated,
    /// With the number of a `common.v1.RemovalReason`.
    Removed(i16),
}

impl MemberStep {
    /// The number of the entry's kind in a chat's log.
    fn kind(self) -> i16 {
        match self {
            Self::Joined => 16,
            Self::Updated => 17,
            Self::Removed(_) | Self::Nothing => 18,
        }
    }
}

/// Locks the audience's row, making it if this is the first that is heard of it, and returns its `applied_number`.
pub(super) async fn lock_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<i64, Error> {
    if let Some(applied_number) = lock_known_audience(tx, audience_id).await? {
        return Ok(applied_number);
    }
    sqlx::query!(
        "insert into messages.audiences (audience_id) values ($1) on conflict (audience_id) do nothing",
        audience_id.uuid(),
    )
    .execute(&mut *tx)
    .await?;
    Ok(lock_known_audience(tx, audience_id).await?.unwrap_or(0))
}

async fn lock_known_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar!(
        "select applied_number from messages.audiences where audience_id = $1 for update",
        audience_id.uuid(),
    )
    .fetch_optional(tx)
    .await?)
}

/// Says how far the audience is.
pub(super) async fn set_applied(tx: &mut PgConnection, audience_id: AudienceId, number: i64) -> Result<(), Error> {
    sqlx::query!(
        "update messages.audiences
         set applied_number = $2
         where audience_id = $1 and applied_number < $2",
        audience_id.uuid(),
        number,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends the audience; whether it had not been ended before.
pub(super) async fn close_audience(tx: &mut PgConnection, audience_id: AudienceId) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update messages.audiences
         set removed = true
         where audience_id = $1 and not removed",
        audience_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

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

/// Ends the memberships of an audience that is removed, as many as the piece allows; whether all are ended. Nothing is decided by
/// it any more: it takes the dead memberships out of the lists of their users.
pub(super) async fn end_members(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    number: i64,
    piece: &mut Piece,
) -> Result<bool, Error> {
    let limit = i64::try_from(piece.left).unwrap_or(i64::MAX);
    let reason = i16::try_from(i32::from(RemovalReason::Deleted)).expect("a small number");
    let done = sqlx::query!(
        "update messages.members m
         set removed = true, removal_reason = $3, revision = $2
         from (
             select e.user_id
             from messages.members e
             where e.audience_id = $1 and not e.removed
             limit $4
         ) e
         where m.audience_id = $1 and m.user_id = e.user_id",
        audience_id.uuid(),
        number,
        reason,
        limit,
    )
    .execute(tx)
    .await?;
    let ended = usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
    let all = ended < piece.left;
    piece.left = piece.left.saturating_sub(ended);
    Ok(all)
}

/// The member's row: what sends and reads are decided by. Says what is to be written into the logs.
pub(super) async fn put_member(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    number: i64,
    put: &MemberPut,
) -> Result<MemberStep, Error> {
    let member = sqlx::query!(
        "select role, mute_end_time, joined_number, revision, removed
         from messages.members
         where audience_id = $1 and user_id = $2",
        audience_id.uuid(),
        put.user_id.uuid(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let step = match &member {
        // This change's own first piece.
        Some(member) if member.revision == number && member.joined_number == number => return Ok(MemberStep::Joined),
        Some(member) if member.revision == number => return Ok(MemberStep::Updated),
        Some(member) if !member.removed && member.role == put.role && member.mute_end_time == put.mute_end_time => {
            return Ok(MemberStep::Nothing);
        }
        Some(member) if !member.removed => MemberStep::Updated,
        _ => MemberStep::Joined,
    };
    sqlx::query!(
        "insert into messages.members as m
             (audience_id, user_id, role, mute_end_time, create_time, joined_number, revision)
         values ($1, $2, $3, $4, $5, $6, $6)
         on conflict (audience_id, user_id) do update
         set role = excluded.role,
             mute_end_time = excluded.mute_end_time,
             create_time = excluded.create_time,
             joined_number = case when m.removed then excluded.joined_number else m.joined_number end,
             revision = excluded.revision,
             removed = false,
             removal_reason = null",
        audience_id.uuid(),
        put.user_id.uuid(),
        put.role,
        put.mute_end_time,
        put.create_time,
        number,
    )
    .execute(tx)
    .await?;
    Ok(step)
}

/// Ends a membership. Says what is to be written into the logs: nothing where there was none.
pub(super) async fn remove_member(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    number: i64,
    user_id: UserId,
    reason: i16,
) -> Result<MemberStep, Error> {
    let revision = sqlx::query_scalar!(
        "update messages.members
         set removed = true,
             removal_reason = $4,
             revision = $3
         where audience_id = $1 and user_id = $2 and (not removed or revision = $3)
         returning revision",
        audience_id.uuid(),
        user_id.uuid(),
        number,
        reason,
    )
    .fetch_optional(tx)
    .await?;
    Ok(revision.map_or(MemberStep::Nothing, |_| MemberStep::Removed(reason)))
}

/// Writes what happened to a member into the chats' logs and the member's own, as many chats as the piece allows; whether all are
/// written. Each chat's row is locked: that gives the entry its place in the order of the messages.
pub(super) async fn write_into_chats(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    change: &AudienceChange,
    user_id: UserId,
    step: MemberStep,
    piece: &mut Piece,
) -> Result<bool, Error> {
    let limit = i64::try_from(piece.left).unwrap_or(i64::MAX);
    let chats = sqlx::query!(
        "select chat_id, last_sequence, last_position
         from messages.chats
         where audience_id = $1 and audience_number < $2 and not removed
         order by chat_id
         limit $3
         for update",
        audience_id.uuid(),
        change.number,
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    let all = chats.len() < piece.left;
    let chat_ids: Vec<Uuid> = chats.iter().map(|chat| chat.chat_id.uuid()).collect();
    let reason = match step {
        MemberStep::Removed(reason) => Some(reason),
        _ => None,
    };
    // A statement of its own: its snapshot is taken after the locks.
    sqlx::query!(
        "with moved as (
             update messages.chats c
             set last_position = c.last_position + 1, audience_number = $2
             from unnest($1::uuid[]) u(chat_id)
             where c.chat_id = u.chat_id
             returning c.chat_id, c.last_position
         )
         insert into messages.changes (chat_id, position, kind, actor_id, user_id, reason, create_time)
         select m.chat_id, m.last_position, $3, $4, $5, $6, clock_timestamp()
         from moved m",
        &chat_ids,
        change.number,
        step.kind(),
        change.actor_id.uuid(),
        user_id.uuid(),
        reason,
    )
    .execute(&mut *tx)
    .await?;
    match step {
        MemberStep::Joined => enter(tx, &chat_ids, user_id).await?,
        MemberStep::Removed(_) => leave(tx, &chat_ids, user_id).await?,
        MemberStep::Updated | MemberStep::Nothing => {}
    }
    for chat in chats {
        let position = chat.last_position + 1;
        piece.wrote(chat.chat_id);
        let kind = match step {
            MemberStep::Joined => EntryKind::ChatJoined { position },
            MemberStep::Removed(reason) => EntryKind::ChatLeft { position, reason },
            MemberStep::Updated | MemberStep::Nothing => continue,
        };
        // Bounded by the number of chats, which has been counted.
        piece.entries.push(Entry {
            user_id,
            actor_id: change.actor_id,
            chat_id: chat.chat_id,
            kind,
        });
    }
    Ok(all)
}

/// The place of the joining in each chat. What was sent before it counts as read.
async fn enter(tx: &mut PgConnection, chat_ids: &[Uuid], user_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "insert into messages.chat_members as v (chat_id, user_id, first_position, first_sequence, read_sequence)
         select c.chat_id, $2, c.last_position, c.last_sequence + 1, c.last_sequence
         from unnest($1::uuid[]) u(chat_id)
         join messages.chats c on c.chat_id = u.chat_id
         on conflict (chat_id, user_id) do update
         set first_position = excluded.first_position,
             first_sequence = excluded.first_sequence,
             read_sequence = greatest(v.read_sequence, excluded.read_sequence),
             left_position = null,
             last_send_time = null",
        chat_ids,
        user_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The last position that the user may see of each chat.
async fn leave(tx: &mut PgConnection, chat_ids: &[Uuid], user_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "insert into messages.chat_members
             (chat_id, user_id, first_position, first_sequence, read_sequence, left_position)
         select c.chat_id, $2, 1, 1, 0, c.last_position
         from unnest($1::uuid[]) u(chat_id)
         join messages.chats c on c.chat_id = u.chat_id
         on conflict (chat_id, user_id) do update
         set left_position = excluded.left_position",
        chat_ids,
        user_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
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
