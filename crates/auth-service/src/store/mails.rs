use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::{EmailChangeId, MailId, UserId};
use time::{Duration, OffsetDateTime};

/// What a mail is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ResetPassword,
    VerifyEmail,
    /// Somebody tried to register with the address of an account.
    AddressInUse,
    /// To an address that an account is to get.
    ChangeEmail,
    /// To the address that the account has meanwhile.
    EmailChangeNotice,
    Notice(Notice),
}

/// What has happened to an account, of which its owner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// By somebody who knew the old one.
    PasswordChanged,
    /// By a mailed token.
    PasswordReset,
    /// By an operator.
    PasswordSet,
    TotpConfirmed,
    /// By its owner, or by an operator.
    TotpRemoved,
    RecoveryCodesGenerated,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ResetPassword => "reset_password",
            Self::VerifyEmail => "verify_email",
            Self::AddressInUse => "address_in_use",
            Self::ChangeEmail => "change_email",
            Self::EmailChangeNotice => "email_change_notice",
            Self::Notice(Notice::PasswordChanged) => "password_changed",
            Self::Notice(Notice::PasswordReset) => "password_reset",
            Self::Notice(Notice::PasswordSet) => "password_set",
            Self::Notice(Notice::TotpConfirmed) => "totp_confirmed",
            Self::Notice(Notice::TotpRemoved) => "totp_removed",
            Self::Notice(Notice::RecoveryCodesGenerated) => "recovery_codes_generated",
        }
    }
}

impl From<String> for Kind {
    /// A constraint holds the column to these names.
    fn from(name: String) -> Self {
        match &*name {
            "reset_password" => Self::ResetPassword,
            "verify_email" => Self::VerifyEmail,
            "change_email" => Self::ChangeEmail,
            "email_change_notice" => Self::EmailChangeNotice,
            "password_changed" => Self::Notice(Notice::PasswordChanged),
            "password_reset" => Self::Notice(Notice::PasswordReset),
            "password_set" => Self::Notice(Notice::PasswordSet),
            "totp_confirmed" => Self::Notice(Notice::TotpConfirmed),
            "totp_removed" => Self::Notice(Notice::TotpRemoved),
            "recovery_codes_generated" => Self::Notice(Notice::RecoveryCodesGenerated),
            _ => Self::AddressInUse,
        }
    }
}

/// A mail that waits to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub mail_id: MailId,
    pub kind: Kind,
    pub email_key: String,
    /// The account that a notice is about, or whose registration the mail is; none for a mail that was asked for by address.
    pub user_id: Option<UserId>,
    /// Where a notice goes.
    pub address: Option<String>,
    /// The change of address that it is about, if it is about one.
    pub change_id: Option<EmailChangeId>,
    /// The attempts that were begun, this one included.
    pub attempts: i32,
    pub create_time: OffsetDateTime,
}

/// Mails of one kind that an address gets in an hour (`reliability.md` A55).
const PER_HOUR_MAX: usize = 3;

/// Counts a mail against the address, known or not. False when it has had enough in the last hour.
pub(crate) async fn count(
    tx: &mut PgConnection,
    kind: Kind,
    email_key: &str,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    sqlx::query!(
        "insert into auth.mail_quotas (email_key, kind, ask_times, update_time)
         values ($1, $2, '{}', $3)
         on conflict (email_key, kind) do nothing",
        email_key,
        kind.name(),
        now,
    )
    .execute(&mut *tx)
    .await?;
    let times = sqlx::query_scalar!(
        "select ask_times from auth.mail_quotas where email_key = $1 and kind = $2 for update",
        email_key,
        kind.name(),
    );
    // Gone only if the purge came between: then it had asked for nothing.
    let times = times.fetch_optional(&mut *tx).await?.unwrap_or_default();
    let mut times: Vec<OffsetDateTime> = times.into_iter().filter(|time| *time > now - Duration::HOUR).collect();
    let permitted = times.len() < PER_HOUR_MAX;
    if permitted {
        times.push(now);
    }
    sqlx::query!(
        "update auth.mail_quotas set ask_times = $3, update_time = $4 where email_key = $1 and kind = $2",
        email_key,
        kind.name(),
        &times,
        now,
    )
    .execute(tx)
    .await?;
    Ok(permitted)
}

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About<'a> {
    /// Whatever account has the address when it is sent.
    Address,
    /// The registration of this user.
    Registration(UserId),
    Change(EmailChangeId),
    /// What has happened to the account of this user, whose address it goes to.
    Account {
        user_id: UserId,
        address: &'a str,
    },
}

pub(crate) async fn insert(
    tx: &mut PgConnection,
    mail_id: MailId,
    kind: Kind,
    email_key: &str,
    about: About<'_>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let (user_id, change_id, address) = match about {
        About::Address => (None, None, None),
        About::Registration(user_id) => (Some(user_id.uuid()), None, None),
        About::Change(change_id) => (None, Some(change_id.uuid()), None),
        About::Account { user_id, address } => (Some(user_id.uuid()), None, Some(address)),
    };
    sqlx::query!(
        "insert into auth.mails (mail_id, kind, email_key, user_id, change_id, address, next_attempt_time, create_time)
         values ($1, $2, $3, $4, $5, $6, $7, $7)",
        mail_id.uuid(),
        kind.name(),
        email_key,
        user_id,
        change_id,
        address,
        now,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes mails that are due, at most `limit`; nobody else gets them until `lease_end`.
pub(crate) async fn take<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    limit: i64,
    now: OffsetDateTime,
    lease_end: OffsetDateTime,
) -> Result<Vec<Mail>, Error> {
    let mails = sqlx::query_as!(
        Mail,
        "update auth.mails
         set attempts = attempts + 1, next_attempt_time = $3
         where mail_id = any (array(
             select mail_id
             from auth.mails
             where parked_time is null and next_attempt_time <= $1
             order by next_attempt_time
             limit $2
             for update skip locked
         ))
         returning mail_id, kind, email_key, user_id, change_id, address, attempts, create_time",
        now,
        limit,
        lease_end,
    );
    Ok(mails.fetch_all(executor).await?)
}

/// The mail was sent, or there is nobody to send it to.
pub(crate) async fn remove<'e>(executor: impl Executor<'e, Database = Postgres>, mail_id: MailId) -> Result<(), Error> {
    sqlx::query!("delete from auth.mails where mail_id = $1", mail_id.uuid())
        .execute(executor)
        .await?;
    Ok(())
}

/// The mail could not be sent: it is tried again later, or not any more.
pub(crate) async fn postpone<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    mail_id: MailId,
    next_attempt_time: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.mails
         set next_attempt_time = coalesce($2, next_attempt_time),
             parked_time = case when $2::timestamptz is null then $3::timestamptz end
         where mail_id = $1",
        mail_id.uuid(),
        next_attempt_time,
        now,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Forgets parked mails and quotas that nobody needs any more.
pub(crate) async fn purge(
    executor: &tidings_db::Pool,
    parked_cutoff: OffsetDateTime,
    quota_cutoff: OffsetDateTime,
) -> Result<u64, Error> {
    let parked = sqlx::query!("delete from auth.mails where parked_time < $1", parked_cutoff)
        .execute(executor)
        .await?;
    let quotas = sqlx::query!(
        "delete from auth.mail_quotas
         where (email_key, kind) in (
             select email_key, kind
             from auth.mail_quotas
             where update_time < $1
             order by update_time
             limit 1000
             for update skip locked
         )",
        quota_cutoff,
    );
    let quotas = quotas.execute(executor).await?;
    Ok(parked.rows_affected() + quotas.rows_affected())
}
