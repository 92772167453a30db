use std::time::{Duration, Instant};

use sqlx::{Postgres, Row as _, pool::PoolConnection};
use tidings_db::{Error, Pool, Schema, Settings, connect, connect_dedicated, durability, testing::Database};
use tidings_ids::Source;

#[tokio::test]
async fn a_session_has_the_settings() {
    let db = Database::create(&[]).await;
    let settings = Settings::new(db.url(), Schema::Messages, "tidings-test");
    let row = sqlx::query(
        "select current_setting('TimeZone'), current_setting('statement_timeout'), current_setting('lock_timeout'),
                current_setting('idle_in_transaction_session_timeout'), current_setting('application_name'), current_user::text,
                current_setting('transaction_isolation')",
    )
    .fetch_one(&connect(&settings, &Source::seeded(1)).unwrap())
    .await
    .unwrap();
    let got: Vec<String> = (0..7).map(|column| row.get(column)).collect();
    assert_eq!(
        got,
        [
            "UTC",
            "5s",
            "2s",
            "5s",
            "tidings-test",
            "tidings_message",
            "read committed"
        ]
    );
}

#[tokio::test]
async fn a_dedicated_connection_takes_settings_of_its_own() {
    let db = Database::create(&[]).await;
    let session = [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off")];
    let mut connection = connect_dedicated(&db.settings(), &session).await.unwrap();
    let mode: String = sqlx::query_scalar("select current_setting('plan_cache_mode')")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(mode, "force_generic_plan");
}

#[tokio::test]
async fn a_service_starts_while_postgres_is_away() {
    // Port 1 refuses.
    let settings = Settings::new("postgres://nobody@127.0.0.1:1/none".to_owned(), Schema::Chats, "test");
    let pool = connect(&settings, &Source::seeded(1)).unwrap();
    let error = pool.ping().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");

    let error = connect_dedicated(&settings, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_pool_that_is_used_up_says_overloaded() {
    let db = Database::create(&[]).await;
    let settings = Settings {
        max_connections: 2,
        acquire_timeout: Settings::ACQUIRE_TIMEOUT_MAX,
        ..db.settings()
    };
    let pool = connect(&settings, &Source::seeded(1)).unwrap();
    // Both are made before anybody waits, however long that takes.
    let (_one, two) = (acquired(&pool).await, acquired(&pool).await);
    drop(two);
    // Another comes and goes while we wait, so that the pool is busy and not cut off.
    let busy = pool.clone();
    let coming_and_going = tokio::spawn(async move {
        loop {
            let _two = busy.acquire().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let pool = pool.clone();
        waiting.push(tokio::spawn(async move {
            sqlx::query("select pg_sleep(0.1)").execute(&pool).await
        }));
    }
    let mut refused = 0;
    for outcome in waiting {
        if let Err(error) = outcome.await.unwrap() {
            let error = Error::from(error);
            assert!(matches!(error, Error::Overloaded(_)), "{error:?}");
            refused += 1;
        }
    }
    coming_and_going.abort();
    assert!(refused > 0);
}

/// A connection, also of a server that is too busy to make one within the pool's time.
async fn acquired(pool: &Pool) -> PoolConnection<Postgres> {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        match pool.acquire().await {
            Ok(connection) => return connection,
            Err(error) => assert!(Instant::now() < limit, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn an_idle_connection_that_was_cut_is_replaced() {
    let db = Database::create(&[]).await;
    let settings = Settings {
        trusted_idle: Duration::ZERO,
        ..db.settings()
    };
    let pool = connect(&settings, &Source::seeded(1)).unwrap();
    pool.ping().await.unwrap();
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    let mut outside = connect_dedicated(&db.settings(), &[]).await.unwrap();
    sqlx::query(cut).execute(&mut outside).await.unwrap();
    pool.ping().await.unwrap();
}

#[tokio::test]
async fn a_query_that_is_dropped_half_way_leaves_nothing_behind() {
    let db = Database::create(&[]).await;
    let settings = Settings {
        max_connections: 1,
        ..db.settings()
    };
    let pool = connect(&settings, &Source::seeded(1)).unwrap();
    for _ in 0..5 {
        let slow = sqlx::query("select pg_sleep(60)").execute(&pool);
        assert!(tokio::time::timeout(Duration::from_millis(20), slow).await.is_err());
        let number: i32 = sqlx::query_scalar("select 7").fetch_one(&pool).await.unwrap();
        assert_eq!(number, 7);
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_timeout() {
    let db = Database::create(&[]).await;
    let settings = Settings {
        statement_timeout: Duration::from_millis(50),
        ..db.settings()
    };
    let pool = connect(&settings, &Source::seeded(1)).unwrap();
    let error = Error::from(sqlx::query("select pg_sleep(2)").execute(&pool).await.unwrap_err());
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn settings_that_lose_data_are_named() {
    let db = Database::create(&[]).await;
    let mut connection = connect_dedicated(&db.settings(), &[("synchronous_commit", "off")])
        .await
        .unwrap();
    let found = durability(&mut connection).await.unwrap();
    assert!(!found.is_durable());
    assert!(found.off().contains(&"synchronous_commit"));

    let mut connection = connect_dedicated(&db.settings(), &[("synchronous_commit", "on")])
        .await
        .unwrap();
    assert!(
        !durability(&mut connection)
            .await
            .unwrap()
            .off()
            .contains(&"synchronous_commit")
    );
}
