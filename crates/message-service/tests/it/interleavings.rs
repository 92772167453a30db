//! The interleaving that the send path must survive: a removal commits while a send waits for the chat's row. Driven straight at the
//! functions, on connections that are held; and the statement that they replace, to see that this test can fail.

use std::time::Duration;

use sqlx::{PgConnection, Row as _};
use tidings_db::{Schema, Settings, connect_dedicated};
use tidings_ids::{ChatId, UserId};
use uuid::Uuid;

use crate::world::{Actor, Audience, World, chat_id, someone_waits};

/// The old single statement: one that looks as if it checked membership.
const UNSAFE: &str = "
    with s as (
        update messages.chats c
        set last_sequence = last_sequence + 1, last_position = last_position + 1
        where c.chat_id = $1
          and exists (
              select from messages.members m
              where m.audience_id = c.audience_id and m.user_id = $2 and not m.removed
          )
        returning last_sequence, last_position
    )
    insert into messages.messages (chat_id, sequence, message_id, sender_id, type, body, create_time)
    select $1, last_sequence, $3, $2, 1, 'too late', clock_timestamp() from s";

async fn connection(world: &World) -> PgConnection {
    let settings = Settings {
        schema: Some(Schema::Messages),
        ..world.database.settings()
    };
    let session = [
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_mergejoin", "off"),
    ];
    connect_dedicated(&settings, &session).await.expect("connected")
}

/// Begins a removal: takes the chat's row, ends the membership, writes it into the log. Not committed.
async fn begin_removal(connection: &mut PgConnection, chat: ChatId, user: UserId) {
    for sql in [
        "begin",
        "select from messages.chats where chat_id = $1 and $2::uuid is not null for update",
        "update messages.members set removed = true where audience_id = $1 and user_id = $2",
        "with moved as (
             update messages.chats set last_position = last_position + 1 where chat_id = $1 returning last_position
         )
         insert into messages.changes (chat_id, position, kind, actor_id, user_id, reason, create_time)
         select $1, last_position, 18, $2, $2, 1, clock_timestamp() from moved",
    ] {
        if sql == "begin" {
            sqlx::raw_sql(sql).execute(&mut *connection).await.expect("begun");
        } else {
            sqlx::query(sql)
                .bind(chat.uuid())
                .bind(user.uuid())
                .execute(&mut *connection)
                .await
                .expect(sql);
        }
    }
}

async fn commit(connection: &mut PgConnection) {
    sqlx::raw_sql("commit").execute(connection).await.expect("committed");
}

/// One call of a function with these items (request id, hash), and their outcomes.
async fn call(
    connection: &mut PgConnection,
    function: &str,
    chat: ChatId,
    user: UserId,
    items: &[(Uuid, i64)],
    wait: bool,
) -> Vec<(i16, Option<i64>)> {
    call_with(connection, function, chat, user, items, vec![None; items.len()], wait).await
}

/// The same, of replies to these messages.
async fn call_with(
    connection: &mut PgConnection,
    function: &str,
    chat: ChatId,
    user: UserId,
    items: &[(Uuid, i64)],
    reply_tos: Vec<Option<Uuid>>,
    wait: bool,
) -> Vec<(i16, Option<i64>)> {
    let count = items.len();
    let requests: Vec<Uuid> = items.iter().map(|item| item.0).collect();
    let hashes: Vec<i64> = items.iter().map(|item| item.1).collect();
    let messages: Vec<Uuid> = (0..count)
        .map(|_| {
            tidings_ids::Source::system()
                .new_id::<tidings_ids::kind::Message>()
                .uuid()
        })
        .collect();
    let no_text: Vec<Option<String>> = vec![None; count];
    let sql = match function {
        "send_batch" => {
            "select ord, outcome, sequence from messages.send_batch($1, $2, $3, $4, $5, $6, $7, $8, $9) order by ord"
        }
        _ => {
            "select ord, outcome, sequence
             from messages.send_few(
                 $1, $2, array_fill(1::smallint, array[cardinality($1)]), $3, $4, $5, $6, $7, $8, $7,
                 array_fill(null::uuid, array[cardinality($1)]),
                 array_fill(false, array[cardinality($1)]), array_fill(null::smallint, array[cardinality($1)]), $9)
             order by ord"
        }
    };
    let rows = sqlx::query(sql)
        .bind(vec![chat.uuid(); count])
        .bind(vec![user.uuid(); count])
        .bind(requests)
        .bind(hashes)
        .bind(messages)
        .bind(vec!["text".to_owned(); count])
        .bind(no_text)
        .bind(reply_tos)
        .bind(wait)
        .fetch_all(connection)
        .await
        .expect(function);
    rows.iter()
        .map(|row| (row.get("outcome"), row.get("sequence")))
        .collect()
}

