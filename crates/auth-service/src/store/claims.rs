use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use time::OffsetDateTime;

use super::accounts::Due;

/// A registration with an address that another account holds.
pub(crate) struct NewClaim<'a> {
    pub user_id: UserId,
    pub email: &'a str,
    pub email_key: &'a str,
    pub display_name: &'a str,
    pub bio: &'a str,
}

pub(crate) async fn insert(tx: &mut PgConnection, claim: &NewClaim<'_>, now: OffsetDateTime) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.claims (user_id, email, email_key, display_name, bio, create_time)
         values ($1, $2, $3, $4, $5, $6)",
        claim.user_id.uuid(),
        claim.email,
        claim.email_key,
        claim.display_name,
        claim.bio,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// An account that becomes its applicant's once the address is proven.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub user_id: UserId,
    pub username: String,
    /// As this applicant gave it.
    pub email: String,
    pub password_version: i64,
}

/// The accounts that a proof of the address can be for, the newest first: those that were registered with it, and none
/// but its holder once that account is active.
pub(crate) async fn pending<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    email_key: &str,
) -> Result<Vec<Pending>, Error> {
    let pending = sqlx::query_as!(
        Pending,
        r#"select a.user_id, a.username, coalesce(a.email, c.email) as "email!", a.password_version
         from auth.accounts as a
         left join auth.claims as c on c.user_id = a.user_id and not c.proven
         where not a.email_verified
             and (a.email_key = $1
                 or (c.email_key = $1
                     and not exists (select from auth.accounts where email_key = $1 and state = 'active')))
         order by a.create_time desc, a.user_id desc"#,
        email_key,
    );
    Ok(pending.fetch_all(executor).await?)
}

/// Lets one transaction at a time decide whose the address is.
pub(crate) async fn lock_address(tx: &mut PgConnection, email_key: &str) -> Result<(), Error> {
    sqlx::query!(
        r#"select pg_advisory_xact_lock(hashtextextended('auth.claims ' || $1, 0)) as "nothing: ()""#,
        email_key,
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// Takes the address from the unproven account that holds it, which is returned, and ends the claims to it, for the sake of
/// another account that has proven it. What loses the address stays as an account without one, here and at the user service, which
/// nobody can tell from what it was. The address must be locked.
pub(crate) async fn displace(tx: &mut PgConnection, user_id: UserId, email_key: &str) -> Result<Option<UserId>, Error> {
    sqlx::query!(
        "delete from auth.claims where email_key = $1 and user_id <> $2 and not proven",
        email_key,
        user_id.uuid(),
    )
    .execute(&mut *tx)
    .await?;
    let displaced = sqlx::query_scalar!(
        "update auth.accounts
         set email = null, email_key = null
         where email_key = $1 and user_id <> $2 and state = 'unverified'
         returning user_id",
        email_key,
        user_id.uuid(),
    );
    Ok(displaced.fetch_optional(&mut *tx).await?)
}

/// Moves the address to the account that claims it, from the unproven one that holds it. The address must be locked.
pub(crate) async fn prove(tx: &mut PgConnection, user_id: UserId, email_key: &str) -> Result<(), Error> {
    let displaced = displace(&mut *tx, user_id, email_key).await?;
    sqlx::query!(
        "with claim as (
             update auth.claims
             set proven = true, displaced_user_id = $2
             where user_id = $1
             returning user_id, email, email_key
         )
         update auth.accounts as a
         set email = claim.email, email_key = claim.email_key
         from claim
         where a.user_id = claim.user_id",
        user_id.uuid(),
        displaced.map(|id| id.uuid()),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A claim that was proven and of which the user service is still to be told.
#[derive(Debug)]
pub(crate) struct Proven {
    pub username: String,
    pub email: String,
    pub display_name: String,
    pub bio: String,
    pub displaced_user_id: Option<UserId>,
}

pub(crate) async fn proven<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    due: Due,
) -> Result<Option<Proven>, Error> {
    let proven = sqlx::query_as!(
        Proven,
        "select a.username, c.email, c.display_name, c.bio, c.displaced_user_id
         from auth.claims as c
         join auth.accounts as a on a.user_id = c.user_id
         where c.user_id = $1 and c.proven",
        due.user_id.uuid(),
    );
    Ok(proven.fetch_optional(executor).await?)
}

/// The user service has given the user the address.
pub(crate) async fn settle<'e>(executor: impl Executor<'e, Database = Postgres>, user_id: UserId) -> Result<(), Error> {
    sqlx::query!("delete from auth.claims where user_id = $1 and proven", user_id.uuid())
        .execute(executor)
        .await?;
    Ok(())
}
