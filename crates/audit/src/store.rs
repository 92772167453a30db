//! Every statement on the trail's tables. Schemas' names are constants, so no text of a caller can reach a statement.

use std::collections::{BTreeMap, HashMap};

use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row as _, postgres::PgRow};
use tidings_authn::Service;
use tidings_db::{Error, Pool, Schema};
use tidings_ids::{LoginSessionId, UserId};
use tidings_proto_common::v1::{AuditActorKind, AuditCategory, AuditOutcome};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Actor, Event, Outcome, Subject,
    encoding::{Hash, actor_kind, actor_service, login_session_id, outcome, reason},
};

fn sql(schema: Schema, template: &'static str) -> AssertSqlSafe<String> {
    AssertSqlSafe(template.replace("{schema}", schema.name()))
}

/// Writes an event in the transaction of its effect. It has no number yet: the sealer gives it one after the commit.
///
/// # Errors
///
/// When Postgres does not do as told; the transaction is then to be given up.
pub async fn record(tx: &mut PgConnection, schema: Schema, event: &Event) -> Result<(), Error> {
    let (kinds, ids): (Vec<&str>, Vec<Uuid>) = event
        .subjects
        .iter()
        .map(|subject| (subject.kind.as_str(), subject.id))
        .unzip();
    let (names, values): (Vec<&str>, Vec<&str>) = event
        .details
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .unzip();
    let statement = sql(
        schema,
        "with event as (
             insert into {schema}.audit_events (
                 event_id, event_time, category, action, actor_kind, actor_id, actor_service, login_session_id,
                 subject_kinds, subject_ids, outcome, reason, trace_id, request_id, client_prefix, detail_names, detail_values
             )
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         )
         insert into {schema}.audit_pending (event_id)
         values ($1)",
    );
    sqlx::query(statement)
        .bind(event.event_id)
        .bind(event.event_time)
        .bind(small(event.category as i32))
        .bind(&event.action)
        .bind(small(actor_kind(&event.actor) as i32))
        .bind(event.actor.user_id())
        .bind(actor_service(&event.actor))
        .bind(login_session_id(&event.actor))
        .bind(kinds)
        .bind(ids)
        .bind(small(outcome(&event.outcome) as i32))
        .bind(reason(&event.outcome))
        .bind(&event.trace_id)
        .bind(event.request_id)
        .bind(&event.client_prefix)
        .bind(names)
        .bind(values)
        .execute(tx)
        .await?;
    Ok(())
}

/// An event with its place in the trail.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub number: i64,
    pub event_id: Uuid,
    pub seal_time: OffsetDateTime,
    pub previous_hash: Hash,
    pub hash: Hash,
    pub event: Kept,
}

/// What is left of an entry's event.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    Whole(Box<Event>),
    /// Its row holds something that no event can hold.
    Unreadable,
    /// Its row is not there.
    Gone,
}

/// Where the sealer left the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealer {
    pub last_number: i64,
    /// The hash of that entry; none before the first.
    pub last_hash: Option<Hash>,
    /// The number of the newest head, or 0.
    pub head_number: i64,
}

/// A signed statement of how far the chain went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub number: i64,
    pub previous_number: i64,
    pub hash: Vec<u8>,
    pub sign_time: OffsetDateTime,
    pub public_key: Vec<u8>,
    pub signature: Vec<u8>,
}

const SEALER: &str = "select last_number, last_hash, head_number from {schema}.audit_sealer";
const SEALER_LOCKED: &str =
    "select last_number, last_hash, head_number from {schema}.audit_sealer for update skip locked";

/// Becomes the sealer until the transaction ends; `None` while somebody else is.
pub(crate) async fn elect(tx: &mut PgConnection, schema: Schema) -> Result<Option<Sealer>, Error> {
    Ok(sqlx::query_as(sql(schema, SEALER_LOCKED)).fetch_optional(tx).await?)
}

/// Where the trail was left.
pub(crate) async fn sealer(pool: &Pool, schema: Schema) -> Result<Sealer, Error> {
    Ok(sqlx::query_as(sql(schema, SEALER)).fetch_one(pool).await?)
}

