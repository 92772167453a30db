//! What a call does to the tables of all services, so that a half of it can be told from the whole.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sqlx::AssertSqlSafe;
use tidings_db::Pool;
use tidings_testkit::{until, until_some};

use crate::rest::somebody_works;

/// What was begun is done, and nothing moves any more, within this.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// A transaction that stands still for this long was left (C20).
const LEFT_AFTER: &str = "1 second";

/// A moment later nobody may be in a transaction that was left.
const LEFT_LIMIT: Duration = Duration::from_secs(3);

/// Tables that do not tell one call's effect: queues, which are emptied by and by, and whose effect is counted where it arrives;
/// counters, which get a row for whoever is counted first and never another; and what one service remembers of another's feed,
/// which comes by and by.
const NOT_COUNTED: [&str; 7] = [
    "auth.mails",
    "chats.outbox",
    "auth.feeds",
    "users.feeds",
    "chats.creators",
    "chats.user_pairs",
    "messages.user_logs",
];

/// Where the audit trail's sealer works, behind all calls: it numbers the events, which are counted where a call's transaction
/// stores them.
const SEALERS: [&str; 4] = [".audit_pending", ".audit_chain", ".audit_heads", ".audit_sealer"];

/// What is in a table: its rows, and the sum of their revisions where they have some.
type Content = (i64, i64);

/// What differs between two moments, by table.
pub type Effect = BTreeMap<String, Content>;

/// The tables of all services.
pub struct Tables {
    pool: Pool,
    names: Vec<String>,
    count: String,
}

impl Tables {
    /// Those of this database.
    pub async fn of(pool: Pool) -> Self {
        let found: Vec<(String, bool)> = sqlx::query_as(
            "select format('%I.%I', n.nspname, c.relname), \
                    exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'revision') \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where n.nspname in ('auth', 'users', 'chats', 'messages') and c.relkind in ('r', 'p') \
               and not c.relispartition and c.relname not like '\\_%' \
             order by 1",
        )
        .fetch_all(&pool)
        .await
        .expect("the catalogue can be read");
        let counts: Vec<String> = found
            .iter()
            .filter(|(name, _)| !NOT_COUNTED.contains(&name.as_str()) && !is_sealers(name))
            .map(|(name, has_revision)| {
                let revisions = if *has_revision {
                    "coalesce(sum(revision), 0)::bigint"
                } else {
                    "0::bigint"
                };
                format!("select '{name}', count(*), {revisions} from {name}")
            })
            .collect();
        Self {
            pool,
            names: found
                .into_iter()
                .map(|(name, _)| name)
                .filter(|name| can_be_held(name))
                .collect(),
            count: counts.join(" union all "),
        }
    }

    /// The names of those that a test may hold. While an event is held, the sealer would wait for it, and look like a call that
    /// does.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What is in them, once nothing moves.
    pub async fn settled(&self) -> Effect {
        let last = Mutex::new(BTreeMap::new());
        until_some("the services are at rest", SETTLE_LIMIT, || async {
            // In this order: who has just finished has left what it did before the tables are counted.
            let works = somebody_works(&self.pool).await;
            let now = self.content().await;
            let rests = *last.lock() == now && !works;
            *last.lock() = now.clone();
            rests.then_some(now)
        })
        .await
    }

    /// What has changed since, once it is one of these, or when patience is over.
    pub async fn since(&self, before: &Effect, expected: &[&Effect], patience: Duration) -> Effect {
        let begun = Instant::now();
        loop {
            let effect = difference(before, &self.settled().await);
            if expected.contains(&&effect) || begun.elapsed() >= patience {
                return effect;
            }
        }
    }

    async fn content(&self) -> Effect {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(AssertSqlSafe(self.count.clone()))
            .fetch_all(&self.pool)
            .await
            .expect("the tables can be counted");
        rows.into_iter()
            .map(|(name, rows, revisions)| (name, (rows, revisions)))
            .collect()
    }

    /// Waits until no connection stands still inside of a transaction.
    pub async fn nobody_left_in_a_transaction(&self) {
        until("no connection was left in a transaction", LEFT_LIMIT, || async {
            left_in_a_transaction(&self.pool, LEFT_AFTER).await == 0
        })
        .await;
    }
}

/// How many connections have stood still inside of a transaction for so long.
pub async fn left_in_a_transaction(pool: &Pool, still_for: &str) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() \
         and state like 'idle in transaction%' and state_change < clock_timestamp() - $1::text::interval",
    )
    .bind(still_for)
    .fetch_one(pool)
    .await
    .expect("the activity can be read")
}

fn is_sealers(table: &str) -> bool {
    SEALERS.iter().any(|name| table.ends_with(name))
}

/// Whether nobody but calls waits for this table while it is held.
pub fn can_be_held(table: &str) -> bool {
    !is_sealers(table) && !table.ends_with(".audit_events") && !["chats.user_pairs", "auth.mails"].contains(&table)
}

/// What there is more now, by table; tables that are as they were are left out.
pub fn difference(before: &Effect, now: &Effect) -> Effect {
    now.iter()
        .map(|(name, (rows, revisions))| {
            let (rows_before, revisions_before) = before.get(name).copied().unwrap_or_default();
            (name.clone(), (rows - rows_before, revisions - revisions_before))
        })
        .filter(|(_, change)| *change != (0, 0))
        .collect()
}

/// The effect of two such calls.
pub fn twice(effect: &Effect) -> Effect {
    let doubled = |(name, (rows, revisions)): (&String, &Content)| (name.clone(), (rows * 2, revisions * 2));
    effect.iter().map(doubled).collect()
}
