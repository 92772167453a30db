use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::{EmailChangeId, UserId};
use time::{Duration, OffsetDateTime};

use crate::refresh_tree::TokenHash;

/// A change that nobody has proven for so long is none: longer than its mail is tried, and the token works after that.
const ASKED_FOR: Duration = Duration::hours(24);

/// How a change ended is kept for as long as the call that brought its proof can be repeated.
const KEPT_FOR: Duration = Duration::days(8);

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for a proof.
    Asked,
    /// The address is proven; the user service decides whether it is free.
    Proven,
    /// The address is the account's, in both services.
    Done,
    /// It came to nothing: another one took its place, the address was another's, or the account got a new password.
    Refused,
    /// It came to nothing so late that the user service is to be told the account's present address again.
    Recalled,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Proven => "proven",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Recalled => "recalled",
        }
    }
}

impl From<String> for State {
    /// A constraint holds the column to the five names.
    fn from(name: String) -> Self {
        match &*name {
            "asked" => Self::Asked,
            "proven" => Self::Proven,
            "done" => Self::Done,
            "recalled" => Self::Recalled,
            _ => Self::Refused,
        }
    }
}

/// A change that is asked for.
pub(crate) struct NewChange<'a> {
    pub change_id: EmailChangeId,
    pub user_id: UserId,
    pub email: &'a str,
    pub email_key: &'a str,
    pub old_email: Option<&'a str>,
}

/// Stores a change in place of an earlier one that waits for a proof. The account must be locked and have none that is
/// [unsettled].
pub(crate) async fn ask(tx: &mut PgConnection, change: &NewChange<'_>, now: OffsetDateTime) -> Result<(), Error> {
    withdraw(&mut *tx, change.user_id, now).await?;
    sqlx::query!(
        "insert into auth.email_changes
             (change_id, user_id, email, email_key, old_email, state, create_time, update_time)
         values ($1, $2, $3, $4, $5, 'asked', $6, $6)",
        change.change_id.uuid(),
        change.user_id.uuid(),
        change.email,
        change.email_key,
        change.old_email,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends the change of an account that waits for a proof. Its mail may be still on its way and has no token then: who receives it
/// decides when it arrives, and must not gain by that. The account must be locked.
pub(crate) async fn withdraw(tx: &mut PgConnection, user_id: UserId, now: OffsetDateTime) -> Result<(), Error> {
    // Not deleted: the notice to the present address goes out whatever happens next.
    sqlx::query!(
        "update auth.email_changes
         set state = 'refused', update_time = $2
         where user_id = $1 and state = 'asked'",
        user_id.uuid(),
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A change as its mails tell of it.
pub(crate) struct Mailed {
    pub user_id: UserId,
    pub username: String,
    pub email: String,
    pub old_email: Option<String>,
    pub password_version: i64,
    /// It waits for a proof.
    pub open: bool,
}

pub(crate) async fn mailed<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    change_id: EmailChangeId,
) -> Result<Option<Mailed>, Error> {
    let mailed = sqlx::query_as!(
        Mailed,
        r#"select e.user_id, a.username, e.email, e.old_email, a.password_version, e.state = 'asked' as "open!"
         from auth.email_changes as e
         join auth.accounts as a on a.user_id = e.user_id
         where e.change_id = $1"#,
        change_id.uuid(),
    );
    Ok(mailed.fetch_optional(executor).await?)
}

/// What a mailed token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub change_id: EmailChangeId,
    pub user_id: UserId,
    pub email_key: String,
}

/// Which change a token proves, if it works now: known, in time, the change still wanted, the password still the one that it
/// was asked for with, and the address neither an active account's nor about to be another's.
pub(crate) async fn owner<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    hash: TokenHash,
    now: OffsetDateTime,
) -> Result<Option<Owner>, Error> {
    let owner = sqlx::query_as!(
        Owner,
        "select e.change_id, e.user_id, e.email_key
         from auth.mailed_tokens as t
         join auth.accounts as a on a.user_id = t.user_id
         join auth.email_changes as e on e.user_id = t.user_id and e.email_key = t.email_key
         where t.token_hash = $1
             and t.purpose = 'change_email'
             and t.expire_time > $2
             and t.password_version = a.password_version
             and e.state = 'asked'
             and e.create_time > $3
             and not exists (select from auth.accounts as h where h.email_key = e.email_key and h.state = 'active')
             and not exists (select from auth.email_changes as o where o.email_key = e.email_key and o.state in ('proven', 'recalled'))",
        hash.as_slice(),
        now,
        now - ASKED_FOR,
    );
    Ok(owner.fetch_optional(executor).await?)
}

/// The address is proven. The address and the account must be locked; `displaced` is who had it unproven.
pub(crate) async fn prove(
    tx: &mut PgConnection,
    owner: &Owner,
    displaced: Option<UserId>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let revision = sqlx::query_scalar!(
        "update auth.accounts
         set email_revision = email_revision + 1
         where user_id = $1
         returning email_revision",
        owner.user_id.uuid(),
    );
    let revision = revision.fetch_one(&mut *tx).await?;
    sqlx::query!(
        "update auth.email_changes
         set state = 'proven', revision = $2, displaced_user_id = $3, update_time = $4
         where change_id = $1",
        owner.change_id.uuid(),
        revision,
        displaced.map(|id| id.uuid()),
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A change, once it is proven.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub user_id: UserId,
    pub email: String,
    pub state: State,
    /// The number of the address among the account's.
    pub revision: i64,
    pub displaced_user_id: Option<UserId>,
}

pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    change_id: EmailChangeId,
) -> Result<Option<Change>, Error> {
    let change = sqlx::query_as!(
        Change,
        r#"select user_id, email, state, coalesce(revision, 0) as "revision!", displaced_user_id
         from auth.email_changes
         where change_id = $1"#,
        change_id.uuid(),
    );
    Ok(change.fetch_optional(executor).await?)
}

/// The changes that the user service is to be told about, proven or recalled: all, or those of one account.
pub(crate) async fn unsettled<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: Option<UserId>,
) -> Result<Vec<EmailChangeId>, Error> {
    let unsettled = sqlx::query_scalar!(
        "select change_id
         from auth.email_changes
         where state in ('proven', 'recalled') and ($1::uuid is null or user_id = $1)
         order by change_id
         limit 100",
        user_id.map(|id| id.uuid()),
    );
    Ok(unsettled.fetch_all(executor).await?)
}