/// Whether events wait for their numbers.
pub(crate) async fn is_pending(pool: &Pool, schema: Schema) -> Result<bool, Error> {
    let statement = sql(schema, "select exists (select from {schema}.audit_pending)");
    Ok(sqlx::query_scalar(statement).fetch_one(pool).await?)
}

/// The oldest events that wait for their numbers.
pub(crate) async fn pending(tx: &mut PgConnection, schema: Schema, limit: i64) -> Result<Vec<Uuid>, Error> {
    let statement = sql(
        schema,
        "select event_id
         from {schema}.audit_pending
         order by event_id
         limit $1",
    );
    Ok(sqlx::query_scalar(statement).bind(limit).fetch_all(tx).await?)
}

/// The events with these ids, as far as they are there.
pub(crate) async fn events(tx: &mut PgConnection, schema: Schema, ids: &[Uuid]) -> Result<HashMap<Uuid, Kept>, Error> {
    let statement = sql(
        schema,
        "select *
         from {schema}.audit_events
         where event_id = any ($1)",
    );
    let rows = sqlx::query(statement).bind(ids).fetch_all(tx).await?;
    rows.iter()
        .map(|row| Ok((row.try_get("event_id")?, kept(row))))
        .collect()
}

/// The last entry's number; 0 where there is none.
pub(crate) async fn last_number(tx: &mut PgConnection, schema: Schema) -> Result<i64, Error> {
    let statement = sql(schema, "select coalesce(max(number), 0) from {schema}.audit_chain");
    Ok(sqlx::query_scalar(statement).fetch_one(tx).await?)
}

/// Adds entries to the chain, and leaves the sealer's mark after the last.
pub(crate) async fn chain(tx: &mut PgConnection, schema: Schema, entries: &[Entry]) -> Result<(), Error> {
    let Some(last) = entries.last() else { return Ok(()) };
    let statement = sql(
        schema,
        "insert into {schema}.audit_chain (number, event_id, seal_time, previous_hash, hash)
         select *
         from unnest($1::bigint[], $2::uuid[], $3::timestamptz[], $4::bytea[], $5::bytea[])",
    );
    sqlx::query(statement)
        .bind(entries.iter().map(|entry| entry.number).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.event_id).collect::<Vec<_>>())
        .bind(entries.iter().map(|entry| entry.seal_time).collect::<Vec<_>>())
        .bind(
            entries
                .iter()
                .map(|entry| entry.previous_hash.to_vec())
                .collect::<Vec<_>>(),
        )
        .bind(entries.iter().map(|entry| entry.hash.to_vec()).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
    let statement = sql(
        schema,
        "update {schema}.audit_sealer set last_number = $1, last_hash = $2",
    );
    sqlx::query(statement)
        .bind(last.number)
        .bind(last.hash.to_vec())
        .execute(tx)
        .await?;
    Ok(())
}

/// These events no longer wait.
pub(crate) async fn end_pending(tx: &mut PgConnection, schema: Schema, ids: &[Uuid]) -> Result<(), Error> {
    let statement = sql(schema, "delete from {schema}.audit_pending where event_id = any ($1)");
    sqlx::query(statement).bind(ids).execute(tx).await?;
    Ok(())
}

/// Keeps a head.
pub(crate) async fn add_head(tx: &mut PgConnection, schema: Schema, head: &Head) -> Result<(), Error> {
    let statement = sql(
        schema,
        "insert into {schema}.audit_heads (number, previous_number, hash, sign_time, public_key, signature)
         values ($1, $2, $3, $4, $5, $6)",
    );
    sqlx::query(statement)
        .bind(head.number)
        .bind(head.previous_number)
        .bind(&head.hash)
        .bind(head.sign_time)
        .bind(&head.public_key)
        .bind(&head.signature)
        .execute(&mut *tx)
        .await?;
    let statement = sql(schema, "update {schema}.audit_sealer set head_number = $1");
    sqlx::query(statement).bind(head.number).execute(tx).await?;
    Ok(())
}

