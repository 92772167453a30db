use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::PgConnection;
use tidings_db::{DatabaseCause, Error, Pool, Schema, connect_dedicated, transaction};
use tokio::sync::{Barrier, Notify};

use crate::world;

/// Conditions are waited for so long: shorter than Postgres leaves a transaction open that nobody goes on with.
const LIMIT: Duration = Duration::from_secs(30);

async fn insert(connection: &mut PgConnection, id: i32) -> Result<(), Error> {
    sqlx::query("insert into chats.things (id, size) values ($1, 0)")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

async fn grow(connection: &mut PgConnection, id: i32) -> Result<(), Error> {
    sqlx::query("update chats.things set size = size + 1 where id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

async fn count(pool: &Pool) -> i64 {
    sqlx::query_scalar("select count(*) from chats.things")
        .fetch_one(pool)
        .await
        .unwrap()
}

/// What a service's own error looks like.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no")]
    No,
    #[error(transparent)]
    Database(#[from] Error),
}

impl DatabaseCause for Refusal {
    fn database_cause(&self) -> Option<&Error> {
        match self {
            Self::No => None,
            Self::Database(error) => Some(error),
        }
    }
}

#[tokio::test]
async fn what_returns_ok_is_stored() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    // In a spawned task, with borrowed values: as handlers use it.
    let stored = tokio::spawn(async move {
        let ids = vec![1, 2];
        let ids = &ids;
        transaction!(&pool, |tx| {
            for id in ids {
                insert(tx, *id).await?;
            }
            Ok::<_, Error>(ids.len())
        })
    });
    assert_eq!(stored.await.unwrap().unwrap(), 2);
    assert_eq!(count(&db.pool()).await, 2);
}

#[tokio::test]
async fn what_returns_an_error_is_rolled_back() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let refused = transaction!(&pool, |tx| {
        insert(tx, 1).await?;
        Err::<(), _>(Refusal::No)
    });
    assert!(matches!(refused, Err(Refusal::No)));
    assert_eq!(count(&pool).await, 0);
}

#[tokio::test]
async fn an_ok_after_a_swallowed_error_is_not_believed() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let outcome = transaction!(&pool, |tx| {
        insert(tx, 1).await?;
        let _ = insert(tx, 1).await;
        Ok::<_, Error>(())
    });
    assert!(matches!(outcome, Err(Error::Bug(_))));
    assert_eq!(count(&pool).await, 0);
}

#[tokio::test]
async fn a_deadlock_is_tried_again_and_both_succeed() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    transaction!(&pool, |tx| {
        insert(tx, 1).await?;
        insert(tx, 2).await
    })
    .unwrap();

    let (attempts, both_hold_one) = (Arc::new(AtomicU32::new(0)), Arc::new(Barrier::new(2)));
    let one_is_done = Arc::new(Notify::new());
    let crossing = |first: i32, second: i32| {
        let (pool, attempts, both_hold_one) = (pool.clone(), Arc::clone(&attempts), Arc::clone(&both_hold_one));
        let one_is_done = Arc::clone(&one_is_done);
        tokio::spawn(async move {
            let mut tries = 0;
            let outcome = transaction!(&pool, |tx| {
                tries += 1;
                attempts.fetch_add(1, Ordering::Relaxed);
                if tries == 2 {
                    // Otherwise it could take its first row again before the other is woken to take it, and both would cross once more.
                    one_is_done.notified().await;
                }
                grow(tx, first).await?;
                if tries == 1 {
                    both_hold_one.wait().await;
                }
                grow(tx, second).await
            });
            one_is_done.notify_one();
            outcome
        })
    };
    let (one, other) = (crossing(1, 2), crossing(2, 1));
    one.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
    let size: i64 = sqlx::query_scalar("select sum(size) from chats.things")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(size, 4);
}

#[tokio::test]
async fn a_conflict_that_stays_is_told_after_three_attempts() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let mut attempts = 0;
    let outcome = transaction!(&pool, |tx| {
        attempts += 1;
        sqlx::query("do $$ begin raise exception 'no' using errcode = '40001'; end $$")
            .execute(&mut *tx)
            .await
            .map_err(Error::from)?;
        Ok::<_, Refusal>(())
    });
    assert!(matches!(outcome, Err(Refusal::Database(Error::Conflict(_)))));
    assert_eq!(attempts, 3);
}

