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

/// The number of an enum's value in the tables.
fn small(number: i32) -> i16 {
    i16::try_from(number).expect("the enums of the trail have few values")
}
