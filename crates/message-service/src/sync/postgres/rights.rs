//! How users stand to chats.

use std::collections::HashSet;

use tidings_db::{Error, Pool};
use tidings_ids::{ChatId, LogId, UserId};
use uuid::Uuid;

use super::uuids;
use crate::sync::{
    frame::View,
    reader::{OpenChat, Opening, Standing},
};

struct StandingRow {
    chat_id: ChatId,
    standing: i16,
    head: i64,
    left_position: Option<i64>,
    kept_position: Option<i64>,
    kept_sequence: Option<i64>,
    first_position: Option<i64>,
    first_sequence: Option<i64>,
    joined_position: i64,
    has_hidden: bool,
}

/// Audiences whose chats are read by one statement: of a chat without a group one, of a group at most 500.
const AUDIENCES_AT_ONCE: i64 = 200;

/// Chats that are looked up by one statement.
const CHATS_AT_ONCE: usize = 1_000;

struct OpenRow {
    chat_id: ChatId,
    head: i64,
    kept_position: i64,
    kept_sequence: i64,
    first_position: i64,
    first_sequence: i64,
    joined_position: i64,
    has_hidden: bool,
}

/// The log's id, the user log's head, and the chats of the user. However many those are, no statement takes long.
pub(super) async fn open(pool: &Pool, user_id: UserId, named: &[ChatId]) -> Result<Opening, Error> {
    let head = sqlx::query!(
        r#"
        select h.log_id as "log_id!: LogId", coalesce(u.last_position, 0) as "user_position!"
        from messages.history h
        left join messages.user_logs u on u.user_id = $1
        "#,
        user_id.uuid(),
    )
    .fetch_one(pool)
    .await?;
    let mut chats = Vec::new();
    let mut after = Uuid::nil();
    loop {
        let audiences = audiences_of(pool, user_id, after).await?;
        let Some(last) = audiences.last() else { break };
        after = *last;
        chats.extend(chats_of(pool, user_id, &audiences).await?);
    }
    let found: HashSet<ChatId> = chats.iter().map(|chat| chat.chat_id).collect();
    let left_out: Vec<Uuid> = named
        .iter()
        .filter(|chat_id| !found.contains(chat_id))
        .map(|chat_id| chat_id.uuid())
        .collect();
    for some in left_out.chunks(CHATS_AT_ONCE) {
        chats.extend(closed_sessions_among(pool, user_id, some).await?);
    }
    let mut chats: Vec<OpenChat> = chats.into_iter().map(OpenRow::open_chat).collect();
    chats.sort_unstable_by_key(|chat| chat.chat_id);
    Ok(Opening {
        log_id: head.log_id,
        user_position: head.user_position,
        chats,
    })
}

/// Audiences that the user is in, in the order of ids from above `after`: a page of them.
async fn audiences_of(pool: &Pool, user_id: UserId, after: Uuid) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query!(
        r#"
        select audience_id as "audience_id!: Uuid"
        from messages.members
        where user_id = $1 and not removed and audience_id > $2
        order by audience_id
        limit $3
        "#,
        user_id.uuid(),
        after,
        AUDIENCES_AT_ONCE,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| row.audience_id).collect())
}

