use std::{fs, path::Path};

use serde_json::Value;
use sqlx::{AssertSqlSafe, postgres::PgArguments};
use tidings_db::Pool;

/// Rows of which a table may have so many and still be read from end to end: one or two pages.
const FEW: f64 = 100.0;

/// What a query reads of tables, by the plan that Postgres has made and carried out for it.
#[derive(Debug, Default)]
pub struct Reads {
    /// Rows that were looked at, those among them that were of no use.
    pub rows: f64,
    /// Tables (partitions) that were read from end to end, without those of a few rows, which are read so by right.
    pub whole_tables: Vec<String>,
}

impl Reads {
    /// Carries out the one checked query of a service in which all these words stand, in this order. `service` is the folder of the
    /// crate, whose `.sqlx` has the queries as they are compiled.
    ///
    /// # Panics
    ///
    /// When there is no such query, or more than one, or Postgres refuses it.
    pub async fn of(pool: &Pool, service: &str, words: &[&str], arguments: PgArguments) -> Self {
        let query = find(Path::new(service), words);
        let sql = format!("explain (analyze, timing off, format json) {query}");
        let plan: Value = sqlx::query_scalar_with(AssertSqlSafe(sql), arguments)
            .fetch_one(pool)
            .await
            .expect("explained");
        let mut reads = Self::default();
        reads.add(&plan[0]["Plan"]);
        reads
    }

    fn add(&mut self, node: &Value) {
        if let Some(table) = node["Relation Name"].as_str() {
            let number = |name: &str| node[name].as_f64().unwrap_or_default();
            let looked_at =
                number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
            self.rows += looked_at * number("Actual Loops");
            if node["Node Type"] == "Seq Scan" && looked_at > FEW {
                self.whole_tables.push(table.to_owned());
            }
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.add(child);
        }
    }
}

fn find(service: &Path, words: &[&str]) -> String {
    let files = fs::read_dir(service.join(".sqlx")).expect("a folder of queries");
    let queries = files.map(|file| {
        let text = fs::read_to_string(file.expect("a file").path()).expect("readable");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        json["query"].as_str().expect("a query").to_owned()
    });
    let mut found: Vec<String> = queries.filter(|query| in_order(query, words)).collect();
    assert_eq!(found.len(), 1, "queries with {words:?}");
    found.remove(0)
}

fn in_order(query: &str, words: &[&str]) -> bool {
    let mut rest = query;
    words.iter().all(|word| match rest.split_once(word) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}
