use std::time::Duration;

use crate::world::{Actor, World, until};

#[tokio::test]
async fn old_entries_end_behind_floors_and_messages_stay() {
    let world = World::begin_with(|config| config.sweep_interval = Duration::from_millis(50)).await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let other = world.conversation(&[&alice]).await;
    for number in 0..5 {
        alice.send(&chat.id, &number.to_string()).await.expect("sent");
    }
    let kept = (world.changes(&other.id).await, world.user_changes(&bob).await);
    for sql in [
        "update messages.changes set create_time = now() - interval '31 days' where chat_id = $1::uuid and position <= 6",
        "update messages.user_changes set create_time = now() - interval '31 days' where user_id = $1::uuid",
    ] {
        let id = if sql.contains("user_changes") {
            &alice.id
        } else {
            &chat.id
        };
        sqlx::query(sql).bind(id).execute(&world.pool()).await.expect("aged");
    }
    until("the sweep", async || {
        world.changes(&chat.id).await.len() == 2 && world.user_changes(&alice).await.is_empty()
    })
    .await;
    let floors: (i64, i64, i64, i64) = sqlx::query_as(
        "select c.first_position, c.last_position, l.first_position, l.last_position
         from messages.chats c, messages.user_logs l
         where c.chat_id = $1::uuid and l.user_id = $2::uuid",
    )
    .bind(&chat.id)
    .bind(&alice.id)
    .fetch_one(&world.pool())
    .await
    .expect("rows");
    assert_eq!(floors, (7, 8, 3, 2));
    assert_eq!(alice.texts(&chat.id).await.expect("seen").len(), 5);
    assert_eq!((world.changes(&other.id).await, world.user_changes(&bob).await), kept);
    assert_eq!(alice.send(&chat.id, "next").await.expect("sent").sequence, 6);
    assert_eq!(world.changes(&chat.id).await.last().map(|change| change.0), Some(9));
}

#[tokio::test]
async fn a_log_that_somebody_writes_does_not_hold_up_the_others() {
    let world = World::begin_with(|config| config.sweep_interval = Duration::from_millis(50)).await;
    let alice = world.user();
    let [held, free] = [world.conversation(&[&alice]).await, world.conversation(&[&alice]).await];
    let pool = world.pool();
    let mut writer = pool.begin().await.expect("a transaction");
    sqlx::query("select 1 from messages.chats where chat_id = $1::uuid for update")
        .bind(&held.id)
        .execute(&mut *writer)
        .await
        .expect("held");
    sqlx::query("update messages.changes set create_time = now() - interval '31 days'")
        .execute(&pool)
        .await
        .expect("aged");
    until("the sweep", async || world.changes(&free.id).await.is_empty()).await;
    assert!(!world.changes(&held.id).await.is_empty());
    writer.rollback().await.expect("let go");
    until("the sweep", async || world.changes(&held.id).await.is_empty()).await;
}

#[tokio::test]
async fn a_backlog_ends_in_portions() {
    let world = World::begin_with(|config| config.sweep_interval = Duration::from_millis(50)).await;
    let [alice, bob] = [world.user(), world.user()];
    let [long, other] = [world.conversation(&[&alice]).await, world.conversation(&[&bob]).await];
    let kept = world.changes(&other.id).await;
    let mut writer = world.pool().begin().await.expect("a transaction");
    for sql in [
        "update messages.changes set create_time = now() - interval '31 days' where chat_id = $1::uuid",
        "insert into messages.changes (chat_id, position, kind, actor_id, create_time)
         select chat_id, last_position + n, 14, audience_id, now() - interval '31 days'
         from messages.chats, generate_series(1, 5000) n
         where chat_id = $1::uuid",
        "update messages.chats set last_position = last_position + 5000 where chat_id = $1::uuid",
    ] {
        sqlx::query(sql)
            .bind(&long.id)
            .execute(&mut *writer)
            .await
            .expect("written");
    }
    writer.commit().await.expect("aged");
    until("the sweep", async || world.changes(&long.id).await.is_empty()).await;
    let is_at_its_end: bool =
        sqlx::query_scalar("select first_position = last_position + 1 from messages.chats where chat_id = $1::uuid")
            .bind(&long.id)
            .fetch_one(&world.pool())
            .await
            .expect("a row");
    assert!(is_at_its_end);
    assert_eq!(world.changes(&other.id).await, kept);
}

/// The request ids that are remembered of a chat.
async fn remembered(world: &World, chat_id: &str) -> Vec<String> {
    sqlx::query_scalar(
        "select request_id::text from messages.requests where chat_id = $1::uuid order by create_time, request_id",
    )
    .bind(chat_id)
    .fetch_all(&world.pool())
    .await
    .expect("rows")
}

/// Makes what is remembered of a chat older.
async fn age_requests(world: &World, chat_id: &str, days: i32) {
    sqlx::query(
        "update messages.requests set create_time = create_time - make_interval(days => $2) where chat_id = $1::uuid",
    )
    .bind(chat_id)
    .bind(days)
    .execute(&world.pool())
    .await
    .expect("aged");
}

#[tokio::test]
async fn requests_are_forgotten_after_eight_days_wherever_they_lie() {
    let world = World::begin().await;
    let alice = world.user();
    let [old, young, held] = [
        world.conversation(&[&alice]).await,
        world.conversation(&[&alice]).await,
        world.conversation(&[&alice]).await,
    ];
    let pool = world.pool();
    let fill = async |chat_id: &str, count: i32| {
        let sql = "
            insert into messages.requests (chat_id, caller_id, method, request_id, request_hash, outcome_id, create_time)
            select $1::uuid, $2::uuid, 3, gen_random_uuid(), 0, gen_random_uuid(), now() from generate_series(1, $3)";
        let insert = sqlx::query(sql).bind(chat_id).bind(&alice.id).bind(count);
        insert.execute(&pool).await.expect("filled");
    };
    let send = async |actor: &Actor, chat_id: &str| {
        let message = actor.message(chat_id, "words");
        actor.send_as(message.clone()).await.expect("sent");
        message.request_id
    };
    // More than the blocks and the rows of one statement, and old ones behind young ones.
    fill(&young.id, 6_000).await;
    send(&alice, &held.id).await;
    fill(&old.id, 12_000).await;
    age_requests(&world, &old.id, 9).await;
    age_requests(&world, &held.id, 9).await;
    age_requests(&world, &young.id, 7).await;
    let last = send(&alice, &old.id).await;
    let kept = remembered(&world, &young.id).await;
    let mut holder = pool.begin().await.expect("a transaction");
    sqlx::query("select from messages.requests where chat_id = $1::uuid for update")
        .bind(&held.id)
        .execute(&mut *holder)
        .await
        .expect("held");

    // A process that begins walks at once.
    let sweeper = || world.elsewhere_with(&alice, |config| config.sweep_interval = Duration::from_millis(50));
    let _first = sweeper();
    until("the walk", async || remembered(&world, &old.id).await == [last.clone()]).await;
    assert_eq!(remembered(&world, &young.id).await, kept);
    assert_eq!(remembered(&world, &held.id).await.len(), 1, "nobody waits for it");
    holder.rollback().await.expect("let go");
    let _second = sweeper();
    until("the next walk", async || remembered(&world, &held.id).await.is_empty()).await;
    assert_eq!(remembered(&world, &young.id).await, kept);
}
