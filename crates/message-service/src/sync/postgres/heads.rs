//! How far logs are.

use tidings_db::Error;
use tidings_ids::{ChatId, LogId, UserId};

use super::{Store, uuids};

/// A page of a user's chats with the heads of their logs.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) log_id: LogId,
    pub(crate) user_position: i64,
    /// By id.
    pub(crate) chats: Vec<ChatHead>,
    /// Whether another page follows.
    pub(crate) more: bool,
}

/// How far one chat is, for one member.
#[derive(Debug, Clone)]
pub(crate) struct ChatHead {
    pub(crate) chat_id: ChatId,
    pub(crate) last_position: i64,
    pub(crate) first_position: i64,
    pub(crate) last_sequence: i64,
    pub(crate) first_sequence: i64,
}

impl Store {
    /// The heads of these chats' logs, for the process to poll. No one's rights are asked: nothing of it leaves the process.
    pub(crate) async fn heads_of(&self, chats: &[ChatId]) -> Result<Vec<(ChatId, i64)>, Error> {
        let rows = sqlx::query!(
            r#"
            select c.chat_id as "chat_id!: ChatId", c.last_position as "last_position!"
            from unnest($1::uuid[]) n(chat_id)
            join messages.chats c on c.chat_id = n.chat_id
            "#,
            &uuids(chats),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.chat_id, row.last_position)).collect())
    }

    /// The heads of these users' logs.
    pub(crate) async fn user_heads(&self, users: &[UserId]) -> Result<Vec<(UserId, i64)>, Error> {
        let users: Vec<uuid::Uuid> = users.iter().map(|user| user.uuid()).collect();
        let rows = sqlx::query!(
            r#"
            select user_id as "user_id!: UserId", last_position as "last_position!"
            from messages.user_logs
            where user_id = any ($1)
            "#,
            &users,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.user_id, row.last_position)).collect())
    }

    /// A page of the user's chats, those with ids above `after`.
    pub(crate) async fn chat_heads(
        &self,
        user_id: UserId,
        after: Option<ChatId>,
        count_max: u32,
    ) -> Result<Heads, Error> {
        let log = sqlx::query!(
            r#"
            select h.log_id as "log_id!: LogId", coalesce(u.last_position, 0) as "user_position!"
            from messages.history h
            left join messages.user_logs u on u.user_id = $1
            "#,
            user_id.uuid(),
        )
        .fetch_one(&self.pool)
        .await?;
        let after = after.map_or(uuid::Uuid::nil(), |chat| chat.uuid());
        let mut chats = sqlx::query_as!(
            ChatHead,
            r#"
            select
                chat_id as "chat_id!: ChatId", last_position as "last_position!", first_position as "first_position!",
                last_sequence as "last_sequence!", first_sequence as "first_sequence!"
            from messages.access
            where user_id = $1 and chat_id > $2
            order by chat_id
            limit $3
            "#,
            user_id.uuid(),
            after,
            i64::from(count_max) + 1,
        )
        .fetch_all(&self.pool)
        .await?;
        let more = chats.len() > count_max as usize;
        chats.truncate(count_max as usize);
        Ok(Heads {
            log_id: log.log_id,
            user_position: log.user_position,
            chats,
            more,
        })
    }
}
