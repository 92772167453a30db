use std::time::Duration;

use crate::world::{World, until};

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
