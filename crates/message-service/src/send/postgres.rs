//! The store of the batcher: `messages.send_batch` and `messages.send_few`, each call one round trip and one transaction.

use std::{sync::Arc, time::Duration};

use sqlx::PgConnection;
use tidings_db::{Error, Pool, Settings, connect_dedicated};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{
    item::{Item, Outcome},
    shard::{Failure, Patient, Store},
};

/// From this many items on, the set-based function is cheaper (`performance.md`, D4).
const SET_MIN: usize = 8;

/// What the functions are planned with; see `0005_send.sql`.
const SESSION: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_mergejoin", "off"),
];

/// Postgres ends a statement after 5 s by itself. One that is silent for longer is stopped or cut off.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// After a connection could not be made, calls fail at once for this long, so that the queue does not pile up behind each try.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);

/// A shard's connection.
pub(crate) struct PostgresStore {
    settings: Settings,
    pool: Pool,
    connection: Option<PgConnection>,
    failed: Option<Instant>,
}

impl PostgresStore {
    /// Connects when it is first used.
    pub(crate) fn new(settings: Settings, pool: Pool) -> Self {
        Self {
            settings,
            pool,
            connection: None,
            failed: None,
        }
    }

    async fn connected(&mut self) -> Result<&mut PgConnection, Failure> {
        if self.connection.is_none() {
            if self.failed.is_some_and(|failed| failed.elapsed() < RECONNECT_AFTER) {
                return Err(Failure::Unavailable);
            }
            match connect_dedicated(&self.settings, SESSION).await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.failed = None;
                }
                Err(error) => {
                    tracing::warn!(%error, "the batcher cannot connect to postgres");
                    self.failed = Some(Instant::now());
                    return Err(Failure::Unavailable);
                }
            }
        }
        Ok(self.connection.as_mut().expect("it was made above"))
    }
}

impl Store for PostgresStore {
    type Patient = Pool;

    async fn send(&mut self, items: &[Arc<Item>]) -> Result<Vec<Outcome>, Failure> {
        let connection = self.connected().await?;
        let outcome = call(connection, items, false).await;
        if matches!(outcome, Err(Failure::Unknown)) {
            // Dropped, not closed: whatever it still does there, it ends with its own commit or not at all.
            self.connection = None;
        }
        outcome
    }

    fn patient(&self) -> Pool {
        self.pool.clone()
    }
}

impl Patient for Pool {
    async fn send_waiting(&self, items: &[Arc<Item>]) -> Result<Vec<Outcome>, Failure> {
        let mut connection = self.acquire().await.map_err(|_| Failure::Unavailable)?;
        let outcome = call(&mut connection, items, true).await;
        if matches!(outcome, Err(Failure::Unknown)) {
            drop(connection.detach());
        }
        outcome
    }
}

/// Calls the function that fits. The items may come in any order; the outcomes come in theirs.
async fn call(connection: &mut PgConnection, items: &[Arc<Item>], wait: bool) -> Result<Vec<Outcome>, Failure> {
    let set = items.len() >= SET_MIN && items.iter().all(|item| item.is_plain());
    let rows = async {
        if set {
            send_batch(connection, items, wait).await
        } else {
            send_few(connection, items, wait).await
        }
    };
    match timeout(SILENCE_MAX, rows).await {
        Ok(Ok(rows)) => outcomes(items.len(), rows),
        Ok(Err(error)) => Err(classify(error)),
        Err(_) => Err(Failure::Unknown),
    }
}

/// One statement is one transaction here, so whatever breaks the connection may have broken it after the commit.
fn classify(error: sqlx::Error) -> Failure {
    match Error::from(error) {
        Error::Unavailable(error) => {
            tracing::warn!(%error, "the batcher lost its connection");
            Failure::Unknown
        }
        refused => Failure::Refused(refused),
    }
}

/// A row of both functions.
struct Row {
    ord: i32,
    outcome: i16,
    message_id: Option<Uuid>,
    sequence: Option<i64>,
    create_time: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
    /// The database's clock, which `until` is by.
    now: OffsetDateTime,
}

fn outcomes(count: usize, rows: Vec<Row>) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; count];
    for row in rows {
        let index = usize::try_from(row.ord).ok().and_then(|ord| ord.checked_sub(1));
        if let Some(slot) = index.and_then(|index| outcomes.get_mut(index)) {
            *slot = outcome(&row);
        }
    }
    // The transaction is committed by now: an answer that cannot be read leaves its outcome unknown.
    outcomes.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| {
        tracing::error!("a send function answered what this version cannot read");
        Failure::Unknown
    })
}

fn outcome(row: &Row) -> Option<Outcome> {
    Some(match row.outcome {
        0 => Outcome::Stored {
            sequence: row.sequence?,
            create_time: row.create_time?,
        },
        1 => Outcome::Repeated {
            message_id: row.message_id?.into(),
            sequence: row.sequence?,
        },
        2 => Outcome::RequestIdReused,
        3 | 8 | 9 => Outcome::NotFound,
        4 => Outcome::Deferred,
        5 => Outcome::Archived,
        6 => Outcome::Muted { until: row.until? },
        7 => Outcome::SlowMode {
            wait: (row.until? - row.now).try_into().unwrap_or_default(),
        },
        10 | 11 => Outcome::StateUnsuitable,
        12 => Outcome::KindUnsuitable,
        13 => Outcome::TooManyResponses,
        14 => Outcome::MayNotRespond,
        15 => Outcome::WrongType,
        16 => Outcome::Blocked,
        _ => return None,
    })
}

