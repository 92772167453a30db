use tidings_db::{
    Error, Pool, Schema,
    requests::{self, Claimed, Key, Outcome},
    transaction,
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::world;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn key(request_id: u128) -> Key<'static> {
    Key {
        caller: "alice",
        method: "CreateGroup",
        scope: "",
        request_id: Uuid::from_u128(request_id),
        request_hash: b"content",
    }
}

async fn claim(pool: &Pool, key: &Key<'_>, outcome: &Outcome) -> Claimed {
    transaction!(pool, |tx| {
        requests::claim(tx, Schema::Chats, key, outcome, NOW).await
    })
    .unwrap()
}

#[tokio::test]
async fn the_second_call_gets_the_first_outcome() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let first = Outcome {
        id: Some(Uuid::from_u128(42)),
        data: Some(b"role".to_vec()),
    };

    assert_eq!(
        requests::look_up(&pool, Schema::Chats, &key(1)).await.unwrap(),
        Claimed::Fresh
    );
    assert_eq!(claim(&pool, &key(1), &first).await, Claimed::Fresh);
    assert_eq!(
        claim(&pool, &key(1), &Outcome::id(Uuid::from_u128(43))).await,
        Claimed::Replay(first.clone())
    );
    assert_eq!(
        requests::look_up(&pool, Schema::Chats, &key(1)).await.unwrap(),
        Claimed::Replay(first)
    );
}

#[tokio::test]
async fn other_content_under_the_same_id_is_refused() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let other = Key {
        request_hash: b"other",
        ..key(1)
    };
    claim(&pool, &key(1), &Outcome::default()).await;
    assert_eq!(claim(&pool, &other, &Outcome::default()).await, Claimed::Reused);
    assert_eq!(
        requests::look_up(&pool, Schema::Chats, &other).await.unwrap(),
        Claimed::Reused
    );
}

#[tokio::test]
async fn callers_methods_and_scopes_do_not_meet() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    claim(&pool, &key(1), &Outcome::default()).await;
    for other in [
        Key {
            caller: "bob",
            ..key(1)
        },
        Key {
            method: "DeleteGroup",
            ..key(1)
        },
        Key {
            scope: "chat",
            ..key(1)
        },
        key(2),
    ] {
        assert_eq!(claim(&pool, &other, &Outcome::default()).await, Claimed::Fresh);
    }
}

#[tokio::test]
async fn a_concurrent_duplicate_waits_for_the_first() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    // A service's role does not see what other sessions wait for.
    let owner = db.pool();
    for first_commits in [true, false] {
        let key = key(u128::from(first_commits));
        let first = Outcome::id(Uuid::from_u128(1));
        let mut tx = pool.begin().await.unwrap();
        assert_eq!(
            requests::claim(&mut tx, Schema::Chats, &key, &first, NOW)
                .await
                .unwrap(),
            Claimed::Fresh
        );

        let duplicate = tokio::spawn({
            let pool = pool.clone();
            async move { claim(&pool, &key, &Outcome::id(Uuid::from_u128(2))).await }
        });
        wait_until_blocked(&owner).await;
        assert!(!duplicate.is_finished());
        if first_commits {
            tx.commit().await.unwrap();
            assert_eq!(duplicate.await.unwrap(), Claimed::Replay(first));
        } else {
            tx.rollback().await.unwrap();
            assert_eq!(duplicate.await.unwrap(), Claimed::Fresh);
        }
    }
}

async fn wait_until_blocked(pool: &Pool) {
    let blocked = "select exists (
                       select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
                   )";
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::time::Instant::now() < limit {
        if sqlx::query_scalar(blocked).fetch_one(pool).await.unwrap() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nobody waits");
}

#[tokio::test]
async fn who_came_to_nothing_gives_back_their_own_claim_only() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let (mine, others) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let found = async |request_id| {
        let found = requests::look_up(&pool, Schema::Chats, &key(request_id)).await;
        found.unwrap()
    };
    for request_id in [1, 2] {
        let claimed = claim(&pool, &key(request_id), &Outcome::id(mine)).await;
        assert_eq!(claimed, Claimed::Fresh);
    }
    for (id, left) in [(others, Claimed::Replay(Outcome::id(mine))), (mine, Claimed::Fresh)] {
        requests::release(&pool, Schema::Chats, &key(1), id).await.unwrap();
        assert_eq!(found(1).await, left);
    }
    assert_eq!(found(2).await, Claimed::Replay(Outcome::id(mine)));
}

#[tokio::test]
async fn a_record_goes_with_its_effect() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let failed = transaction!(&pool, |tx| {
        requests::claim(tx, Schema::Chats, &key(1), &Outcome::default(), NOW).await?;
        Err::<(), _>(Error::Bug(sqlx::Error::RowNotFound))
    });
    failed.unwrap_err();
    assert_eq!(
        requests::look_up(&pool, Schema::Chats, &key(1)).await.unwrap(),
        Claimed::Fresh
    );
}

#[tokio::test]
async fn an_outcome_can_be_told_later_in_the_transaction() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    transaction!(&pool, |tx| {
        requests::claim(tx, Schema::Chats, &key(1), &Outcome::default(), NOW).await?;
        requests::set_outcome(tx, Schema::Chats, &key(1), &Outcome::data(*b"7")).await
    })
    .unwrap();
    assert_eq!(
        claim(&pool, &key(1), &Outcome::default()).await,
        Claimed::Replay(Outcome::data(*b"7"))
    );

    let unclaimed = transaction!(&pool, |tx| {
        requests::set_outcome(tx, Schema::Chats, &key(2), &Outcome::default()).await
    });
    assert!(matches!(unclaimed, Err(Error::Bug(_))));
}

#[tokio::test]
async fn records_are_kept_for_seven_days() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    claim(&pool, &key(1), &Outcome::default()).await;
    assert_eq!(
        requests::purge(&pool, Schema::Chats, NOW + requests::KEPT_FOR)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        requests::purge(&pool, Schema::Chats, NOW + requests::KEPT_FOR + Duration::SECOND)
            .await
            .unwrap(),
        1
    );
    assert_eq!(claim(&pool, &key(1), &Outcome::default()).await, Claimed::Fresh);
}
