use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::UserId;
use time::OffsetDateTime;

use crate::account::Identifier;

/// An account as somebody logs in to it.
#[derive(Clone)]
pub(crate) struct Account {
    pub user_id: UserId,
    pub username: String,
    /// Where its mail goes; none for one that stands for another's address.
    pub email: Option<String>,
    pub password_hash: String,
    pub password_version: i64,
    pub active: bool,
    pub activation_due: bool,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account {{ {} }}", self.user_id)
    }
}

/// An account that is being made.
pub(crate) struct NewAccount<'a> {
    pub user_id: UserId,
    pub username: &'a str,
    /// As given, and as compared.
    pub email: Option<(&'a str, &'a str)>,
    pub password_hash: &'a str,
    pub active: bool,
    pub email_verified: bool,
}

pub(crate) async fn insert(tx: &mut PgConnection, account: &NewAccount<'_>, now: OffsetDateTime) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.accounts
             (user_id, username, email, email_key, password_hash, state, email_verified, activation_due, create_time)
         values ($1, $2, $3, $4, $5, case when $6 then 'active' else 'unverified' end, $7, $6, $8)",
        account.user_id.uuid(),
        account.username,
        account.email.map(|(given, _)| given),
        account.email.map(|(_, key)| key),
        account.password_hash,
        account.active,
        account.email_verified,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The account that the identifier names. An address that nobody has verified, where it has to be, names none: else a
/// login would tell a registration with another's address from one with a free address.
pub(crate) async fn find<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    who: &Identifier,
) -> Result<Option<Account>, Error> {
    let (username, email_key) = match who {
        Identifier::Username(username) => (Some(username), None),
        Identifier::Email(key) => (None, Some(key)),
    };
    let account = sqlx::query_as!(
        Account,
        r#"select user_id, username, email, password_hash, password_version, state = 'active' as "active!",
             activation_due
         from auth.accounts
         where username = $1 or (email_key = $2 and state = 'active')
         limit 1"#,
        username,
        email_key,
    );
    Ok(account.fetch_optional(executor).await?)
}

/// The account of a user.
pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<Account>, Error> {
    let account = sqlx::query_as!(
        Account,
        r#"select user_id, username, email, password_hash, password_version, state = 'active' as "active!",
             activation_due
         from auth.accounts
         where user_id = $1"#,
        user_id.uuid(),
    );
    Ok(account.fetch_optional(executor).await?)
}

/// What the account itself is proven by.
#[derive(Debug, Clone)]
pub(crate) struct OwnCredentials {
    /// None where nobody knows a password of the account.
    pub password_set_time: Option<OffsetDateTime>,
    pub email: Option<String>,
    pub email_verified: bool,
}

pub(crate) async fn own_credentials<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<OwnCredentials>, Error> {
    let own = sqlx::query_as!(
        OwnCredentials,
        "select case when has_password then coalesce(password_set_time, create_time) end as password_set_time, email,
             email_verified
         from auth.accounts
         where user_id = $1",
        user_id.uuid(),
    );
    Ok(own.fetch_optional(executor).await?)
}

/// The account that an address belongs to, verified or not.
pub(crate) async fn find_by_email<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    email_key: &str,
) -> Result<Option<Account>, Error> {
    let account = sqlx::query_as!(
        Account,
        r#"select user_id, username, email, password_hash, password_version, state = 'active' as "active!",
             activation_due
         from auth.accounts
         where email_key = $1"#,
        email_key,
    );
    Ok(account.fetch_optional(executor).await?)
}

/// Whether there is an account of the user.
pub(crate) async fn exists<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"select exists (select from auth.accounts where user_id = $1) as "exists!""#,
        user_id.uuid(),
    );
    Ok(exists.fetch_one(executor).await?)
}

/// Locks the account for the rest of the transaction, so that its password and its login sessions change one at a time.
/// Its password version; `None` when it is gone. Who locks an account and its login sessions locks the account first.
pub(crate) async fn lock(tx: &mut PgConnection, user_id: UserId) -> Result<Option<i64>, Error> {
    let version = sqlx::query_scalar!(
        "select password_version from auth.accounts where user_id = $1 for update",
        user_id.uuid(),
    );
    Ok(version.fetch_optional(tx).await?)
}

/// Notes that nobody logs in to the account with a password: nobody knows the one that its hash is of.
pub(crate) async fn set_without_password(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts set has_password = false where user_id = $1",
        user_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Sets a password, which ends what was bound to the one before: a change of address that was asked for with it, and the count of
/// wrong passwords. Wrong codes stay counted: else who has the mailbox alone would guess codes without end, with a reset now and
/// then. The account must be locked.
pub(crate) async fn set_password(
    tx: &mut PgConnection,
    user_id: UserId,
    password_hash: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts
         set password_hash = $2, password_version = password_version + 1, password_set_time = $3,
             has_password = true
         where user_id = $1",
        user_id.uuid(),
        password_hash,
        now,
    )
    .execute(&mut *tx)
    .await?;
    super::email_changes::withdraw(&mut *tx, user_id, now).await?;
    super::proofs::clear_passwords(tx, user_id).await
}

/// Stores another hash of the password that the account has: nothing ends by it. Nothing is done where the password was
/// changed since.
pub(crate) async fn upgrade_password<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    old_hash: &str,
    new_hash: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts set password_hash = $3 where user_id = $1 and password_hash = $2",
        user_id.uuid(),
        old_hash,
        new_hash,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// The account's address is proven: it can log in, and the user service is to be told.
pub(crate) async fn verify_email(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts
         set state = 'active', email_verified = true, activation_due = true
         where user_id = $1 and not email_verified",
        user_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// An account that the user service is to be told about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub user_id: UserId,
    pub email_verified: bool,
}

pub(crate) async fn activation_due<'e>(executor: impl Executor<'e, Database = Postgres>) -> Result<Vec<Due>, Error> {
    let due = sqlx::query_as!(
        Due,
        "select user_id, email_verified
         from auth.accounts
         where activation_due
         order by user_id
         limit 100",
    );
    Ok(due.fetch_all(executor).await?)
}

pub(crate) async fn activation_due_of<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
) -> Result<Option<Due>, Error> {
    let due = sqlx::query_as!(
        Due,
        "select user_id, email_verified from auth.accounts where user_id = $1 and activation_due",
        user_id.uuid(),
    );
    Ok(due.fetch_optional(executor).await?)
}

/// The user service has been told. Unless the address was verified since, which it is to be told again.
pub(crate) async fn set_activated<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    told: Due,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts
         set activation_due = false
         where user_id = $1 and email_verified = $2",
        told.user_id.uuid(),
        told.email_verified,
    )
    .execute(executor)
    .await?;
    Ok(())
}
