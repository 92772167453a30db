//! Idempotency records: what each `request_id` did.
//!
//! A handler works in this order (`api.md`, "idempotency"): authentication, [`look_up`] and answer if there is a record, access,
//! etag, and then a transaction that begins with [`claim`] and holds the effect. The record is stored with the effect or not at
//! all. A duplicate that runs at the same time waits in `claim` on the unique index, until the first commits (then it replays) or
//! rolls back (then it is the first).
//!
//! `claim` again decides, not the look-up before it: that one only spares a replay the checks which its first run has passed.
//!
//! The hash is the caller's: keyed, without `request_id` and without secrets (crate `rpc`). An outcome holds ids, or a small encoded
//! message without secrets; the resource itself is read anew when it is replayed.

use sqlx::{Executor, PgConnection, Postgres};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{Error, Schema};

/// The table, for the migration of each service that keeps requests; `{schema}` stands for its schema.
pub const TABLE: &str = include_str!("../sql/requests.sql");

/// How long a record is kept: the seven days in which a call may be repeated, and one for clocks that differ.
pub const KEPT_FOR: Duration = Duration::days(8);

/// The most rows that one [`purge`] deletes, so that it never holds locks for long.
pub const PURGE_MAX: i64 = 1_000;

/// Which call it is.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The account that calls; empty where there is none.
    pub caller: &'a str,
    /// The RPC's name, such as `tidings.chat.v1.ChatService/CreateGroup`.
    pub method: &'a str,
    /// The chat, where there is one; for a call without a caller the identifier that it names; else empty.
    pub scope: &'a str,
    /// The caller's `request_id`.
    pub request_id: Uuid,
    /// The keyed hash of the request's content.
    pub request_hash: &'a [u8],
}

/// What the first call did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The id of what it made, where it made something.
    pub id: Option<Uuid>,
    /// What else a replay must repeat.
    pub data: Option<Vec<u8>>,
}

impl Outcome {
    /// An outcome that is one id.
    #[must_use]
    pub fn id(id: impl Into<Uuid>) -> Self {
        Self {
            id: Some(id.into()),
            data: None,
        }
    }

    /// An outcome of encoded bytes.
    #[must_use]
    pub fn data(data: impl Into<Vec<u8>>) -> Self {
        Self {
            id: None,
            data: Some(data.into()),
        }
    }
}

/// What there is under a [`Key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Nothing: after [`claim`] the caller has it, and goes on with the effect.
    Fresh,
    /// The same call was made before, and did this.
    Replay(Outcome),
    /// Another request used this `request_id`: `ALREADY_EXISTS`, reason `REQUEST_ID_REUSED`.
    Reused,
}

/// Hash, id and data, as they stand in the table.
type Row = (Vec<u8>, Option<Uuid>, Option<Vec<u8>>);

/// Looks for the record of an earlier call, before access is checked.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn look_up<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    schema: Schema,
    key: &Key<'_>,
) -> Result<Claimed, Error> {
    let sql = schema.sql(
        "select request_hash, outcome_id, outcome
         from {schema}.requests
         where caller = $1 and method = $2 and scope = $3 and request_id = $4",
    );
    let row: Option<Row> = sqlx::query_as(sql)
        .bind(key.caller)
        .bind(key.method)
        .bind(key.scope)
        .bind(key.request_id)
        .fetch_optional(executor)
        .await?;
    Ok(match row {
        None => Claimed::Fresh,
        Some((hash, id, data)) if hash == key.request_hash => Claimed::Replay(Outcome { id, data }),
        Some(_) => Claimed::Reused,
    })
}

/// Claims the `request_id` in the transaction of the effect, which must be open on `connection`. `now` is the given time.
///
/// # Errors
/// [`Error::Conflict`] when a concurrent duplicate holds it for longer than the lock time-out.
pub async fn claim(
    connection: &mut PgConnection,
    schema: Schema,
    key: &Key<'_>,
    outcome: &Outcome,
    now: OffsetDateTime,
) -> Result<Claimed, Error> {
    // The look-up misses only if the record was purged just then, and the second insert meets nothing.
    for _ in 0..2 {
        if insert(connection, schema, key, outcome, now).await? {
            return Ok(Claimed::Fresh);
        }
        // A statement of its own: its snapshot is taken after the wait, and sees what the other committed.
        match look_up(&mut *connection, schema, key).await? {
            Claimed::Fresh => {}
            found => return Ok(found),
        }
    }
    Err(Error::Bug(sqlx::Error::RowNotFound))
}

async fn insert(
    connection: &mut PgConnection,
    schema: Schema,
    key: &Key<'_>,
    outcome: &Outcome,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let sql = schema.sql(
        "insert into {schema}.requests (caller, method, scope, request_id, request_hash, outcome_id, outcome, create_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict on constraint requests_pkey do nothing",
    );
    let done = sqlx::query(sql)
        .bind(key.caller)
        .bind(key.method)
        .bind(key.scope)
        .bind(key.request_id)
        .bind(key.request_hash)
        .bind(outcome.id)
        .bind(outcome.data.as_deref())
        .bind(now)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes the outcome of a call that was claimed before its outcome was known, in the same transaction.
///
/// # Errors
/// [`Error::Bug`] when the call was not claimed.
pub async fn set_outcome(
    connection: &mut PgConnection,
    schema: Schema,
    key: &Key<'_>,
    outcome: &Outcome,
) -> Result<(), Error> {
    let sql = schema.sql(
        "update {schema}.requests
         set outcome_id = $5, outcome = $6
         where caller = $1 and method = $2 and scope = $3 and request_id = $4",
    );
    let done = sqlx::query(sql)
        .bind(key.caller)
        .bind(key.method)
        .bind(key.scope)
        .bind(key.request_id)
        .bind(outcome.id)
        .bind(outcome.data.as_deref())
        .execute(connection)
        .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::Bug(sqlx::Error::RowNotFound))
    }
}

/// Gives a `request_id` back whose call came to nothing after it was claimed in an earlier transaction: the next call with it is the
/// first. `id` is the outcome that the call claimed; where a later one has claimed another, nothing happens.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn release<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    schema: Schema,
    key: &Key<'_>,
    id: Uuid,
) -> Result<(), Error> {
    let sql = schema.sql(
        "delete from {schema}.requests
         where caller = $1 and method = $2 and scope = $3 and request_id = $4 and outcome_id = $5",
    );
    sqlx::query(sql)
        .bind(key.caller)
        .bind(key.method)
        .bind(key.scope)
        .bind(key.request_id)
        .bind(id)
        .execute(executor)
        .await?;
    Ok(())
}

/// Deletes up to [`PURGE_MAX`] records older than [`KEPT_FOR`] and returns how many; call it again while it returns that many.
///
/// # Errors
/// When Postgres cannot be asked.
pub async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    schema: Schema,
    now: OffsetDateTime,
) -> Result<u64, Error> {
    let sql = schema.sql(
        "delete from {schema}.requests
         where ctid = any (array(
             select ctid
             from {schema}.requests
             where create_time < $1
             order by create_time
             limit $2
             for update skip locked
         ))",
    );
    let done = sqlx::query(sql)
        .bind(now - KEPT_FOR)
        .bind(PURGE_MAX)
        .execute(executor)
        .await?;
    Ok(done.rows_affected())
}
