//! Lists of very many things: each page reads what it shows and little more. No times: what the plans have read.

use sqlx::{Arguments as _, postgres::PgArguments};
use tidings_testkit::Reads;
use uuid::Uuid;

use crate::world::World;

/// Members of one group.
const MEMBERS: i64 = 100_000;

/// Groups of one user, and sessions of that user: quotas allow fewer.
const ROWS: i64 = 10_000;

/// Rows that a page of 50 may look at: a few for each thing that it shows.
const READ_MAX: f64 = 400.0;

/// In one transaction that checks no foreign keys, which would take most of its time.
async fn fill(world: &World, group: Uuid, user: Uuid) {
    let fill = format!(
        "begin;
         set local session_replication_role = replica;
         insert into chats.members (audience_id, user_id, in_group, role, added, create_time)
         select '{group}', md5('u' || n)::uuid, true, 1, true, now() from generate_series(1, {MEMBERS}) n;
         insert into chats.audiences (audience_id, last_number, member_count, chat_count, create_time)
         select md5(k || n)::uuid, 1, 1, 0, now() from generate_series(1, {ROWS}) n, (values ('g'), ('s')) k(k);
         insert into chats.groups (group_id, display_name, description, metadata, revision, create_time)
         select md5('g' || n)::uuid, 'a group', '', '{{}}', 1, now() from generate_series(1, {ROWS}) n;
         insert into chats.members (audience_id, user_id, in_group, role, added, create_time)
         select md5(k || n)::uuid, '{user}', k = 'g', 3, false, now()
         from generate_series(1, {ROWS}) n, (values ('g'), ('s')) k(k);
         insert into chats.chats
             (chat_id, audience_id, kind, title, metadata, history, archived, slow_mode_interval_secs, revision, create_time)
         select md5('s' || n)::uuid, md5('s' || n)::uuid, 4, '', '{{}}', 1, false, 0, 1, now() from generate_series(1, {ROWS}) n;
         insert into chats.sessions (user_id, session_number, chat_id, assistant_user_id)
         select '{user}', n, md5('s' || n)::uuid, md5('bot')::uuid from generate_series(1, {ROWS}) n;
         analyze chats.members, chats.audiences, chats.groups, chats.chats, chats.sessions;
         commit"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(fill))
        .execute(&world.pool())
        .await
        .expect("filled");
}

#[tokio::test]
async fn a_page_reads_little_however_much_there_is() {
    let world = World::begin().await;
    let alice = world.user().await;
    let group = alice.group().await;
    let id = |text: &str| Uuid::parse_str(text).expect("an id");
    let (group, user) = (id(&group.group_id), id(&alice.id));
    fill(&world, group, user).await;
    let pool = world.pool();
    let reads = async |what: &str, words: &[&str], arguments| {
        let reads = Reads::of(&pool, env!("CARGO_MANIFEST_DIR"), words, arguments).await;
        println!("{what}: {reads:?}");
        assert!(reads.whole_tables.is_empty(), "{what}: {reads:?}");
        assert!((1.0..=READ_MAX).contains(&reads.rows), "{what}: {reads:?}");
    };

    for after in [None, Some(Uuid::from_u128(u128::MAX / 2))] {
        let mut members = PgArguments::default();
        members.add(group).expect("encoded");
        members.add(user).expect("encoded");
        members.add(after).expect("encoded");
        members.add(51_i64).expect("encoded");
        reads("ListMembers", &["m.user_id > $3", "limit $4"], members).await;
        let mut groups = PgArguments::default();
        groups.add(user).expect("encoded");
        groups.add(after).expect("encoded");
        groups.add(51_i64).expect("encoded");
        reads(
            "ListGroups",
            &["p.in_group and", "p.audience_id > $2", "limit $3"],
            groups,
        )
        .await;
    }
    for after in [0, ROWS / 2] {
        let mut sessions = PgArguments::default();
        sessions.add(user).expect("encoded");
        sessions.add(after).expect("encoded");
        sessions.add(51_i64).expect("encoded");
        reads("ListChatSessions", &["s.session_number > $2"], sessions).await;
    }
}
