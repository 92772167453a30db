//! The rows that hold each user's numbers and quotas.

use sqlx::PgConnection;
use tidings_db::Error;
use tidings_ids::UserId;
use uuid::Uuid;

/// Locks the rows of these users, which are made where there are none, until the transaction ends: in the order of ids, so that no two
/// transactions wait for each other. A transaction does this once.
pub(crate) async fn lock(tx: &mut PgConnection, user_ids: &[UserId]) -> Result<(), Error> {
    sqlx::query!(
        "insert into chats.creators as c (user_id, last_session_number)
         select distinct asked.user_id, 0
         from unnest($1::uuid[]) as asked (user_id)
         order by asked.user_id
         on conflict on constraint creators_pkey do update
         set last_session_number = c.last_session_number",
        &uuids(user_ids),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes the number of the user's next session. A rollback gives it back.
pub(crate) async fn next_session_number(tx: &mut PgConnection, user_id: UserId) -> Result<i64, Error> {
    let row = sqlx::query!(
        "update chats.creators
         set last_session_number = last_session_number + 1
         where user_id = $1
         returning last_session_number",
        user_id.uuid(),
    )
    .fetch_one(tx)
    .await?;
    Ok(row.last_session_number)
}

/// How many groups the user has made and is still in.
pub(crate) async fn groups_made(tx: &mut PgConnection, user_id: UserId) -> Result<i64, Error> {
    let row = sqlx::query!(
        r#"select count(*) as "count!"
         from chats.members
         where user_id = $1 and in_group and not added"#,
        user_id.uuid(),
    )
    .fetch_one(tx)
    .await?;
    Ok(row.count)
}

/// How many chats the user has made and is still in: conversations, sessions, and what the groups have that the user has made. Who
/// makes something owns it, unlike those of a direct chat and the assistant of a session, whom nobody has added either.
pub(crate) async fn chats_made(tx: &mut PgConnection, user_id: UserId) -> Result<i64, Error> {
    let row = sqlx::query!(
        r#"select (
             select count(*)
             from chats.members m
             where m.user_id = $1 and not m.in_group and not m.added and m.role = 3
         ) + (
             select coalesce(sum(a.chat_count), 0)
             from chats.members m
             join chats.audiences a on a.audience_id = m.audience_id
             where m.user_id = $1 and m.in_group and not m.added
         ) as "count!""#,
        user_id.uuid(),
    )
    .fetch_one(tx)
    .await?;
    Ok(row.count)
}

/// How many chats others have put a user into, of these users the one who is in the most: conversations, and what the groups have,
/// but one for each at least.
pub(crate) async fn chats_joined(tx: &mut PgConnection, user_ids: &[UserId]) -> Result<i64, Error> {
    let row = sqlx::query!(
        r#"select coalesce(max(joined.count), 0) as "count!"
         from unnest($1::uuid[]) as asked (user_id)
         cross join lateral (
             select (
                 select count(*)
                 from chats.members m
                 where m.user_id = asked.user_id and not m.in_group and m.added
             ) + (
                 select coalesce(sum(greatest(a.chat_count, 1)), 0)
                 from chats.members m
                 join chats.audiences a on a.audience_id = m.audience_id
                 where m.user_id = asked.user_id and m.in_group and m.added
             ) as count
         ) as joined"#,
        &uuids(user_ids),
    )
    .fetch_one(tx)
    .await?;
    Ok(row.count)
}

fn uuids(user_ids: &[UserId]) -> Vec<Uuid> {
    user_ids.iter().map(|user_id| user_id.uuid()).collect()
}
