//! The rows that hold each user's numbers and quotas.

use sqlx::PgConnection;
use tidings_db::Error;
use tidings_ids::UserId;

/// Locks the user's row, which is made where there is none, until the transaction ends.
pub(crate) async fn lock(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "insert into chats.creators as c (user_id, last_session_number)
         values ($1, 0)
         on conflict on constraint creators_pkey do update
         set last_session_number = c.last_session_number",
        user_id.uuid(),
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

/// How many groups the user owns.
pub(crate) async fn groups_owned(tx: &mut PgConnection, user_id: UserId) -> Result<i64, Error> {
    owned(tx, user_id, true).await
}

/// How many conversations and sessions the user owns.
pub(crate) async fn chats_owned(tx: &mut PgConnection, user_id: UserId) -> Result<i64, Error> {
    owned(tx, user_id, false).await
}

async fn owned(tx: &mut PgConnection, user_id: UserId, in_group: bool) -> Result<i64, Error> {
    let row = sqlx::query!(
        r#"select count(*) as "count!"
         from chats.members
         where user_id = $1 and in_group = $2 and role = 3"#,
        user_id.uuid(),
        in_group,
    )
    .fetch_one(tx)
    .await?;
    Ok(row.count)
}
