use tidings_db::{Error, Schema, counter, transaction};

use crate::world;

#[tokio::test]
async fn numbers_have_no_holes_and_no_repeats() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    assert_eq!(counter::last_number(&pool, Schema::Chats, "facts").await.unwrap(), 0);

    let mut tasks = Vec::new();
    for n in 0..40 {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            transaction!(&pool, |tx| {
                let number = counter::next_number(tx, Schema::Chats, "facts").await?;
                // Every fourth fails, and gives its number back.
                if n % 4 == 0 {
                    Err(Error::Bug(sqlx::Error::RowNotFound))
                } else {
                    Ok(number)
                }
            })
        }));
    }
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.extend(task.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=30).collect::<Vec<i64>>());
    assert_eq!(counter::last_number(&pool, Schema::Chats, "facts").await.unwrap(), 30);
}

#[tokio::test]
async fn a_block_of_numbers_is_told_by_its_last() {
    let db = world::database().await;
    let pool = db.pool_as(Schema::Chats);
    let numbers = transaction!(&pool, |tx| {
        let first = counter::next_number(tx, Schema::Chats, "facts").await?;
        let last = counter::next_numbers(tx, Schema::Chats, "facts", 5).await?;
        Ok::<_, Error>((first, last))
    });
    assert_eq!(numbers.unwrap(), (1, 6));
}