fn request() -> (Uuid, i64) {
    (
        tidings_ids::Source::system()
            .new_id::<tidings_ids::kind::Request>()
            .uuid(),
        1,
    )
}

async fn scene(world: &World) -> (Audience, Actor, ChatId, UserId) {
    let [alice, bob] = [world.user(), world.user()];
    let chat = world.conversation(&[&alice, &bob]).await;
    let (chat_id, user_id) = (chat_id(&chat), UserId::parse(&bob.id).expect("an id"));
    (chat, alice, chat_id, user_id)
}

#[tokio::test]
async fn a_send_that_meets_a_removal_is_put_off_and_then_refused() {
    let world = World::begin().await;
    for function in ["send_batch", "send_few"] {
        let (_chat, _alice, chat, bob) = scene(&world).await;
        let (mut removal, mut send) = (connection(&world).await, connection(&world).await);
        begin_removal(&mut removal, chat, bob).await;
        let item = request();
        assert_eq!(
            call(&mut send, function, chat, bob, &[item], false).await,
            [(4, None)],
            "{function}"
        );
        commit(&mut removal).await;
        assert_eq!(
            call(&mut send, function, chat, bob, &[item], false).await,
            [(3, None)],
            "{function}"
        );
    }
    world.assert_dense().await;
}

#[tokio::test]
async fn a_send_that_waits_for_a_removal_is_refused() {
    let world = World::begin().await;
    for function in ["send_batch", "send_few"] {
        let (_chat, _alice, chat, bob) = scene(&world).await;
        let (mut removal, mut send) = (connection(&world).await, connection(&world).await);
        begin_removal(&mut removal, chat, bob).await;
        let waiting = tokio::spawn(async move { call(&mut send, function, chat, bob, &[request()], true).await });
        someone_waits(&world).await;
        commit(&mut removal).await;
        assert_eq!(waiting.await.expect("no panic"), [(3, None)], "{function}");
    }
    world.assert_dense().await;
}

/// The positive control: what this file tests against does happen to the statement that was replaced.
#[tokio::test]
async fn a_single_statement_would_store_a_removed_members_message() {
    let world = World::begin().await;
    let (_chat, alice, chat, bob) = scene(&world).await;
    let (mut removal, mut send) = (connection(&world).await, connection(&world).await);
    begin_removal(&mut removal, chat, bob).await;
    let waiting = tokio::spawn(async move {
        let id: Uuid = tidings_ids::Source::system()
            .new_id::<tidings_ids::kind::Message>()
            .uuid();
        let sql = sqlx::query(UNSAFE).bind(chat.uuid()).bind(bob.uuid()).bind(id);
        sql.execute(&mut send).await.expect("executed").rows_affected()
    });
    someone_waits(&world).await;
    commit(&mut removal).await;
    assert_eq!(
        waiting.await.expect("no panic"),
        1,
        "it was stored after its sender's removal"
    );
    assert_eq!(alice.texts(&chat.to_string()).await.expect("seen"), ["too late"]);
}

