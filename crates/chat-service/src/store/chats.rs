//! Chats of all kinds.

use sqlx::{PgConnection, PgExecutor, types::Json};
use tidings_db::Error;
use tidings_ids::{AudienceId, ChatId, GroupId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Metadata,
    chat::{Chat, History, Kind, KindCode},
    direct::Pair,
    keeper::Seen,
    role::Role,
    session::Session,
};

struct Row {
    chat_id: ChatId,
    audience_id: AudienceId,
    kind: KindCode,
    title: String,
    metadata: Json<Metadata>,
    history: History,
    archived: bool,
    slow_mode_interval_secs: i32,
    revision: i64,
    create_time: OffsetDateTime,
    user_low: Option<UserId>,
    user_high: Option<UserId>,
    session_user_id: Option<UserId>,
    session_number: Option<i64>,
    assistant_user_id: Option<UserId>,
    close_time: Option<OffsetDateTime>,
    caller_role: Option<Role>,
    pending: Option<i64>,
}

impl Row {
    /// The chat; an error where the row of its kind is missing, which is written in the same transaction.
    fn into_seen(self) -> Result<Seen<Chat>, Error> {
        let kind = self.kind().ok_or(Error::Bug(sqlx::Error::RowNotFound))?;
        Ok(Seen {
            audience_id: self.audience_id,
            role: self.caller_role,
            pending: self.pending,
            thing: Chat {
                chat_id: self.chat_id,
                kind,
                title: self.title,
                metadata: self.metadata.0,
                history: self.history,
                archived: self.archived,
                slow_mode_interval_secs: self.slow_mode_interval_secs.unsigned_abs(),
                revision: self.revision,
                create_time: self.create_time,
            },
        })
    }

    fn kind(&self) -> Option<Kind> {
        Some(match self.kind {
            KindCode::Direct => Kind::Direct(self.user_low?, self.user_high?),
            KindCode::Group => Kind::Group(GroupId::from_uuid(self.audience_id.uuid())),
            KindCode::Conversation => Kind::Conversation,
            KindCode::Session => Kind::Session(Session {
                user_id: self.session_user_id?,
                number: self.session_number?,
                assistant_user_id: self.assistant_user_id?,
                close_time: self.close_time,
            }),
        })
    }
}

/// The chat, as a member of its audience sees it.
pub(crate) async fn find(
    executor: impl PgExecutor<'_>,
    chat_id: ChatId,
    caller: UserId,
) -> Result<Option<Seen<Chat>>, Error> {
    let list = find_all(executor, &[chat_id], caller).await?;
    Ok(list.into_iter().find(|seen| seen.role.is_some()))
}

/// The chats that there are of these, in no order; `role` says of which the caller is a member.
pub(crate) async fn find_all(
    executor: impl PgExecutor<'_>,
    chat_ids: &[ChatId],
    caller: UserId,
) -> Result<Vec<Seen<Chat>>, Error> {
    let chat_ids: Vec<Uuid> = chat_ids.iter().map(|chat_id| chat_id.uuid()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select c.chat_id as "chat_id!", c.audience_id as "audience_id!", c.kind as "kind!", c.title as "title!",
             c.metadata as "metadata!", c.history as "history!", c.archived as "archived!",
             c.slow_mode_interval_secs as "slow_mode_interval_secs!", c.revision as "revision!",
             c.create_time as "create_time!", d.user_low as "user_low?: UserId", d.user_high as "user_high?: UserId",
             s.user_id as "session_user_id?: UserId", s.session_number as "session_number?",
             s.assistant_user_id as "assistant_user_id?: UserId", s.close_time as "close_time?",
             m.role as "caller_role?: Role",
             (select max(o.number) from chats.outbox o where o.audience_id = c.audience_id) as pending
         from chats.chats c
         left join chats.members m on m.audience_id = c.audience_id and m.user_id = $2
         left join chats.direct_chats d on d.chat_id = c.chat_id
         left join chats.sessions s on s.chat_id = c.chat_id
         where c.chat_id = any ($1)"#,
        &chat_ids,
        caller.uuid(),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Row::into_seen).collect()
}

