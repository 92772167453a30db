//! Texts that would be SQL if anything were put into a statement as text (A45): no string of any RPC, by whatever name, is ever
//! read as a part of one.
//!
//! Each text is a way out of where a text stands, and what is to be done there. Every field gets each way out and each deed, and over
//! the fields of the suite all pairs come. A statement that took one would fail, and the server would call that a defect; or it
//! would leave what the deeds leave.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt as _, stream};
use prost_reflect::{Kind as Type, MapKey, Value};
use sqlx::{AssertSqlSafe, Row as _};
use tidings_db::Pool;
use tidings_testkit::{Method, Process, Shape, Suite, assert_contract};

use crate::{
    bad_inputs::{Field, Stage, public_methods, spoilt},
    matrix::cast::Cast,
};

/// RPCs that are played at once.
const AT_ONCE: usize = 8;

/// Ways out of a place in a statement.
const OUT: [&str; 14] = [
    "'", "\"", "')", "'))", "x'", "\\'", "%'", "$$", "}'", "]'", "''", "'::text", "1", "1)",
];

/// What is to be done there. Whatever is carried out fails, or leaves something.
const DEEDS: [&str; 15] = [
    " or 1=(select 1/0) --",
    " and 1=(select 1/0) and 'a'='a",
    "; create table injected(); --",
    "; create schema injected; --",
    "; drop table messages.messages cascade; --",
    "; update users.users set display_name = 'injected'; --",
    " union select null, null, null --",
    " union all select 1/0 --",
    " || (select 1/0)::text || '",
    "; select pg_terminate_backend(pg_backend_pid()) --",
    "; copy (select 1) to program 'touch /tmp/injected' --",
    " order by 1/0 --",
    " limit (select 1/0) --",
    "; commit; create table injected(); --",
    " /* not closed",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_is_read_as_a_part_of_a_statement() {
    let suite = Suite::start_with(Shape::One, &[("TIDINGS_STREAMS_PER_USER_MAX", "10000")]).await;
    let cast = Cast::gather(&suite).await;
    let pool = suite.database().pool();
    let before = catalogue(&pool).await;
    let methods = public_methods();
    let (calls, fields) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let played = stream::iter(&methods).map(|method| one(&cast, method, &fields, &calls));
    let mut findings: Vec<String> = played.buffer_unordered(AT_ONCE).concat().await;
    let (fields, calls) = (fields.into_inner(), calls.into_inner());
    println!("{calls} calls with texts in {fields} fields");
    assert!(fields > 150 && calls > 2_000, "only {calls} calls with {fields} fields");
    if catalogue(&pool).await != before {
        findings.push("the tables are others".to_owned());
    }
    let renamed = "select count(*) as count from users.users where display_name = 'injected'";
    let renamed = sqlx::query(renamed).fetch_one(&pool).await.expect("counts");
    if renamed.get::<i64, _>("count") != 0 {
        findings.push("users have other names".to_owned());
    }
    let log = fs::read_to_string(suite.log_of(Process::All)).expect("the suite writes a log");
    let defects = log.lines().filter(|line| line.contains(r#""level":"ERROR""#));
    findings.extend(defects.take(20).map(|line| format!("the log has: {line}")));
    assert!(findings.is_empty(), "{} findings: {findings:#?}", findings.len());
}

/// Sends the texts in each field of strings that the RPC has.
async fn one(cast: &Cast, method: &Method, fields: &AtomicUsize, calls: &AtomicUsize) -> Vec<String> {
    let mut findings = Vec::new();
    let mut stage = Stage::set(cast, method).await;
    for field in Field::all(method) {
        if written(&field, "").is_none() {
            continue;
        }
        let turn = fields.fetch_add(1, Ordering::Relaxed);
        for text in texts(turn) {
            let value = written(&field, &text).expect("a field of strings");
            let request = spoilt(&stage.request(), &field, &value);
            calls.fetch_add(1, Ordering::Relaxed);
            let Err(status) = stage.call(cast, request).await else {
                continue;
            };
            let name = method.full_name();
            // The contract's own check says what is wrong by a panic, since most tests end there.
            if catch_unwind(AssertUnwindSafe(|| assert_contract(&status))).is_err() {
                findings.push(format!("{name} {} = {text:?}: {status:?}", field.path()));
            }
        }
    }
    findings
}

/// Each way out once and each deed once; in another turn other pairs.
fn texts(turn: usize) -> impl Iterator<Item = String> {
    let pairs = DEEDS.iter().enumerate();
    pairs.map(move |(number, deed)| format!("{}{deed}", OUT[(number + turn) % OUT.len()]))
}

/// The text as a value of this field, in whose place strings can stand.
fn written(field: &Field, text: &str) -> Option<Value> {
    let descriptor = field.descriptor();
    let value = Value::String(text.to_owned());
    if descriptor.is_map() {
        return Some(Value::Map([(MapKey::String(text.to_owned()), value)].into()));
    }
    match descriptor.kind() {
        Type::String if descriptor.is_list() => Some(Value::List(vec![value])),
        Type::String => Some(value),
        _ => None,
    }
}

/// All tables, schemas and functions that there are.
async fn catalogue(pool: &Pool) -> Vec<String> {
    let names = sqlx::query(
        "select relname::text as name from pg_class where relkind in ('r', 'p', 'v') \
         union all select nspname::text from pg_namespace where nspname not like 'pg\\_%' \
         union all select proname::text from pg_proc order by 1",
    );
    let names = names.fetch_all(pool).await.expect("the catalogue can be read");
    names.iter().map(|row| row.get("name")).collect()
}

/// The texts are tested too: where they are put into a statement as text, that is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_put_together_from_texts_is_found() {
    let database = tidings_db::testing::Database::create(&[]).await;
    let pool = database.pool();
    let fails = async |statement: String| sqlx::query(AssertSqlSafe(statement)).fetch_all(&pool).await.is_err();
    for deed in DEEDS {
        // What follows "or" counts where the rest is false, what follows "and" where it is true.
        let noticed = fails(format!("select 1 where 'a' = ''{deed}'")).await
            || fails(format!("select 1 where 'a' >= ''{deed}'")).await;
        assert!(noticed, "{deed} after a text");
        assert!(
            fails(format!("select 1 where 1 = 1{deed}")).await || fails(format!("select 1 where 1 = 2{deed}")).await,
            "{deed} after a number"
        );
    }
    for out in ["'", "')", "'))", "x'", "%'", "}'", "]'", "'::text"] {
        assert!(
            OUT.contains(&out) && fails(format!("select 1 where 'a' like '{out}%'")).await,
            "{out}"
        );
    }
}
