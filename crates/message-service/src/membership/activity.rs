use tidings_db::{Error, Pool};
use tidings_ids::{ChatId, UserId};

use crate::{
    message::Message,
    read::{self, Place},
};

/// What is known of a chat, as one user sees it.
#[derive(Debug)]
pub(crate) struct ChatActivity {
    pub(crate) chat_id: ChatId,
    pub(crate) activity: i64,
    pub(crate) last_sequence: i64,
    pub(crate) last_position: i64,
    pub(crate) last_message: Option<Message>,
    pub(crate) unread_count: i32,
    /// Whether there may be more.
    pub(crate) unread_capped: bool,
}

/// A place in the order of a user's chats.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    pub(crate) activity: i64,
    pub(crate) chat_id: ChatId,
}

/// A page of the user's chats, the latest active first, and whether another follows.
pub(crate) async fn list_chat_activity(
    pool: &Pool,
    user_id: UserId,
    size: u32,
    after: Option<Cursor>,
) -> Result<(Vec<ChatActivity>, bool), Error> {
    let after = after.unwrap_or(Cursor {
        activity: i64::MAX,
        chat_id: ChatId::from_uuid(uuid::Uuid::max()),
    });
    let mut rows = sqlx::query!(
        r#"
        select
            p.chat_id as "chat_id!: ChatId", p.activity as "activity!", p.last_sequence as "last_sequence!",
            p.last_position as "last_position!",
            u.unread_count as "unread_count!", u.is_capped as "unread_capped!",
            (
                select m.sequence
                from messages.messages m
                where m.chat_id = p.chat_id
                  and m.sequence >= p.first_sequence
                  and not exists (
                      select
                      from messages.hidden_messages h
                      where h.chat_id = m.chat_id and h.user_id = $1 and h.sequence = m.sequence
                  )
                order by m.sequence desc
                limit 1
            ) as seen_sequence
        from (
            select a.chat_id, a.activity, a.last_sequence, a.last_position, a.read_sequence, a.first_sequence
            from messages.access a
            where a.user_id = $1 and (a.activity, a.chat_id) < ($2, $3)
            order by a.activity desc, a.chat_id desc
            limit $4
        ) p
        cross join lateral messages.unread(
            p.chat_id, $1, greatest(p.read_sequence, p.first_sequence - 1), p.last_sequence) u
        order by p.activity desc, p.chat_id desc
        "#,
        user_id.uuid(),
        after.activity,
        after.chat_id.uuid(),
        i64::from(size) + 1,
    )
    .fetch_all(pool)
    .await?;
    let size = usize::try_from(size).expect("a page size fits");
    let more = rows.len() > size;
    rows.truncate(size);

    let places: Vec<Place> = rows
        .iter()
        .filter_map(|row| {
            Some(Place {
                chat_id: row.chat_id,
                sequence: row.seen_sequence?,
            })
        })
        .collect();
    let mut messages = read::messages_at(pool, user_id, &places).await?;
    let activities = rows.into_iter().map(|row| {
        let found = messages.iter().position(|message| message.row.chat_id == row.chat_id);
        ChatActivity {
            chat_id: row.chat_id,
            activity: row.activity,
            last_sequence: row.last_sequence,
            last_position: row.last_position,
            last_message: found.map(|index| messages.swap_remove(index)),
            unread_count: row.unread_count,
            unread_capped: row.unread_capped,
        }
    });
    Ok((activities.collect(), more))
}
