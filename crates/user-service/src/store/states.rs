//! The feed of user states.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::{Schema, counter};
use tidings_ids::UserId;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{error::Error, user::UserState};

pub(super) const FEED: &str = "user_states";

/// What makes a state different from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The status has changed, so the token epoch rises whatever else.
    Status,
    /// The same, and the account may not act any more: login sessions from before are over.
    Ended,
    /// The name has changed, which is in no token.
    Name,
    /// Roles may have changed: if so there is a new entry, and if permissions did the token epoch rises.
    Roles,
}

/// Works the states of these users out anew and adds an entry to the feed for each that has changed. Their rows must be locked. Returns
/// how many have changed.
///
/// It is to be the last thing in a transaction: from here on all others that change a state wait for its end.
pub async fn publish(
    tx: &mut PgConnection,
    user_ids: &[UserId],
    cause: Cause,
    now: OffsetDateTime,
) -> Result<usize, Error> {
    let changed = recompute(tx, user_ids, cause, now).await?;
    if changed.is_empty() {
        return Ok(0);
    }
    let count = u32::try_from(changed.len()).expect("batches are small");
    let last = counter::next_numbers(tx, Schema::Users, FEED, count).await?;
    append(tx, &changed, last - i64::from(count)).await?;
    Ok(changed.len())
}

/// How many entries the feed's readers may still hold, at the most: they keep each for 25 minutes (`tidings_authn::Revocations`), have
/// it some seconds later than we, and forget once a minute.
pub async fn held<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<i64, Error> {
    let held = sqlx::query_scalar!(
        r#"select coalesce(
               (select last_number + 1 from users.feeds where feed = $1) - (
                   select number
                   from users.user_states
                   where store_time >= now() - interval '27 minutes'
                   order by store_time, number
                   limit 1
               ),
               0
           ) as "held!""#,
        FEED,
    );
    Ok(held.fetch_one(executor).await?)
}

async fn recompute(
    tx: &mut PgConnection,
    user_ids: &[UserId],
    cause: Cause,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, Error> {
    let user_ids: Vec<Uuid> = user_ids.iter().map(|id| id.uuid()).collect();
    let changed = sqlx::query_scalar!(
        r#"update users.users as u
           set permissions = h.permissions,
               roles = h.roles,
               token_epoch = u.token_epoch + case when $2 or h.permissions <> u.permissions then 1 else 0 end,
               login_epoch = case when $4 then u.token_epoch + 1 else u.login_epoch end,
               state_time = $3
           from (
               select s.user_id,
                      case when s.status = 'active' then array(
                          select distinct p
                          from users.role_assignments a
                          join users.roles r on r.role_id = a.role_id
                          cross join unnest(r.permissions) as p
                          where a.user_id = s.user_id and not r.deleting
                          order by p
                      ) else '{}'::integer[] end as permissions,
                      array(
                          select r.name
                          from users.role_assignments a
                          join users.roles r on r.role_id = a.role_id
                          where a.user_id = s.user_id and not r.deleting
                          order by r.name collate "C"
                      ) as roles
               from users.users s
               where s.user_id = any ($1)
           ) as h
           where u.user_id = h.user_id
             and ($2 or $5 or h.permissions <> u.permissions or h.roles <> u.roles)
           returning u.user_id as "user_id!: Uuid""#,
        &user_ids,
        matches!(cause, Cause::Status | Cause::Ended),
        now,
        cause == Cause::Ended,
        cause == Cause::Name,
    );
    Ok(changed.fetch_all(tx).await?)
}

async fn append(tx: &mut PgConnection, user_ids: &[Uuid], after_number: i64) -> Result<(), Error> {
    let insert = sqlx::query!(
        "with numbered as (
             select t.user_id, $2 + t.place as number
             from unnest($1::uuid[]) with ordinality as t (user_id, place)
         ), moved as (
             update users.users as u
             set state_number = n.number
             from numbered as n
             where u.user_id = n.user_id
             returning u.*
         )
         insert into users.user_states
             (number, user_id, token_epoch, status, username, permissions, roles, is_bot, login_epoch, deletion_final, change_time)
         select state_number, user_id, token_epoch, status, username, permissions, roles, is_bot, login_epoch, deletion_final,
                state_time
         from moved",
        user_ids,
        after_number,
    );
    insert.execute(tx).await?;
    Ok(())
}

/// A user's state as it is now.
pub async fn current<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<UserState>, Error> {
    let state = sqlx::query_as!(
        UserState,
        "select state_number as number, user_id, token_epoch, status, username, permissions, roles, is_bot, login_epoch,
                deletion_final, state_time as change_time
         from users.users
         where user_id = $1",
        user_id.uuid(),
    );
    Ok(state.fetch_optional(executor).await?)
}

/// The states of the users who are there, in no order; not of registrations that were given up.
pub async fn of_users<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_ids: &[UserId],
) -> Result<Vec<UserState>, Error> {
    let user_ids: Vec<Uuid> = user_ids.iter().map(|id| id.uuid()).collect();
    let states = sqlx::query_as!(
        UserState,
        "select state_number as number, user_id, token_epoch, status, username, permissions, roles, is_bot, login_epoch,
                deletion_final, state_time as change_time
         from users.users
         where user_id = any ($1)
           and status <> 'discarded'",
        &user_ids,
    );
    Ok(states.fetch_all(executor).await?)
}

/// The number of the feed's newest entry; 0 where it has none.
pub async fn head<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<i64, Error> {
    Ok(counter::last_number(executor, Schema::Users, FEED).await?)
}

/// The entries about users after a number and up to a head, in order.
pub async fn after<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    number: i64,
    head: i64,
    limit: i64,
) -> Result<Vec<UserState>, Error> {
    let states = sqlx::query_as!(
        UserState,
        "select number, user_id, token_epoch, status, username, permissions, roles, is_bot, login_epoch, deletion_final, change_time
         from users.user_states
         where number > $1
           and number <= $2
         order by number
         limit $3",
        number,
        head,
        limit,
    );
    Ok(states.fetch_all(executor).await?)
}

/// The first entry that is kept.
pub async fn first<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<Option<i64>, Error> {
    let first = sqlx::query_scalar!(
        "select least(
             (select min(number) from users.user_states),
             (select min(number) from users.block_changes)
         )",
    );
    Ok(first.fetch_one(executor).await?)
}

/// The first entry of the last 15 minutes, the time in which access tokens from before it expire by themselves. By the database's
/// clock, which is one for all nodes.
pub async fn first_recent<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<Option<i64>, Error> {
    let first = sqlx::query_scalar!(
        "select least(
             (select min(number) from users.user_states where store_time >= now() - interval '15 minutes'),
             (select min(number) from users.block_changes where store_time >= now() - interval '15 minutes')
         )",
    );
    Ok(first.fetch_one(executor).await?)
}
