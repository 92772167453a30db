//! Names that users change, and those that are held back.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_ids::UserId;
use time::OffsetDateTime;

use crate::{error::Error, username::Username};

/// Gives a user another name.
///
/// # Errors
///
/// `USERNAME_TAKEN` where another user has it.
pub async fn change(tx: &mut PgConnection, user_id: UserId, username: &Username) -> Result<(), Error> {
    let update = sqlx::query!(
        "update users.users
         set username = $2, revision = revision + 1
         where user_id = $1",
        user_id.uuid(),
        username.as_str(),
    );
    update.execute(tx).await?;
    Ok(())
}

/// Whether the name is held back from the user. To be asked after the name was taken too: who waited for the unique index sees only
/// then what the one who had the name has stored.
pub async fn is_held_from<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    username: &Username,
    user_id: UserId,
    by_owner: bool,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let held = sqlx::query_scalar!(
        r#"select exists (
               select
               from users.held_usernames h
               where h.username = $1
                 and h.free_time > $4
                 and not (h.user_id = $2 and (h.by_owner or not $3))
           ) as "held!""#,
        username.as_str(),
        user_id.uuid(),
        by_owner,
        now,
    );
    Ok(held.fetch_one(executor).await?)
}

/// How many names are held back for the user who gave them up themselves, besides this one.
pub async fn count_held(
    tx: &mut PgConnection,
    user_id: UserId,
    besides: &Username,
    now: OffsetDateTime,
) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!"
           from users.held_usernames
           where user_id = $1
             and by_owner
             and free_time > $3
             and username <> $2"#,
        user_id.uuid(),
        besides.as_str(),
        now,
    );
    Ok(count.fetch_one(tx).await?)
}

/// Holds a name back that the user has given up.
pub async fn hold(
    tx: &mut PgConnection,
    username: &str,
    user_id: UserId,
    by_owner: bool,
    free_time: OffsetDateTime,
) -> Result<(), Error> {
    let insert = sqlx::query!(
        "insert into users.held_usernames (username, user_id, by_owner, free_time)
         values ($1, $2, $3, $4)
         on conflict (username) do update
         set user_id = excluded.user_id, by_owner = excluded.by_owner, free_time = excluded.free_time",
        username,
        user_id.uuid(),
        by_owner,
        free_time,
    );
    insert.execute(tx).await?;
    Ok(())
}

/// Ends the holding back of a name that was taken back.
pub async fn release(tx: &mut PgConnection, username: &Username) -> Result<(), Error> {
    let delete = sqlx::query!(
        "delete from users.held_usernames
         where username = $1",
        username.as_str(),
    );
    delete.execute(tx).await?;
    Ok(())
}

/// Forgets names that are free again.
pub async fn prune<'e>(executor: impl Executor<'e, Database = Postgres>, now: OffsetDateTime) -> Result<u64, Error> {
    let delete = sqlx::query!(
        "delete from users.held_usernames
         where username in (
             select username
             from users.held_usernames
             where free_time <= $1
             order by free_time
             limit 1000
             for update skip locked
         )",
        now,
    );
    Ok(delete.execute(executor).await?.rows_affected())
}
