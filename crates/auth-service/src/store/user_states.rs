use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use uuid::Uuid;

/// The feed of the user service.
const FEED: &str = "user_states";

/// How far the feed was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub position: i64,
    /// While everything is compared anew: up to which account it was.
    pub resync_after: Option<Uuid>,
}

/// `None` before the feed was first followed.
pub(crate) async fn place<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<Option<Place>, Error> {
    let place = sqlx::query_as!(
        Place,
        "select position, resync_after from auth.followed_feeds where feed = $1",
        FEED,
    );
    Ok(place.fetch_optional(executor).await?)
}

/// The same, locked for the rest of the transaction: nobody else applies anything meanwhile. The first of all locks.
pub(crate) async fn lock_place(tx: &mut PgConnection) -> Result<Option<Place>, Error> {
    let place = sqlx::query_as!(
        Place,
        "select position, resync_after from auth.followed_feeds where feed = $1 for update",
        FEED,
    );
    Ok(place.fetch_optional(tx).await?)
}

pub(crate) async fn set_place(tx: &mut PgConnection, place: Place) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.followed_feeds (feed, position, resync_after)
         values ($1, $2, $3)
         on conflict (feed) do update
         set position = excluded.position, resync_after = excluded.resync_after",
        FEED,
        place.position,
        place.resync_after,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets numbers that the feed does not have: it was restored from a backup, and gives them out again.
pub(crate) async fn forget_numbers_above(tx: &mut PgConnection, head: i64) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts set user_state_number = 0 where user_state_number > $1",
        head,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The accounts after this one in order of id, which is how they are compared anew.
pub(crate) async fn accounts_after<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    after: Uuid,
    limit: i64,
) -> Result<Vec<UserId>, Error> {
    let ids = sqlx::query_scalar!(
        "select user_id from auth.accounts where user_id > $1 order by user_id limit $2",
        after,
        limit,
    );
    Ok(ids.fetch_all(executor).await?)
}

/// How a user stands, as far as it concerns credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserState {
    pub number: i64,
    pub user_id: UserId,
    /// `None` for a deleted user, whose name stays as it is until the deletion is final.
    pub username: Option<String>,
    /// Login sessions that began under a lower token epoch are over.
    pub login_epoch: i64,
    pub deleted: bool,
    pub deletion_final: bool,
}

/// Which of these states say of an account what is not so here yet, by their place in the list. Of most there is nothing to do, and
/// nothing is locked for them.
pub(crate) async fn concerned(tx: &mut PgConnection, states: &[UserState]) -> Result<Vec<UserId>, Error> {
    let user_ids: Vec<Uuid> = states.iter().map(|state| state.user_id.uuid()).collect();
    let numbers: Vec<i64> = states.iter().map(|state| state.number).collect();
    let usernames: Vec<String> = states
        .iter()
        .map(|state| state.username.clone().unwrap_or_default())
        .collect();
    let epochs: Vec<i64> = states.iter().map(|state| state.login_epoch).collect();
    let finals: Vec<bool> = states.iter().map(|state| state.deletion_final).collect();
    let ids = sqlx::query_scalar!(
        "select a.user_id
         from unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::boolean[])
             as s (user_id, number, username, login_epoch, deletion_final)
         join auth.accounts as a on a.user_id = s.user_id
         where s.number > a.user_state_number
             and (s.deletion_final
                 or (s.username <> '' and s.username <> a.username)
                 or exists (select from auth.login_sessions as l
                            where l.user_id = a.user_id and l.end_time is null and l.token_epoch < s.login_epoch))
         order by a.user_id",
        &user_ids,
        &numbers,
        &usernames,
        &epochs,
        &finals,
    );
    Ok(ids.fetch_all(tx).await?)
}

/// Notes which states were applied, so that no older ones are.
pub(crate) async fn set_numbers(tx: &mut PgConnection, states: &[UserState]) -> Result<(), Error> {
    let user_ids: Vec<Uuid> = states.iter().map(|state| state.user_id.uuid()).collect();
    let numbers: Vec<i64> = states.iter().map(|state| state.number).collect();
    sqlx::query!(
        "update auth.accounts as a
         set user_state_number = s.number
         from unnest($1::uuid[], $2::bigint[]) as s (user_id, number)
         where a.user_id = s.user_id and a.user_state_number < s.number",
        &user_ids,
        &numbers,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes these accounts' names from them. What stands there instead is no username, and holds an `@`, so nobody logs in by it.
pub(crate) async fn clear_names(tx: &mut PgConnection, user_ids: &[UserId]) -> Result<(), Error> {
    let user_ids: Vec<Uuid> = user_ids.iter().map(|id| id.uuid()).collect();
    sqlx::query!(
        "update auth.accounts set username = '@' || user_id where user_id = any ($1)",
        &user_ids,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes a name from whoever else has it here, since the user service has given it to this user. It knows another name of theirs by
/// now, of which an entry tells.
pub(crate) async fn take_stale_name(tx: &mut PgConnection, username: &str, user_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts as a
         set username = '@' || a.user_id
         where a.username = $1
             and a.user_id <> $2",
        username,
        user_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn set_name(tx: &mut PgConnection, user_id: UserId, username: &str) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts set username = $2 where user_id = $1",
        user_id.uuid(),
        username,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes an account with all that was proven or can be proven by it.
pub(crate) async fn remove_account(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    sqlx::query!("delete from auth.registrations where user_id = $1", user_id.uuid())
        .execute(&mut *tx)
        .await?;
    sqlx::query!("delete from auth.accounts where user_id = $1", user_id.uuid())
        .execute(tx)
        .await?;
    Ok(())
}