/// The arguments that both functions have.
struct Columns {
    chat_ids: Vec<Uuid>,
    caller_ids: Vec<Uuid>,
    request_ids: Vec<Uuid>,
    request_hashes: Vec<i64>,
    message_ids: Vec<Uuid>,
    bodies: Vec<String>,
    metadatas: Vec<Option<String>>,
    reply_tos: Vec<Option<Uuid>>,
}

impl Columns {
    fn of(items: &[Arc<Item>]) -> Self {
        Self {
            chat_ids: items.iter().map(|item| item.chat_id.uuid()).collect(),
            caller_ids: items.iter().map(|item| item.caller_id.uuid()).collect(),
            request_ids: items.iter().map(|item| item.request_id.uuid()).collect(),
            request_hashes: items.iter().map(|item| item.request_hash).collect(),
            message_ids: items.iter().map(|item| item.message_id.uuid()).collect(),
            bodies: items.iter().map(|item| item.text.clone()).collect(),
            metadatas: items.iter().map(|item| metadata(item)).collect(),
            reply_tos: items.iter().map(|item| item.reply_to.map(|id| id.uuid())).collect(),
        }
    }
}

fn metadata(item: &Item) -> Option<String> {
    let json = || serde_json::to_string(&item.metadata).expect("a map of strings is JSON");
    (!item.metadata.is_empty()).then(json)
}

async fn send_batch(connection: &mut PgConnection, items: &[Arc<Item>], wait: bool) -> Result<Vec<Row>, sqlx::Error> {
    let columns = Columns::of(items);
    sqlx::query_as!(
        Row,
        r#"
        select ord as "ord!", outcome as "outcome!", message_id, sequence, create_time, until, clock_timestamp() as "now!"
        from messages.send_batch($1, $2, $3, $4, $5, $6, $7, $8, $9)
        "#,
        &columns.chat_ids,
        &columns.caller_ids,
        &columns.request_ids,
        &columns.request_hashes,
        &columns.message_ids,
        &columns.bodies,
        &columns.metadatas as &[Option<String>],
        &columns.reply_tos as &[Option<Uuid>],
        wait,
    )
    .fetch_all(connection)
    .await
}

async fn send_few(connection: &mut PgConnection, items: &[Arc<Item>], wait: bool) -> Result<Vec<Row>, sqlx::Error> {
    let columns = Columns::of(items);
    let methods: Vec<i16> = items.iter().map(|item| item.method.number()).collect();
    let attachments: Vec<Option<String>> = items.iter().map(|item| attachments(item)).collect();
    let response_tos: Vec<Option<Uuid>> = items
        .iter()
        .map(|item| item.response_to.map(|response| response.message_id.uuid()))
        .collect();
    let may_respond: Vec<bool> = items
        .iter()
        .map(|item| item.response_to.is_some_and(|response| response.may_respond))
        .collect();
    let expected_types: Vec<Option<i16>> = items
        .iter()
        .map(|item| {
            item.response_to?
                .expected_type
                .and_then(|kind| i16::try_from(i32::from(kind)).ok())
        })
        .collect();
    sqlx::query_as!(
        Row,
        r#"
        select ord as "ord!", outcome as "outcome!", message_id, sequence, create_time, until, clock_timestamp() as "now!"
        from messages.send_few($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        "#,
        &columns.chat_ids,
        &columns.caller_ids,
        &methods,
        &columns.request_ids,
        &columns.request_hashes,
        &columns.message_ids,
        &columns.bodies,
        &columns.metadatas as &[Option<String>],
        &columns.reply_tos as &[Option<Uuid>],
        &attachments as &[Option<String>],
        &response_tos as &[Option<Uuid>],
        &may_respond,
        &expected_types as &[Option<i16>],
        wait,
    )
    .fetch_all(connection)
    .await
}

/// An array in Postgres' text form.
fn attachments(item: &Item) -> Option<String> {
    let ids: Vec<String> = item.attachment_ids.iter().map(ToString::to_string).collect();
    (!ids.is_empty()).then(|| format!("{{{}}}", ids.join(",")))
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Row, outcomes};

    fn row(ord: i32, outcome: i16) -> Row {
        let now = time::OffsetDateTime::UNIX_EPOCH;
        Row {
            ord,
            outcome,
            message_id: None,
            sequence: None,
            create_time: None,
            until: None,
            now,
        }
    }

    #[test]
    fn outcomes_come_in_the_order_of_the_items() {
        let found = outcomes(3, vec![row(3, 4), row(1, 2), row(2, 5)]);
        assert_eq!(
            found.ok(),
            Some(vec![Outcome::RequestIdReused, Outcome::Archived, Outcome::Deferred])
        );
    }

    #[test]
    fn an_answer_that_is_not_understood_is_an_unknown_outcome() {
        assert!(outcomes(1, vec![row(1, 99)]).is_err());
        assert!(outcomes(2, vec![row(1, 4)]).is_err());
        assert!(
            outcomes(1, vec![row(1, 0)]).is_err(),
            "stored, but without its sequence"
        );
    }
}