/// The user's chats in these audiences, without the closed sessions of an assistant (kind 4). `offset 0` keeps the planner from reading
/// everything that the user is in for each of these pages.
async fn chats_of(pool: &Pool, user_id: UserId, audiences: &[Uuid]) -> Result<Vec<OpenRow>, Error> {
    let rows = sqlx::query_as!(
        OpenRow,
        r#"
        select
            c.chat_id as "chat_id!: ChatId", c.last_position as "head!", c.kept_position as "kept_position!",
            c.kept_sequence as "kept_sequence!", c.first_position as "first_position!",
            c.first_sequence as "first_sequence!", c.joined_position as "joined_position!", c.has_hidden as "has_hidden!"
        from unnest($2::uuid[]) n(audience_id)
        cross join lateral (
            select
                a.chat_id, a.last_position, a.kept_position, a.kept_sequence, a.first_position, a.first_sequence,
                coalesce(v.first_position, 1) as joined_position,
                exists (
                    select
                    from messages.hidden_messages h
                    where h.chat_id = a.chat_id and h.user_id = a.user_id
                ) as has_hidden
            from messages.access a
            left join messages.chat_members v on v.chat_id = a.chat_id and v.user_id = a.user_id
            where a.audience_id = n.audience_id
              and a.user_id = $1
              and not (a.archived and a.kind = 4 and a.assistant_user_id is not distinct from $1)
            offset 0
        ) c
        "#,
        user_id.uuid(),
        audiences,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// Those of these chats that [`chats_of`] leaves out.
async fn closed_sessions_among(pool: &Pool, user_id: UserId, chats: &[Uuid]) -> Result<Vec<OpenRow>, Error> {
    let rows = sqlx::query_as!(
        OpenRow,
        r#"
        select
            c.chat_id as "chat_id!: ChatId", c.last_position as "head!", c.kept_position as "kept_position!",
            c.kept_sequence as "kept_sequence!", c.first_position as "first_position!",
            c.first_sequence as "first_sequence!", c.joined_position as "joined_position!", c.has_hidden as "has_hidden!"
        from unnest($2::uuid[]) n(chat_id)
        cross join lateral (
            select
                a.chat_id, a.last_position, a.kept_position, a.kept_sequence, a.first_position, a.first_sequence,
                coalesce(v.first_position, 1) as joined_position,
                exists (
                    select
                    from messages.hidden_messages h
                    where h.chat_id = a.chat_id and h.user_id = a.user_id
                ) as has_hidden
            from messages.access a
            left join messages.chat_members v on v.chat_id = a.chat_id and v.user_id = a.user_id
            where a.chat_id = n.chat_id
              and a.user_id = $1
              and a.archived and a.kind = 4 and a.assistant_user_id = $1
            offset 0
        ) c
        "#,
        user_id.uuid(),
        chats,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

impl OpenRow {
    fn open_chat(self) -> OpenChat {
        OpenChat {
            chat_id: self.chat_id,
            head: self.head,
            view: View {
                kept_position: self.kept_position,
                kept_sequence: self.kept_sequence,
                first_position: self.first_position,
                first_sequence: self.first_sequence,
                joined_position: self.joined_position,
                has_hidden: self.has_hidden,
            },
        }
    }
}

/// How the user stands to these chats. Those that do not exist are not told.
pub(super) async fn standings(
    pool: &Pool,
    user_id: UserId,
    chats: &[ChatId],
) -> Result<Vec<(ChatId, Standing)>, Error> {
    // 0 never, 1 member, 2 ended, 3 the removal is decided but not in the chat's log yet. A removal that has come so far without a
    // position was before the chat began: of that chat this user knows nothing.
    let rows = sqlx::query_as!(
        StandingRow,
        r#"
        select
            c.chat_id as "chat_id!: ChatId",
            (case
                when a.kept_position is not null then 1
                when v.left_position is not null then 2
                when m.user_id is null or m.joined_number > c.audience_number then 0
                when m.removed and m.revision <= c.audience_number then 0
                when c.removed then 2
                else 3
            end)::smallint as "standing!",
            c.last_position as "head!",
            v.left_position as "left_position?",
            a.kept_position as "kept_position?",
            a.kept_sequence as "kept_sequence?",
            a.first_position as "first_position?",
            a.first_sequence as "first_sequence?",
            coalesce(v.first_position, 1) as "joined_position!",
            exists (
                select
                from messages.hidden_messages h
                where h.chat_id = c.chat_id and h.user_id = $1
            ) as "has_hidden!"
        from unnest($2::uuid[]) n(chat_id)
        join messages.chats c on c.chat_id = n.chat_id
        left join messages.chat_members v on v.chat_id = c.chat_id and v.user_id = $1
        left join messages.members m on m.audience_id = c.audience_id and m.user_id = $1
        left join lateral (
            select a.kept_position, a.kept_sequence, a.first_position, a.first_sequence
            from messages.access a
            where a.chat_id = n.chat_id and a.user_id = $1
            limit 1
        ) a on true
        "#,
        user_id.uuid(),
        &uuids(chats),
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.chat_id, row.standing())).collect())
}

/// How the user stands to one chat, and which of the messages with these sequences the user has hidden.
pub(super) async fn standing(
    pool: &Pool,
    user_id: UserId,
    chat_id: ChatId,
    sequences: &[i64],
) -> Result<(Standing, Vec<i64>), Error> {
    let standing = standings(pool, user_id, &[chat_id])
        .await?
        .pop()
        .map_or(Standing::Never, |(_, standing)| standing);
    let Standing::Member(view) = standing else {
        return Ok((standing, Vec::new()));
    };
    if !view.has_hidden || sequences.is_empty() {
        return Ok((standing, Vec::new()));
    }
    let hidden = sqlx::query_scalar!(
        "select sequence from messages.hidden_messages where chat_id = $1 and user_id = $2 and sequence = any ($3)",
        chat_id.uuid(),
        user_id.uuid(),
        sequences,
    )
    .fetch_all(pool)
    .await?;
    Ok((standing, hidden))
}

impl StandingRow {
    fn standing(&self) -> Standing {
        match self.standing {
            1 => self.view().map_or(Standing::Never, Standing::Member),
            2 => Standing::Ended {
                last_visible_position: self.left_position.unwrap_or(self.head),
            },
            3 => Standing::Ending { head: self.head },
            _ => Standing::Never,
        }
    }

    fn view(&self) -> Option<View> {
        Some(View {
            kept_position: self.kept_position?,
            kept_sequence: self.kept_sequence?,
            first_position: self.first_position?,
            first_sequence: self.first_sequence?,
            joined_position: self.joined_position,
            has_hidden: self.has_hidden,
        })
    }
}
