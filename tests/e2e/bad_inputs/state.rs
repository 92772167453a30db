use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, Row as _};
use tidings_db::Pool;
use tidings_testkit::until_some;

use crate::rest::somebody_works;

/// Tables that change by themselves, or by a refused call with good reason.
const RESTLESS: [&str; 4] = [
    "auth.throttles",
    "auth.proof_failures",
    // How far a service has followed the states of users.
    "auth.followed_feeds",
    "chats.user_feed",
];

/// The suite is at rest within this.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// What is stored: of each table how many rows, and a sum over them.
#[derive(Debug, PartialEq, Eq)]
pub struct State(BTreeMap<String, (i64, String)>);

impl State {
    /// Looks at all tables of the suite.
    pub async fn of(pool: &Pool) -> Self {
        let names = sqlx::query(
            "select c.oid::regclass::text as name from pg_class c \
             where c.relnamespace::regnamespace::text in ('auth', 'users', 'chats', 'messages') \
             and c.relkind in ('r', 'p') and not c.relispartition",
        );
        let names = names.fetch_all(pool).await.expect("the catalogue can be read");
        let mut tables = BTreeMap::new();
        for name in names.iter().map(|row| row.get::<String, _>("name")) {
            // A refusal that matters is in the trail.
            if RESTLESS.contains(&name.as_str()) || name.contains(".audit_") {
                continue;
            }
            let sum = "coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric), 0)::text";
            let sql = format!("select count(*) as count, {sum} as sum from {name} t");
            let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(pool).await;
            let row = row.unwrap_or_else(|error| panic!("{name}: {error}"));
            tables.insert(name, (row.get("count"), row.get("sum")));
        }
        assert!(tables.len() > 20, "the suite has more tables than {tables:?}");
        Self(tables)
    }

    /// The same once nobody works and two looks have found the same: what follows from the scene comes by and by.
    pub async fn at_rest(pool: &Pool) -> Self {
        let last = Mutex::new(None);
        until_some("the suite is at rest", REST_LIMIT, || async {
            // In this order: who has just finished has left what it did before the tables are looked at.
            let works = somebody_works(pool).await;
            let now = Self::of(pool).await;
            let rests = !works && last.lock().as_ref() == Some(&now);
            let before = last.lock().replace(now);
            before.filter(|_| rests)
        })
        .await
    }

    /// The tables that are not as they were.
    pub fn changes(&self, before: &Self) -> Vec<String> {
        let tables = self.0.iter().filter(|(name, state)| before.0.get(*name) != Some(state));
        let lines = tables.map(|(name, state)| {
            let rows = before.0.get(name).map_or(0, |(count, _)| *count);
            format!("{name} has changed: {rows} rows before, {} now", state.0)
        });
        lines.collect()
    }
}
