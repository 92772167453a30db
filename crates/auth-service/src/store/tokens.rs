use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use time::OffsetDateTime;

use crate::refresh_tree::TokenHash;

/// What a mailed token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    ResetPassword,
    VerifyEmail,
    /// An address that an account is to get (`store::email_changes`).
    ChangeEmail,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::ResetPassword => "reset_password",
            Self::VerifyEmail => "verify_email",
            Self::ChangeEmail => "change_email",
        }
    }
}

/// A token that is about to be mailed.
pub(crate) struct NewToken<'a> {
    pub hash: TokenHash,
    pub user_id: UserId,
    pub purpose: Purpose,
    pub email_key: &'a str,
    pub password_version: i64,
    pub expire_time: OffsetDateTime,
}

pub(crate) async fn insert<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    token: &NewToken<'_>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.mailed_tokens
             (token_hash, user_id, purpose, email_key, password_version, create_time, expire_time)
         values ($1, $2, $3, $4, $5, $6, $7)",
        token.hash.as_slice(),
        token.user_id.uuid(),
        token.purpose.name(),
        token.email_key,
        token.password_version,
        now,
        token.expire_time,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Whom a token proves the address of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub user_id: UserId,
    pub email_key: String,
}

/// Whose token it is, if it works now: known, for this purpose, in time, and neither the address nor the password that
/// it is bound to has changed. The address is the account's, or the one that it claims while no active account has it or is
/// about to get it.
pub(crate) async fn owner<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    hash: TokenHash,
    purpose: Purpose,
    now: OffsetDateTime,
) -> Result<Option<Owner>, Error> {
    let owner = sqlx::query_as!(
        Owner,
        "select t.user_id, t.email_key
         from auth.mailed_tokens as t
         join auth.accounts as a on a.user_id = t.user_id
         where t.token_hash = $1
             and t.purpose = $2
             and t.expire_time > $3
             and (t.email_key = a.email_key
                 or (t.purpose = 'verify_email'
                     and exists (select from auth.claims as c
                                 where c.user_id = t.user_id and c.email_key = t.email_key and not c.proven)
                     and not exists (select from auth.accounts as h
                                     where h.email_key = t.email_key and h.state = 'active')
                     and not exists (select from auth.email_changes as e
                                     where e.email_key = t.email_key and e.state in ('proven', 'recalled'))))
             and (t.purpose <> 'reset_password' or t.password_version = a.password_version)",
        hash.as_slice(),
        purpose.name(),
        now,
    );
    Ok(owner.fetch_optional(executor).await?)
}

/// Uses an account's tokens for this purpose up, all of them. The account must be locked.
pub(crate) async fn spend(tx: &mut PgConnection, user_id: UserId, purpose: Purpose) -> Result<(), Error> {
    sqlx::query!(
        "delete from auth.mailed_tokens where user_id = $1 and purpose = $2",
        user_id.uuid(),
        purpose.name(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets tokens that have expired.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.mailed_tokens
         where token_hash = any (array(
             select token_hash
             from auth.mailed_tokens
             where expire_time < $1
             order by expire_time
             limit 1000
             for update skip locked
         ))",
        now,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