#[tokio::test]
async fn one_request_id_thrice_in_a_batch_is_stored_repeated_and_refused() {
    let world = World::begin().await;
    for function in ["send_batch", "send_few"] {
        let (_chat, _alice, chat, bob) = scene(&world).await;
        let mut send = connection(&world).await;
        let (id, hash) = request();
        let items = [(id, hash), (id, hash), (id, hash + 1)];
        let first = call(&mut send, function, chat, bob, &items, false).await;
        assert_eq!(first, [(0, Some(1)), (1, Some(1)), (2, None)], "{function}");
        let second = call(&mut send, function, chat, bob, &items, false).await;
        assert_eq!(second, [(1, Some(1)), (1, Some(1)), (2, None)], "{function}");
    }
    world.assert_dense().await;
}

#[tokio::test]
async fn an_item_that_is_refused_has_not_used_its_request_id() {
    let world = World::begin().await;
    for function in ["send_batch", "send_few"] {
        let (_chat, _alice, chat, bob) = scene(&world).await;
        let mut send = connection(&world).await;
        let (id, hash) = request();
        let items = [(id, hash), (id, hash + 1), (id, hash + 2), (id, hash + 1)];
        let nowhere = Some(request().0);
        let replies = vec![nowhere, None, None, None];
        let first = call_with(&mut send, function, chat, bob, &items, replies, false).await;
        assert_eq!(first, [(8, None), (0, Some(1)), (2, None), (1, Some(1))], "{function}");
    }
    world.assert_dense().await;
}

#[tokio::test]
async fn a_repetition_waits_for_the_first_and_takes_its_place_if_that_is_rolled_back() {
    let world = World::begin().await;
    for (function, end, expected) in [
        ("send_batch", "commit", (1, Some(1))),
        ("send_few", "commit", (1, Some(1))),
        ("send_batch", "rollback", (0, Some(1))),
        ("send_few", "rollback", (0, Some(1))),
    ] {
        let (_chat, _alice, chat, bob) = scene(&world).await;
        let (mut first, mut second) = (connection(&world).await, connection(&world).await);
        let item = request();
        sqlx::raw_sql("begin").execute(&mut first).await.expect("begun");
        assert_eq!(
            call(&mut first, function, chat, bob, &[item], false).await,
            [(0, Some(1))]
        );
        assert_eq!(
            call(&mut second, function, chat, bob, &[item], false).await,
            [(4, None)]
        );
        let waiting = tokio::spawn(async move { call(&mut second, function, chat, bob, &[item], true).await });
        someone_waits(&world).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(end))
            .execute(&mut first)
            .await
            .expect(end);
        assert_eq!(waiting.await.expect("no panic"), [expected], "{function} {end}");
    }
    world.assert_dense().await;
}

#[tokio::test]
async fn a_chat_that_does_not_exist_is_refused_and_not_put_off_for_ever() {
    let world = World::begin().await;
    let (_chat, alice, _, bob) = scene(&world).await;
    let nowhere = ChatId::parse(&alice.nowhere()).expect("an id");
    let mut send = connection(&world).await;
    for function in ["send_batch", "send_few"] {
        for wait in [false, true] {
            assert_eq!(
                call(&mut send, function, nowhere, bob, &[request()], wait).await,
                [(3, None)]
            );
        }
    }
}

/// Through the whole service: the chat's row is held long enough that the send leaves the batches and waits.
#[tokio::test]
async fn a_held_chat_delays_its_own_sends_only() {
    let world = World::begin_with(|config| config.send_shards = 1).await;
    let (_chat, alice, chat, bob) = scene(&world).await;
    let other = world.conversation(&[&alice]).await;
    let mut removal = connection(&world).await;
    begin_removal(&mut removal, chat, bob).await;
    let held = {
        let (alice, chat_id) = (alice.clone(), chat.to_string());
        tokio::spawn(async move { alice.send(&chat_id, "held").await })
    };
    someone_waits(&world).await;
    let others = async {
        for number in 0..20 {
            alice.send(&other.id, &number.to_string()).await.expect("sent");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), others)
        .await
        .expect("other chats go on");
    assert!(!held.is_finished());
    commit(&mut removal).await;
    assert_eq!(held.await.expect("no panic").expect("sent").sequence, 1);
    world.assert_dense().await;
}