/// The user's own sessions in the order of their numbers, from above `after`.
pub(crate) async fn sessions(
    executor: impl PgExecutor<'_>,
    user_id: UserId,
    after: i64,
    limit: u32,
) -> Result<Vec<Seen<Chat>>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select c.chat_id, c.audience_id, c.kind, c.title, c.metadata, c.history, c.archived, c.slow_mode_interval_secs,
             c.revision, c.create_time, null::uuid as "user_low: UserId", null::uuid as "user_high: UserId",
             s.user_id as "session_user_id?: UserId", s.session_number as "session_number?",
             s.assistant_user_id as "assistant_user_id?: UserId", s.close_time as "close_time?",
             m.role as "caller_role?: Role",
             (select max(o.number) from chats.outbox o where o.audience_id = c.audience_id) as pending
         from chats.sessions s
         join chats.chats c on c.chat_id = s.chat_id
         join chats.members m on m.audience_id = c.audience_id and m.user_id = s.user_id
         where s.user_id = $1 and s.session_number > $2
         order by s.session_number
         limit $3"#,
        user_id.uuid(),
        after,
        i64::from(limit),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Row::into_seen).collect()
}

/// The audience of a chat, which never changes.
pub(crate) async fn audience_of(executor: impl PgExecutor<'_>, chat_id: ChatId) -> Result<Option<AudienceId>, Error> {
    let row = sqlx::query!("select audience_id from chats.chats where chat_id = $1", chat_id.uuid())
        .fetch_optional(executor)
        .await?;
    Ok(row.map(|row| row.audience_id))
}

/// The chat of a pair, where they have one.
pub(crate) async fn direct(executor: impl PgExecutor<'_>, pair: Pair) -> Result<Option<ChatId>, Error> {
    let row = sqlx::query!(
        "select chat_id
         from chats.direct_chats
         where user_low = $1 and user_high = $2",
        pair.low.uuid(),
        pair.high.uuid(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| row.chat_id))
}

/// Takes a pair's key for a chat that is written next. False where the pair has a chat, which is committed then.
pub(crate) async fn claim_pair(tx: &mut PgConnection, pair: Pair, chat_id: ChatId) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into chats.direct_chats (user_low, user_high, chat_id)
         values ($1, $2, $3)
         on conflict on constraint direct_chats_pkey do nothing",
        pair.low.uuid(),
        pair.high.uuid(),
        chat_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes a new chat, whose audience is there, and its session if it is one. A direct chat's pair is written before it.
pub(crate) async fn insert(tx: &mut PgConnection, chat: &Chat) -> Result<(), Error> {
    sqlx::query!(
        "insert into chats.chats
             (chat_id, audience_id, kind, title, metadata, history, archived, slow_mode_interval_secs, revision, create_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        chat.chat_id.uuid(),
        chat.audience_id().uuid(),
        chat.kind.code() as i16,
        chat.title,
        Json(&chat.metadata) as _,
        chat.history as i16,
        chat.archived,
        i32::try_from(chat.slow_mode_interval_secs).unwrap_or(i32::MAX),
        chat.revision,
        chat.create_time,
    )
    .execute(&mut *tx)
    .await?;
    if let Kind::Session(session) = &chat.kind {
        sqlx::query!(
            "insert into chats.sessions (user_id, session_number, chat_id, assistant_user_id)
             values ($1, $2, $3, $4)",
            session.user_id.uuid(),
            session.number,
            chat.chat_id.uuid(),
            session.assistant_user_id.uuid(),
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Writes what can change of a chat.
pub(crate) async fn update(tx: &mut PgConnection, chat: &Chat) -> Result<(), Error> {
    sqlx::query!(
        "update chats.chats
         set title = $2, metadata = $3, archived = $4, revision = $5
         where chat_id = $1",
        chat.chat_id.uuid(),
        chat.title,
        Json(&chat.metadata) as _,
        chat.archived,
        chat.revision,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes when a session was closed.
pub(crate) async fn close_session(tx: &mut PgConnection, chat_id: ChatId, now: OffsetDateTime) -> Result<(), Error> {
    sqlx::query!(
        "update chats.sessions set close_time = $2 where chat_id = $1",
        chat_id.uuid(),
        now
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes one chat of a group.
pub(crate) async fn delete(tx: &mut PgConnection, chat_id: ChatId) -> Result<(), Error> {
    sqlx::query!("delete from chats.chats where chat_id = $1", chat_id.uuid())
        .execute(tx)
        .await?;
    Ok(())
}

/// Deletes all chats of an audience: at most 500.
pub(crate) async fn delete_all(tx: &mut PgConnection, audience_id: AudienceId) -> Result<(), Error> {
    sqlx::query!(
        "delete from chats.sessions s
         using chats.chats c
         where c.audience_id = $1 and s.chat_id = c.chat_id",
        audience_id.uuid(),
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("delete from chats.chats where audience_id = $1", audience_id.uuid())
        .execute(&mut *tx)
        .await?;
    Ok(())
}