#[tokio::test]
async fn a_lock_that_is_not_obtained_is_a_conflict_at_once() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let mut other = pool.begin().await.unwrap();
    insert(&mut other, 1).await.unwrap();
    let mut attempts = 0;
    let outcome = transaction!(&pool, |tx| {
        attempts += 1;
        sqlx::query("set local lock_timeout = '50ms'")
            .execute(&mut *tx)
            .await
            .map_err(Error::from)?;
        insert(tx, 1).await
    });
    assert!(matches!(outcome, Err(Error::Conflict(_))));
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_commit_is_unavailable() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let outcome = transaction!(&pool, |tx| {
        insert(tx, 1).await?;
        cut(&db, backend(tx).await).await;
        insert(tx, 2).await
    });
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert_eq!(count(&pool).await, 0);
}

#[tokio::test]
async fn a_connection_that_breaks_during_the_commit_leaves_the_outcome_unknown() {
    let db = world::database().await;
    // A deferred constraint trigger sleeps inside COMMIT, which is when the connection is cut.
    sqlx::raw_sql(
        "create function chats.slow() returns trigger language plpgsql as
             $$ begin perform pg_sleep(60); return null; end $$;
         create constraint trigger slow after insert on chats.things deferrable initially deferred
             for each row execute function chats.slow();",
    )
    .execute(&db.pool())
    .await
    .unwrap();
    let pool = db.pool_as(Schema::Chats);
    let mut pid = 0;
    let outcome = transaction!(&pool, |tx| {
        insert(tx, 1).await?;
        pid = backend(tx).await;
        let settings = db.settings();
        tokio::spawn(async move {
            let mut outside = connect_dedicated(&settings, &[]).await.unwrap();
            wait_for_commit(&mut outside, pid).await;
            terminate(&mut outside, pid).await;
        });
        Ok::<_, Error>(())
    });
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::CommitUnknown(_)), "{error:?}");
    assert!(!error.is_certainly_not_applied());
    pool.ping().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_is_refused_is_known_to_be_refused() {
    let db = world::database().await;
    sqlx::raw_sql("alter table chats.things alter constraint things_parent_fkey deferrable initially deferred")
        .execute(&db.pool())
        .await
        .unwrap();
    let pool = db.pool_as(Schema::Chats);
    let outcome = transaction!(&pool, |tx| {
        sqlx::query("insert into chats.things (id, size, parent) values (1, 0, 9)")
            .execute(&mut *tx)
            .await?;
        Ok::<_, Error>(())
    });
    assert_eq!(outcome.unwrap_err().constraint(), Some("things_parent_fkey"));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_anywhere_leaves_no_connection_inside_it() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    for micros in (0..3_000).step_by(50) {
        let dropped = async { transaction!(&pool, |tx| { insert(tx, 1).await }) };
        let _ = tokio::time::timeout(Duration::from_micros(micros), dropped).await;
        sqlx::query("delete from chats.things").execute(&pool).await.unwrap();
    }
    let mut outside = connect_dedicated(&db.settings(), &[]).await.unwrap();
    // The last connections that were dropped are being closed yet, and Postgres is about to notice.
    let limit = Instant::now() + LIMIT;
    loop {
        let open: i64 = sqlx::query_scalar(
            "select count(*)
             from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid() and state like 'idle in transaction%'",
        )
        .fetch_one(&mut outside)
        .await
        .unwrap();
        let (idle, size) = (pool.num_idle(), usize::try_from(pool.size()).unwrap());
        if open == 0 && idle == size {
            return;
        }
        let left = format!("{open} are in a transaction, and {idle} of {size} connections given back");
        assert!(Instant::now() < limit, "{left}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn backend(connection: &mut PgConnection) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(connection)
        .await
        .unwrap()
}

async fn terminate(outside: &mut PgConnection, pid: i32) {
    sqlx::query("select pg_terminate_backend($1)")
        .bind(pid)
        .execute(outside)
        .await
        .unwrap();
}

async fn cut(db: &tidings_db::testing::Database, pid: i32) {
    let mut outside = connect_dedicated(&db.settings(), &[]).await.unwrap();
    terminate(&mut outside, pid).await;
}

async fn wait_for_commit(outside: &mut PgConnection, pid: i32) {
    let limit = Instant::now() + LIMIT;
    while Instant::now() < limit {
        let query: String = sqlx::query_scalar("select query from pg_stat_activity where pid = $1")
            .bind(pid)
            .fetch_one(&mut *outside)
            .await
            .unwrap();
        if query.eq_ignore_ascii_case("commit") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no COMMIT was seen");
}
