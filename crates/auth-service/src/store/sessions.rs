use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::{LoginSessionId, RequestId, UserId};
use time::OffsetDateTime;

use super::revocations;
use crate::refresh_tree::{Family, Parent, TokenHash};

/// Login sessions of one user that are alive at the most. Ended all at once, those of hundreds of users fit into what each process
/// keeps of the feed (`tidings_authn::Revocations`), beyond which it trusts nobody.
const LIVE_MAX: i64 = 1_000;

/// A login session that begins.
pub(crate) struct NewSession<'a> {
    pub login_session_id: LoginSessionId,
    pub user_id: UserId,
    pub device_label: &'a str,
    pub client_prefix: &'a str,
    pub user_agent: &'a str,
    /// The user's, as the access token has it: a suspension ends the login sessions from before it.
    pub token_epoch: i64,
    pub leaf: TokenHash,
    pub idle_expire_time: OffsetDateTime,
    pub expire_time: OffsetDateTime,
}

pub(crate) async fn insert(tx: &mut PgConnection, session: &NewSession<'_>, now: OffsetDateTime) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.login_sessions
             (login_session_id, user_id, device_label, leaf_hash, refresh_time, idle_expire_time, expire_time,
              create_time, token_epoch, client_prefix, user_agent)
         values ($1, $2, $3, $4, $5, $6, $7, $5, $8, $9, $10)",
        session.login_session_id.uuid(),
        session.user_id.uuid(),
        session.device_label,
        session.leaf.as_slice(),
        now,
        session.idle_expire_time,
        session.expire_time,
        session.token_epoch,
        session.client_prefix,
        session.user_agent,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Whose login session it is, and its refresh tokens.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub user_id: UserId,
    /// The user's when it began.
    pub token_epoch: i64,
    pub family: Family,
}

struct Row {
    user_id: UserId,
    token_epoch: i64,
    leaf_hash: Vec<u8>,
    parent_hash: Option<Vec<u8>>,
    parent_request_id: Option<uuid::Uuid>,
    refresh_time: OffsetDateTime,
    idle_expire_time: OffsetDateTime,
    expire_time: OffsetDateTime,
    ended: bool,
}

impl From<Row> for Session {
    fn from(row: Row) -> Self {
        let hash = |bytes: Vec<u8>| TokenHash::try_from(bytes).expect("a constraint holds hashes to 32 bytes");
        let parent = row
            .parent_hash
            .zip(row.parent_request_id)
            .map(|(bytes, request_id)| Parent {
                hash: hash(bytes),
                request_id: RequestId::from_uuid(request_id),
                spent_time: row.refresh_time,
            });
        let family = Family {
            leaf: hash(row.leaf_hash),
            parent,
            idle_expire_time: row.idle_expire_time,
            expire_time: row.expire_time,
            ended: row.ended,
        };
        Self {
            user_id: row.user_id,
            token_epoch: row.token_epoch,
            family,
        }
    }
}

pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    session: LoginSessionId,
) -> Result<Option<Session>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select user_id, token_epoch, leaf_hash, parent_hash, parent_request_id, refresh_time, idle_expire_time, expire_time,
             end_time is not null as "ended!"
         from auth.login_sessions
         where login_session_id = $1"#,
        session.uuid(),
    );
    Ok(row.fetch_optional(executor).await?.map(Session::from))
}

/// The same, locked for the rest of the transaction.
pub(crate) async fn lock(tx: &mut PgConnection, session: LoginSessionId) -> Result<Option<Session>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select user_id, token_epoch, leaf_hash, parent_hash, parent_request_id, refresh_time, idle_expire_time, expire_time,
             end_time is not null as "ended!"
         from auth.login_sessions
         where login_session_id = $1
         for update"#,
        session.uuid(),
    );
    Ok(row.fetch_optional(tx).await?.map(Session::from))
}

/// Spends the leaf for its successor. The login session must be locked.
pub(crate) async fn rotate(
    tx: &mut PgConnection,
    session: LoginSessionId,
    parent: &Parent,
    leaf: TokenHash,
    idle_expire_time: OffsetDateTime,
    client_prefix: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.login_sessions
         set leaf_hash = $2, parent_hash = $3, parent_request_id = $4, refresh_time = $5, idle_expire_time = $6,
             client_prefix = $7
         where login_session_id = $1",
        session.uuid(),
        leaf.as_slice(),
        parent.hash.as_slice(),
        parent.request_id.uuid(),
        parent.spent_time,
        idle_expire_time,
        client_prefix,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Which login sessions of a user end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    One(LoginSessionId),
    All,
    AllBut(LoginSessionId),
    /// Those that began under a lower token epoch.
    Before(i64),
}

/// Why a login session ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EndReason {
    Logout,
    /// Its user, or an operator, ended it from elsewhere.
    Revoked,
    /// A refresh token was used twice.
    Reuse,
    PasswordReset,
    PasswordChange,
    /// An operator has set the password.
    PasswordSet,
    Suspended,
    Deleted,
    /// Its user began one too many.
    Replaced,
}

