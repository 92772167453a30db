//! The members of an audience in a membership change: statements of one transaction, under the lock of the audience's row. Each can
//! be repeated: what it has done already, it finds done.

use sqlx::PgConnection;
use tidings_ids::{AudienceId, UserId};
use tidings_proto_common::v1::RemovalReason;
use uuid::Uuid;

use super::{
    apply::Piece,
    change::{AudienceChange, MemberPut},
    user_log::{Entry, EntryKind},
};
use crate::Error;

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
