//! Reads of several statements, and what happens between two of them: a table that is locked holds a read exactly there.

use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tidings_db::{Schema, Settings, connect_dedicated};
use tidings_proto_common::v1::Permission;
use tidings_proto_message::v1::{CreateResponseRequest, ListMessagesRequest, ListTurnsRequest, SkipReason};

use crate::world::{World, someone_waits};

async fn connection(world: &World) -> PgConnection {
    let settings = Settings {
        schema: Some(Schema::Messages),
        ..world.database.settings()
    };
    connect_dedicated(&settings, &[]).await.expect("connected")
}

async fn lock<'c>(connection: &'c mut PgConnection, sql: &'static str) -> Transaction<'c, Postgres> {
    let mut transaction = connection.begin().await.expect("begun");
    sqlx::raw_sql(sql).execute(&mut *transaction).await.expect(sql);
    transaction
}

#[tokio::test]
async fn a_page_that_is_read_while_the_history_closes_says_what_it_leaves_out() {
    let world = World::begin().await;
    for (page_size, shown) in [(50, 4..=6), (2, 4..=5)] {
        let [alice, bob] = [world.user(), world.user()];
        let chat = world.conversation(&[&alice, &bob]).await;
        for number in 1..=6 {
            alice.send(&chat.id, &number.to_string()).await.expect("sent");
        }
        let mut holding = connection(&world).await;
        let mut held = lock(&mut holding, "lock table messages.messages in access exclusive mode").await;
        let listing = {
            let request = ListMessagesRequest {
                chat_id: chat.id.clone(),
                page_size,
                ..ListMessagesRequest::default()
            };
            let bob = bob.clone();
            tokio::spawn(async move { bob.list(request).await })
        };
        someone_waits(&world).await;
        for sql in [
            "insert into messages.chat_members (chat_id, user_id, first_position, first_sequence, read_sequence)
             values ($1::uuid, $2::uuid, 4, 4, 0)
             on conflict (chat_id, user_id) do update set first_position = 4, first_sequence = 4",
            "update messages.chats set history = 2 where chat_id = $1::uuid and $2 <> ''",
        ] {
            let change = sqlx::query(sql).bind(&chat.id).bind(&bob.id);
            change.execute(&mut *held).await.expect(sql);
        }
        held.commit().await.expect("the history is closed");

        let page = listing.await.expect("no panic").expect("listed");
        let sequences: Vec<i64> = page.messages.iter().map(|message| message.sequence).collect();
        assert_eq!(sequences, Vec::from_iter(shown));
        let removed: Vec<_> = page
            .removed_ranges
            .iter()
            .map(|range| (range.first_sequence, range.last_sequence, range.reason()))
            .collect();
        assert_eq!(removed, [(1, 3, SkipReason::NotVisible)], "page of {page_size}");
    }
}

#[tokio::test]
async fn a_turn_never_seems_to_have_no_response_because_its_reader_was_removed_meanwhile() {
    let world = World::begin().await;
    let (alice, bot) = (world.user(), world.user_with(&[Permission::ResponsesCreate]));
    let chat = world.conversation(&[&alice, &bot]).await;
    let question = alice.send(&chat.id, "question").await.expect("sent");
    let answer = CreateResponseRequest {
        chat_id: chat.id.clone(),
        message_id: question.message_id.clone(),
        text: "answer".to_owned(),
        ..CreateResponseRequest::default()
    };
    let answered = bot.responses().create_response(bot.asks(answer)).await;
    answered.expect("answered");
    // A message with an attachment is read in two statements, the second of which asks the table that is locked below.
    let carry = "update messages.messages set attachment_ids = array[message_id] where message_id = $1::uuid";
    let carried = sqlx::query(carry)
        .bind(&question.message_id)
        .execute(&world.pool())
        .await;
    carried.expect("as if it carried a file");

    let mut holding = connection(&world).await;
    let mut held = lock(&mut holding, "lock table messages.attachments in access exclusive mode").await;
    let listing = {
        let request = ListTurnsRequest {
            chat_id: chat.id.clone(),
            ..ListTurnsRequest::default()
        };
        let alice = alice.clone();
        tokio::spawn(async move { alice.messages().list_turns(alice.asks(request)).await })
    };
    someone_waits(&world).await;
    sqlx::query("update messages.members set removed = true where audience_id = $1::uuid and user_id = $2::uuid")
        .bind(&chat.id)
        .bind(&alice.id)
        .execute(&mut *held)
        .await
        .expect("removed");
    held.commit().await.expect("the removal stands");

    let turns = listing
        .await
        .expect("no panic")
        .expect("she was a member when she asked");
    let texts: Vec<_> = turns
        .into_inner()
        .turns
        .into_iter()
        .map(|turn| {
            let responses = turn.responses.into_iter().map(|response| response.text);
            (turn.message.expect("a message").text, responses.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(texts, [("question".to_owned(), vec!["answer".to_owned()])]);
}