/// The newest head.
pub(crate) async fn newest_head(connection: &mut PgConnection, schema: Schema) -> Result<Option<Head>, Error> {
    let statement = sql(
        schema,
        "select number, previous_number, hash, sign_time, public_key, signature
         from {schema}.audit_heads
         order by number desc
         limit 1",
    );
    Ok(sqlx::query_as(statement).fetch_optional(connection).await?)
}

/// The heads of a range of numbers, and the one before it, in order.
pub(crate) async fn heads(pool: &Pool, schema: Schema, from: i64, to: i64) -> Result<Vec<Head>, Error> {
    let statement = sql(
        schema,
        "select number, previous_number, hash, sign_time, public_key, signature
         from {schema}.audit_heads
         where number between coalesce((select max(number) from {schema}.audit_heads where number < $1), 0) and $2
         order by number",
    );
    Ok(sqlx::query_as(statement).bind(from).bind(to).fetch_all(pool).await?)
}

/// The entries of a range of numbers, in order.
pub(crate) async fn entries(pool: &Pool, schema: Schema, from: i64, to: i64) -> Result<Vec<Entry>, Error> {
    let statement = sql(
        schema,
        "select c.number, c.event_id as chained_id, c.seal_time, c.previous_hash, c.hash, e.*
         from {schema}.audit_chain as c
         left join {schema}.audit_events as e on e.event_id = c.event_id
         where c.number between $1 and $2
         order by c.number",
    );
    let rows = sqlx::query(statement).bind(from).bind(to).fetch_all(pool).await?;
    Ok(rows.iter().map(entry).collect::<Result<_, sqlx::Error>>()?)
}

/// Which entries are asked for, as `AuditFilter` has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub actor_user_id: Option<UserId>,
    pub subject_id: Option<Uuid>,
    pub action: Option<String>,
    pub category: Option<AuditCategory>,
    pub start_time: Option<OffsetDateTime>,
    pub end_time: Option<OffsetDateTime>,
}

/// A stretch of the trail that a page is looked for in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub from: i64,
    pub to: i64,
    pub newest_first: bool,
    pub limit: i64,
}

/// The entries of a stretch that a filter chooses.
pub(crate) async fn page(pool: &Pool, schema: Schema, stretch: Stretch, filter: &Filter) -> Result<Vec<Entry>, Error> {
    let statement = sql(
        schema,
        "select c.number, c.event_id as chained_id, c.seal_time, c.previous_hash, c.hash, e.*
         from {schema}.audit_chain as c
         join {schema}.audit_events as e on e.event_id = c.event_id
         where c.number between $1 and $2
         and ($3::uuid is null or e.actor_id = $3)
         and ($4::uuid is null or $4 = any (e.subject_ids))
         and ($5::text is null or e.action = $5)
         and ($6::smallint is null or e.category = $6)
         and ($7::timestamptz is null or e.event_time >= $7)
         and ($8::timestamptz is null or e.event_time < $8)
         order by case when $9 then - c.number else c.number end
         limit $10",
    );
    let rows = sqlx::query(statement)
        .bind(stretch.from)
        .bind(stretch.to)
        .bind(filter.actor_user_id)
        .bind(filter.subject_id)
        .bind(&filter.action)
        .bind(filter.category.map(|category| small(category as i32)))
        .bind(filter.start_time)
        .bind(filter.end_time)
        .bind(stretch.newest_first)
        .bind(stretch.limit)
        .fetch_all(pool)
        .await?;
    Ok(rows.iter().map(entry).collect::<Result<_, sqlx::Error>>()?)
}

fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    let event_id: Option<Uuid> = row.try_get("event_id")?;
    Ok(Entry {
        number: row.try_get("number")?,
        event_id: row.try_get("chained_id")?,
        seal_time: row.try_get("seal_time")?,
        // A hash of another length, which the table's check refuses, fits nothing either.
        previous_hash: row
            .try_get::<Vec<u8>, _>("previous_hash")?
            .try_into()
            .unwrap_or_default(),
        hash: row.try_get::<Vec<u8>, _>("hash")?.try_into().unwrap_or_default(),
        event: if event_id.is_some() { kept(row) } else { Kept::Gone },
    })
}

