//! Users who are deleted for good and may still be in groups and conversations.

use sqlx::{PgConnection, PgExecutor};
use tidings_db::Error;
use tidings_ids::{AudienceId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::membership::Member;

/// Notes users who are to leave everything, as far as they are in anything.
pub(crate) async fn insert(
    executor: impl PgExecutor<'_>,
    user_ids: &[UserId],
    now: OffsetDateTime,
) -> Result<(), Error> {
    let user_ids: Vec<Uuid> = user_ids.iter().map(|user_id| user_id.uuid()).collect();
    sqlx::query!(
        "insert into chats.departures (user_id, create_time)
         select u.user_id, $2
         from unnest($1::uuid[]) as u (user_id)
         where exists (select from chats.members m where m.user_id = u.user_id)
         on conflict on constraint departures_pkey do nothing",
        &user_ids,
        now,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Users who are to leave, in the order of ids from above `after`.
pub(crate) async fn page(
    executor: impl PgExecutor<'_>,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<UserId>, Error> {
    let rows = sqlx::query!(
        "select user_id
         from chats.departures
         where user_id > $1
         order by user_id
         limit $2",
        after.map_or(Uuid::nil(), UserId::uuid),
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row.user_id).collect())
}

/// The next group or conversation that the user is in, and whether it is a group.
pub(crate) async fn next_circle(
    executor: impl PgExecutor<'_>,
    user_id: UserId,
) -> Result<Option<(AudienceId, bool)>, Error> {
    let row = sqlx::query!(
        "select m.audience_id, m.in_group
         from chats.members m
         where m.user_id = $1
           and (m.in_group or exists (
               select from chats.chats c
               where c.chat_id = m.audience_id and c.kind = 3
           ))
         order by m.in_group, m.audience_id
         limit 1",
        user_id.uuid(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| (row.audience_id, row.in_group)))
}

/// Forgets a departure that is done.
pub(crate) async fn delete(executor: impl PgExecutor<'_>, user_id: UserId) -> Result<(), Error> {
    sqlx::query!("delete from chats.departures where user_id = $1", user_id.uuid())
        .execute(executor)
        .await?;
    Ok(())
}

/// Who comes after an owner that goes: the admin who has been there longest, else the member.
pub(crate) async fn successor(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    user_id: UserId,
) -> Result<Option<Member>, Error> {
    let member = sqlx::query_as!(
        Member,
        "select user_id, role, mute_end_time, create_time
         from chats.members
         where audience_id = $1 and user_id <> $2
           and not exists (select from chats.departures d where d.user_id = members.user_id)
         order by role desc, create_time, user_id
         limit 1",
        audience_id.uuid(),
        user_id.uuid(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(member)
}

/// Makes a member an owner.
pub(crate) async fn make_owner(tx: &mut PgConnection, audience_id: AudienceId, user_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "update chats.members
         set role = 3
         where audience_id = $1 and user_id = $2",
        audience_id.uuid(),
        user_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
}
