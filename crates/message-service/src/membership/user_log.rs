//! Users' own logs: joined, left, hidden.

use sqlx::PgConnection;
use tidings_db::Error;
use tidings_ids::{ChatId, MessageId, UserId};
use uuid::Uuid;

/// An entry to be written. Its position is given when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) user_id: UserId,
    pub(crate) actor_id: UserId,
    pub(crate) chat_id: ChatId,
    pub(crate) kind: EntryKind,
}

/// What happened; the numbers of the kinds are those of the fields of `message.v1.Change`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// The user joined, at this position of the chat's log.
    ChatJoined { position: i64 },
    /// The user left or was removed, at this position, for a reason of `common.v1.RemovalReason`.
    ChatLeft { position: i64, reason: i16 },
    /// The user deleted a message for oneself.
    MessageHidden { message_id: MessageId, sequence: i64 },
}

impl EntryKind {
    fn number(self) -> i16 {
        match self {
            Self::ChatJoined { .. } => 30,
            Self::ChatLeft { .. } => 31,
            Self::MessageHidden { .. } => 32,
        }
    }
}

/// Writes entries, as the last thing that a transaction does: the users' rows are locked in the order of their ids and stay so
/// until the commit, which makes the numbers dense and keeps two transactions from waiting for each other in a circle.
pub(crate) async fn append(connection: &mut PgConnection, entries: &[Entry]) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let user_ids: Vec<Uuid> = entries.iter().map(|entry| entry.user_id.uuid()).collect();
    let actor_ids: Vec<Uuid> = entries.iter().map(|entry| entry.actor_id.uuid()).collect();
    let chat_ids: Vec<Uuid> = entries.iter().map(|entry| entry.chat_id.uuid()).collect();
    let kinds: Vec<i16> = entries.iter().map(|entry| entry.kind.number()).collect();
    let mut positions: Vec<Option<i64>> = Vec::with_capacity(entries.len());
    let mut reasons: Vec<Option<i16>> = Vec::with_capacity(entries.len());
    let mut message_ids: Vec<Option<Uuid>> = Vec::with_capacity(entries.len());
    let mut sequences: Vec<Option<i64>> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (position, reason, message_id, sequence) = match entry.kind {
            EntryKind::ChatJoined { position } => (Some(position), None, None, None),
            EntryKind::ChatLeft { position, reason } => (Some(position), Some(reason), None, None),
            EntryKind::MessageHidden { message_id, sequence } => (None, None, Some(message_id.uuid()), Some(sequence)),
        };
        positions.push(position);
        reasons.push(reason);
        message_ids.push(message_id);
        sequences.push(sequence);
    }
    sqlx::query!(
        "with input as (
             select
                 i.*,
                 row_number() over (partition by i.user_id order by i.ord) as rank,
                 count(*) over (partition by i.user_id) as total
             from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::bigint[], $6::smallint[], $7::uuid[], $8::bigint[])
                 with ordinality i(user_id, actor_id, chat_id, kind, chat_position, reason, message_id, sequence, ord)
         ), counted as (
             insert into messages.user_logs as l (user_id, last_position)
             select i.user_id, count(*)
             from input i
             group by i.user_id
             order by i.user_id
             on conflict (user_id) do update
             set last_position = l.last_position + excluded.last_position
             returning l.user_id, l.last_position
         )
         insert into messages.user_changes
             (user_id, position, kind, actor_id, chat_id, chat_position, reason, message_id, sequence, create_time)
         select
             i.user_id, c.last_position - i.total + i.rank, i.kind, i.actor_id, i.chat_id, i.chat_position, i.reason,
             i.message_id, i.sequence, clock_timestamp()
         from input i
         join counted c on c.user_id = i.user_id",
        &user_ids,
        &actor_ids,
        &chat_ids,
        &kinds,
        &positions as &[Option<i64>],
        &reasons as &[Option<i16>],
        &message_ids as &[Option<Uuid>],
        &sequences as &[Option<i64>],
    )
    .execute(connection)
    .await?;
    Ok(())
}
