//! Lists of a chat and of a user among a hundred thousand rows: each page reads what it shows and little more, whatever there is besides.
//! No times: what the plans have read.

use sqlx::{Arguments as _, postgres::PgArguments};
use tidings_testkit::Reads;
use uuid::Uuid;

use crate::world::World;

/// Messages of the chat, as many users in other chats, and entries of the log.
const ROWS: i64 = 100_000;

/// One message and nine responses to it, again and again.
const TURN: i64 = 10;

/// Rows that a page of 50 may look at: with a page of turns the responses in between, and with each message a few of its chat.
const READ_MAX: f64 = 1_500.0;

/// Fills a chat, and the tables around it, in a few statements.
async fn fill(world: &World, chat: Uuid, sender: Uuid) {
    let fill = format!(
        "insert into messages.messages (chat_id, sequence, message_id, sender_id, type, body, response_to_message_id, response_state, create_time)
         select '{chat}', n, md5('m' || n)::uuid, '{sender}', 1, 'text',
                case when n % {TURN} <> 1 then md5('m' || (n - (n - 1) % {TURN}))::uuid end,
                case when n % {TURN} <> 1 then 2 end,
                now()
         from generate_series(1, {ROWS}) n;
         update messages.chats set last_sequence = {ROWS} where chat_id = '{chat}';
         insert into messages.audiences (audience_id)
         select md5('a' || n)::uuid from generate_series(1, {ROWS} / 10) n;
         insert into messages.chats (chat_id, audience_id, kind, history, archived, slow_mode_interval_secs, audience_number, activity)
         select audience_id, audience_id, 3, 1, false, 0, 1, 1 from messages.audiences where audience_id <> '{chat}';
         insert into messages.members (audience_id, user_id, role, create_time, joined_number, revision)
         select md5('a' || (n % ({ROWS} / 10) + 1))::uuid, md5('u' || n)::uuid, 1, now(), 1, 1
         from generate_series(1, {ROWS}) n;
         insert into messages.hidden_messages (chat_id, user_id, sequence, create_time)
         select '{chat}', md5('u' || n)::uuid, n, now() from generate_series(1, {ROWS}) n;
         analyze messages.messages, messages.audiences, messages.chats, messages.members, messages.hidden_messages;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(fill))
        .execute(&world.pool())
        .await
        .expect("filled");
}

/// The arguments of a query.
macro_rules! arguments {
    ($($argument:expr),*) => {{
        let mut arguments = PgArguments::default();
        $(arguments.add($argument).expect("it can be encoded");)*
        arguments
    }};
}

#[tokio::test]
async fn a_page_reads_little_however_much_there_is() {
    let world = World::begin().await;
    let [alice, bob] = [world.user(), world.user()];
    let audience = world.conversation(&[&alice, &bob]).await;
    let id = |text: &str| Uuid::parse_str(text).expect("an id");
    let (chat, reader) = (id(&audience.id), id(&alice.id));
    fill(&world, chat, id(&bob.id)).await;
    let pool = world.pool();
    let reads = async |what: &str, words: &[&str], arguments| {
        let reads = Reads::of(&pool, env!("CARGO_MANIFEST_DIR"), words, arguments).await;
        println!("{what}: {reads:?}");
        assert!(reads.whole_tables.is_empty(), "{what}: {reads:?}");
        assert!((1.0..=READ_MAX).contains(&reads.rows), "{what}: {reads:?}");
    };

    for first in [1, ROWS / 2, ROWS - 49] {
        let range = arguments!(chat, reader, first, first + 49);
        reads("ListMessages", &["m.sequence between $3 and $4"], range).await;
        let from = arguments!(chat, reader, first, 51_i64);
        reads(
            "ListTurns, oldest first",
            &["m.sequence >= $3 and", "order by m.sequence\n"],
            from,
        )
        .await;
        let until = arguments!(chat, reader, first + 600, 51_i64);
        reads(
            "ListTurns, newest first",
            &["m.sequence <= $3 and", "order by m.sequence desc"],
            until,
        )
        .await;
    }
    let prompts: Vec<Uuid> = sqlx::query_scalar(
        "select message_id from messages.messages where chat_id = $1 and response_to_message_id is null order by sequence desc limit 5",
    )
    .bind(chat)
    .fetch_all(&pool)
    .await
    .expect("prompts");
    let responses = arguments!(chat, reader, &prompts, 0_i64, 250_i64);
    reads(
        "the responses of a page of turns",
        &["m.response_to_message_id = any ($3)", "limit $5"],
        responses,
    )
    .await;
    let by_id = arguments!(chat, reader, &prompts);
    reads("BatchGetMessages", &["m.message_id = any ($3)"], by_id).await;
    let chats = arguments!(reader, i64::MAX, Uuid::max(), 51_i64);
    reads(
        "ListChatActivity",
        &["where a.user_id = $1 and (a.activity, a.chat_id) < ($2, $3)"],
        chats,
    )
    .await;
}
