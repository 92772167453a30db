//! What the audit trail has of content and of what chat told.

use tidings_proto_message::v1::{DeleteMessageRequest, DeleteScope, Message};

use crate::world::{Actor, World};

async fn events(world: &World, action: &str) -> Vec<(Option<String>, Vec<String>, Vec<String>)> {
    sqlx::query_as(
        "select actor_id::text, subject_ids::text[], detail_values
         from messages.audit_events
         where action like '%/' || $1
         order by event_time, event_id",
    )
    .bind(action)
    .fetch_all(&world.pool())
    .await
    .expect("read")
}

async fn delete(actor: &Actor, message: &Message, scope: DeleteScope) {
    let request = DeleteMessageRequest {
        chat_id: message.chat_id.clone(),
        message_id: message.message_id.clone(),
        scope: scope.into(),
        ..DeleteMessageRequest::default()
    };
    actor
        .messages()
        .delete_message(actor.asks(request))
        .await
        .expect("deleted");
}

#[tokio::test]
async fn only_deletions_of_what_others_wrote_are_in_the_trail() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let mut messages = Vec::new();
    for text in ["one", "two", "three"] {
        messages.push(bob.send(&chat.id, text).await.expect("sent"));
    }
    delete(&bob, &messages[0], DeleteScope::ForAll).await;
    delete(&alice, &messages[1], DeleteScope::ForMe).await;
    assert_eq!(
        events(&world, "DeleteMessage").await,
        [],
        "one's own, and from one's own sight"
    );
    for _ in 0..2 {
        delete(&alice, &messages[2], DeleteScope::ForAll).await;
    }
    let ids = [&chat.id, &messages[2].message_id, &bob.id.to_string()].map(ToString::to_string);
    let expected = (Some(alice.id.to_string()), ids.to_vec(), Vec::new());
    assert_eq!(events(&world, "DeleteMessage").await, [expected]);
    assert_eq!(
        events(&world, "SendMessage").await,
        [],
        "ordinary sends are not recorded"
    );
}

#[tokio::test]
async fn what_chat_told_is_in_the_trail_once() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let told = events(&world, "ApplyMembershipChanges").await;
    assert!(!told.is_empty());
    assert!(
        told.iter()
            .all(|(actor, subjects, _)| actor.is_none() && *subjects == [chat.id.clone()])
    );
    let numbers: Vec<(i64, i64)> = told
        .iter()
        .map(|(_, _, values)| {
            let number = |index: usize| values[index].parse().expect("a number");
            (number(0), number(1))
        })
        .collect();
    assert_eq!(numbers[0].0, 1);
    assert!(
        numbers.windows(2).all(|pair| pair[1].0 == pair[0].1 + 1),
        "no change twice: {numbers:?}"
    );
}