fn kept(row: &PgRow) -> Kept {
    match event(row) {
        Ok(Some(event)) => Kept::Whole(Box::new(event)),
        Ok(None) | Err(_) => Kept::Unreadable,
    }
}

/// The event in a row, unless it holds what only somebody else can have written.
fn event(row: &PgRow) -> Result<Option<Event>, sqlx::Error> {
    let category = AuditCategory::try_from(i32::from(row.try_get::<i16, _>("category")?)).ok();
    let (kinds, ids): (Vec<String>, Vec<Uuid>) = (row.try_get("subject_kinds")?, row.try_get("subject_ids")?);
    let (names, values): (Vec<String>, Vec<String>) = (row.try_get("detail_names")?, row.try_get("detail_values")?);
    let pairs = (kinds.len() == ids.len()) && (names.len() == values.len());
    let details: BTreeMap<String, String> = names.iter().cloned().zip(values).collect();
    // In another order, or with a name twice, they would hash alike.
    let in_order = details.keys().eq(&names);
    let (Some(category), Some(actor), Some(outcome), true, true) =
        (category, actor(row)?, self::result(row)?, pairs, in_order)
    else {
        return Ok(None);
    };
    let subjects = kinds.into_iter().zip(ids);
    Ok(Some(Event {
        event_id: row.try_get("event_id")?,
        event_time: row.try_get("event_time")?,
        category,
        action: row.try_get("action")?,
        actor,
        subjects: subjects.map(|(kind, id)| Subject { kind, id }).collect(),
        outcome,
        trace_id: row.try_get("trace_id")?,
        request_id: row.try_get("request_id")?,
        client_prefix: row.try_get("client_prefix")?,
        details,
    }))
}

fn actor(row: &PgRow) -> Result<Option<Actor>, sqlx::Error> {
    let kind = AuditActorKind::try_from(i32::from(row.try_get::<i16, _>("actor_kind")?)).ok();
    let user_id: Option<UserId> = row.try_get("actor_id")?;
    let session: Option<LoginSessionId> = row.try_get("login_session_id")?;
    let service: String = row.try_get("actor_service")?;
    Ok(match (kind, user_id, Service::from_name(&service), session) {
        (Some(AuditActorKind::User), Some(user_id), None, session) if service.is_empty() => {
            Some(Actor::User(user_id, session))
        }
        (Some(AuditActorKind::Bot), Some(user_id), None, session) if service.is_empty() => {
            Some(Actor::Bot(user_id, session))
        }
        (Some(AuditActorKind::Service), None, Some(service), None) => Some(Actor::Service(service)),
        (Some(AuditActorKind::Operator), None, None, None) if service.is_empty() => Some(Actor::Operator),
        (Some(AuditActorKind::Anonymous), None, None, None) if service.is_empty() => Some(Actor::Anonymous),
        _ => None,
    })
}

fn result(row: &PgRow) -> Result<Option<Outcome>, sqlx::Error> {
    let outcome = AuditOutcome::try_from(i32::from(row.try_get::<i16, _>("outcome")?)).ok();
    let reason: String = row.try_get("reason")?;
    Ok(match outcome {
        Some(AuditOutcome::Done) if reason.is_empty() => Some(Outcome::Done),
        Some(AuditOutcome::Refused) => Some(Outcome::Refused(reason)),
        _ => None,
    })
}

impl FromRow<'_, PgRow> for Sealer {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let last_hash: Option<Vec<u8>> = row.try_get("last_hash")?;
        Ok(Self {
            last_number: row.try_get("last_number")?,
            last_hash: last_hash.map(|hash| hash.try_into().unwrap_or_default()),
            head_number: row.try_get("head_number")?,
        })
    }
}

impl FromRow<'_, PgRow> for Head {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            number: row.try_get("number")?,
            previous_number: row.try_get("previous_number")?,
            hash: row.try_get("hash")?,
            sign_time: row.try_get("sign_time")?,
            public_key: row.try_get("public_key")?,
            signature: row.try_get("signature")?,
        })
    }
}

/// The number of an enum's value in the tables.
fn small(number: i32) -> i16 {
    i16::try_from(number).expect("the enums of the trail have few values")
}