impl EndReason {
    fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Revoked => "revoked",
            Self::Reuse => "reuse",
            Self::PasswordReset => "password_reset",
            Self::PasswordChange => "password_change",
            Self::PasswordSet => "password_set",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
            Self::Replaced => "replaced",
        }
    }
}

/// Ends login sessions, with an entry in the feed for each, and returns those that were alive. The account must be
/// locked, so that none begins meanwhile.
pub(crate) async fn end(
    tx: &mut PgConnection,
    user_id: UserId,
    which: Which,
    reason: EndReason,
    now: OffsetDateTime,
) -> Result<Vec<LoginSessionId>, Error> {
    let (only, but, epoch) = match which {
        Which::One(session) => (Some(session.uuid()), None, None),
        Which::All => (None, None, None),
        Which::AllBut(session) => (None, Some(session.uuid()), None),
        Which::Before(epoch) => (None, None, Some(epoch)),
    };
    let ended = sqlx::query_scalar!(
        "update auth.login_sessions
         set end_time = $5, end_reason = $4
         where user_id = $1
             and end_time is null
             and ($2::uuid is null or login_session_id = $2)
             and ($3::uuid is null or login_session_id <> $3)
             and ($6::bigint is null or token_epoch < $6)
         returning login_session_id",
        user_id.uuid(),
        only,
        but,
        reason.name(),
        now,
        epoch,
    );
    let ended = ended.fetch_all(&mut *tx).await?;
    revocations::append(tx, &ended).await?;
    Ok(ended)
}

/// Ends the oldest login sessions of a user who has more than [`LIVE_MAX`], with an entry in the feed for each, and returns them. The
/// account must be locked.
pub(crate) async fn end_oldest(
    tx: &mut PgConnection,
    user_id: UserId,
    now: OffsetDateTime,
) -> Result<Vec<LoginSessionId>, Error> {
    let ended = sqlx::query_scalar!(
        "update auth.login_sessions
         set end_time = $4, end_reason = $3
         where login_session_id = any (array(
             select login_session_id
             from auth.login_sessions
             where user_id = $1 and end_time is null
             order by create_time desc, login_session_id desc
             offset $2
         ))
         returning login_session_id",
        user_id.uuid(),
        LIVE_MAX,
        EndReason::Replaced.name(),
        now,
    );
    let ended = ended.fetch_all(&mut *tx).await?;
    revocations::append(tx, &ended).await?;
    Ok(ended)
}

/// A statement to the user service: until when the last of a user's login sessions lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement {
    pub user_id: UserId,
    /// Orders the statements about a user.
    pub revision: i64,
    pub until: Option<OffsetDateTime>,
}

/// Makes the next statement about a user, to be repeated from `due_time` on unless it is [settled](settle). Locks the
/// account; `None` when it is gone.
pub(crate) async fn state(
    tx: &mut PgConnection,
    user_id: UserId,
    due_time: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Option<Statement>, Error> {
    let revision = sqlx::query_scalar!(
        "update auth.accounts
         set logged_in_revision = logged_in_revision + 1, logged_in_due_time = $2
         where user_id = $1
         returning logged_in_revision",
        user_id.uuid(),
        due_time,
    );
    let Some(revision) = revision.fetch_optional(&mut *tx).await? else {
        return Ok(None);
    };
    // A statement of its own, so that it sees what was committed while the lock was waited for.
    let until = sqlx::query_scalar!(
        "select max(least(idle_expire_time, expire_time))
         from auth.login_sessions
         where user_id = $1 and end_time is null and least(idle_expire_time, expire_time) > $2",
        user_id.uuid(),
        now,
    );
    Ok(Some(Statement {
        user_id,
        revision,
        until: until.fetch_one(tx).await?,
    }))
}

/// The user service has taken this statement. If a newer one was made since, that one is still due.
pub(crate) async fn settle<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    revision: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.accounts
         set logged_in_due_time = null
         where user_id = $1 and logged_in_revision = $2",
        user_id.uuid(),
        revision,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Users about whom a statement is to be repeated.
pub(crate) async fn statements_due<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    now: OffsetDateTime,
) -> Result<Vec<UserId>, Error> {
    let due = sqlx::query_scalar!(
        "select user_id
         from auth.accounts
         where logged_in_due_time <= $1
         order by logged_in_due_time
         limit 100",
        now,
    );
    Ok(due.fetch_all(executor).await?)
}

/// Forgets login sessions that ended, in whatever way, before `cutoff`.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    cutoff: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.login_sessions
         where login_session_id = any (array(
             select login_session_id
             from auth.login_sessions
             where least(expire_time, idle_expire_time, end_time) < $1
             order by least(expire_time, idle_expire_time, end_time)
             limit 1000
             for update skip locked
         ))",
        cutoff,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