/// Notes that the user service is about to be told. False where there is nothing to tell any more.
pub(crate) async fn begin_telling<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    change_id: EmailChangeId,
) -> Result<bool, Error> {
    let begun = sqlx::query!(
        "update auth.email_changes
         set told = true
         where change_id = $1 and state = 'proven'",
        change_id.uuid(),
    );
    Ok(begun.execute(executor).await?.rows_affected() == 1)
}

/// Gives up what was proven for the account and is not done, if there is such a change: whether there was. Where the user service may
/// have been told, it is to be told otherwise; that takes an address which was proven before. The account must be locked.
pub(crate) async fn give_up(tx: &mut PgConnection, user_id: UserId, now: OffsetDateTime) -> Result<bool, Error> {
    let given_up = sqlx::query_scalar!(
        r#"update auth.email_changes as e
         set state = case when e.told then 'recalled' else 'refused' end, revision = a.email_revision + 1, update_time = $2
         from auth.accounts as a
         where a.user_id = e.user_id
             and e.user_id = $1
             and e.state = 'proven'
             and (not e.told or (a.email is not null and a.email_verified))
         returning e.revision as "revision!""#,
        user_id.uuid(),
        now,
    );
    let Some(revision) = given_up.fetch_optional(&mut *tx).await? else {
        return Ok(false);
    };
    sqlx::query!(
        "update auth.accounts set email_revision = $2 where user_id = $1",
        user_id.uuid(),
        revision,
    )
    .execute(tx)
    .await?;
    Ok(true)
}

/// The user service has the address now: the account gets it, verified. The account must be locked. False where this was done
/// before.
pub(crate) async fn finish(
    tx: &mut PgConnection,
    change_id: EmailChangeId,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update auth.email_changes
         set state = 'done', update_time = $2
         where change_id = $1 and state = 'proven'",
        change_id.uuid(),
        now,
    );
    if done.execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "update auth.accounts as a
         set email = e.email, email_key = e.email_key, email_verified = true
         from auth.email_changes as e
         where e.change_id = $1 and a.user_id = e.user_id",
        change_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(true)
}

/// The user service has refused the address of a proven change, or has the present one again after a recalled one: `from` says which.
pub(crate) async fn refuse<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    change_id: EmailChangeId,
    from: State,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.email_changes
         set state = 'refused', update_time = $2
         where change_id = $1 and state = $3",
        change_id.uuid(),
        now,
        from.name(),
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Forgets changes that nobody needs any more.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.email_changes
         where change_id = any (array(
             select change_id
             from auth.email_changes
             where state not in ('proven', 'recalled') and update_time < $1
             order by update_time
             limit 1000
             for update skip locked
         ))",
        now - KEPT_FOR,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
