use std::time::Duration;

use futures_util::future::join_all;
use tidings_audit::{self as audit, Range, Settings, Trail};
use tidings_db::Schema;
use tidings_rpc::Drain;

use crate::world::{SCHEMA, World, environment, until};

#[tokio::test]
async fn entries_are_numbered_without_holes_and_verify() {
    let world = World::new().await;
    world.entries(7).await;
    world.sign().await;
    world.entries(5).await;
    let verification = world.trail.verify(Range::default(), None).await.expect("verified");
    assert_eq!(verification.findings, []);
    assert_eq!(
        (verification.from, verification.to, verification.last_number),
        (1, 12, 12)
    );
    assert_eq!(verification.head().expect("signed").number, 7);
}

#[tokio::test]
async fn an_empty_trail_is_whole() {
    let world = World::new().await;
    assert_eq!(world.trail.seal().await.expect("sealed"), 0);
    assert!(!world.trail.sign(Duration::ZERO).await.expect("nothing to sign"));
    let verification = world.trail.verify(Range::default(), None).await.expect("verified");
    assert_eq!(
        (verification.findings.len(), verification.from, verification.to),
        (0, 1, 0)
    );
}

#[tokio::test]
async fn a_long_trail_is_verified_in_ranges() {
    let world = World::new().await;
    let events = (0..1_203).map(|_| world.event("user.test")).collect::<Vec<_>>();
    let mut tx = world.pool.begin().await.expect("begun");
    for event in &events {
        audit::record(&mut tx, SCHEMA, event).await.expect("recorded");
    }
    tx.commit().await.expect("committed");
    assert_eq!(world.trail.seal().await.expect("sealed"), 1_203, "in several batches");
    world.sign().await;

    let first = world.trail.verify(Range::default(), None).await.expect("verified");
    assert_eq!((first.to, first.next), (1_000, 1_001));
    let rest = Range {
        from: first.next,
        to: 0,
    };
    let rest = world.trail.verify(rest, None).await.expect("verified");
    assert_eq!((rest.to, rest.next), (1_203, 0));
    assert!(first.findings.is_empty() && rest.findings.is_empty());
    let middle = Range { from: 500, to: 700 };
    let middle = world.trail.verify(middle, None).await.expect("verified");
    assert_eq!(
        (middle.from, middle.to, middle.next, middle.findings.len()),
        (500, 700, 0, 0)
    );
    let beyond = Range { from: 5_000, to: 0 };
    let beyond = world.trail.verify(beyond, None).await.expect("verified");
    assert_eq!(
        (beyond.from, beyond.to, beyond.next, beyond.findings.len()),
        (5_000, 4_999, 0, 0)
    );
}

#[tokio::test]
async fn an_effect_that_is_rolled_back_leaves_no_event() {
    let world = World::new().await;
    let mut tx = world.pool.begin().await.expect("begun");
    audit::record(&mut tx, SCHEMA, &world.event("user.test"))
        .await
        .expect("recorded");
    tx.rollback().await.expect("rolled back");
    assert_eq!(world.trail.seal().await.expect("sealed"), 0);
}

#[tokio::test]
async fn no_effect_waits_for_another_nor_for_the_sealer() {
    let world = World::new().await;
    // Three open at once, and the sealer's lock held besides; each statement has the pool's time-outs, of which none is met.
    let mut first = world.pool.begin().await.expect("begun");
    let mut second = world.pool.begin().await.expect("begun");
    let mut sealer = world.pool.begin().await.expect("begun");
    let lock = "select last_number from users.audit_sealer for update";
    sqlx::query(lock).execute(&mut *sealer).await.expect("locked");
    sqlx::query("set local lock_timeout = '1ms'")
        .execute(&mut *first)
        .await
        .expect("set");
    sqlx::query("set local lock_timeout = '1ms'")
        .execute(&mut *second)
        .await
        .expect("set");
    audit::record(&mut first, SCHEMA, &world.event("user.first"))
        .await
        .expect("recorded");
    audit::record(&mut second, SCHEMA, &world.event("user.second"))
        .await
        .expect("recorded");

    // The sealer neither waits for the lock, nor seals what is not committed.
    assert_eq!(world.trail.seal().await.expect("another has the lock"), 0);
    second.commit().await.expect("committed");
    assert_eq!(world.trail.seal().await.expect("another has the lock"), 0);
    sealer.rollback().await.expect("rolled back");
    assert_eq!(world.trail.seal().await.expect("sealed"), 1);
    audit::record(&mut first, SCHEMA, &world.event("user.third"))
        .await
        .expect("the sealer ran meanwhile");
    first.commit().await.expect("committed");
    assert_eq!(world.trail.seal().await.expect("sealed"), 2, "late is only late");

    let actions: Vec<String> = sqlx::query_scalar(
        "select action from users.audit_chain join users.audit_events using (event_id) order by number",
    )
    .fetch_all(&world.pool)
    .await
    .expect("read");
    assert_eq!(actions, ["user.second", "user.first", "user.third"]);
    assert_eq!(world.findings().await, []);
}

#[tokio::test]
async fn of_many_sealers_one_seals_and_nothing_twice() {
    let world = World::new().await;
    let nodes: Vec<Trail> = (0..4)
        .map(|_| Trail::new(&environment(), world.pool.clone(), SCHEMA, Settings::default()))
        .collect();
    let mut sealed = 0;
    for _ in 0..10 {
        for _ in 0..5 {
            world.record(&world.event("user.test")).await;
        }
        sealed += join_all(nodes.iter().map(Trail::seal))
            .await
            .into_iter()
            .map(|count| count.expect("sealed"))
            .sum::<usize>();
    }
    sealed += world.trail.seal().await.expect("sealed");
    assert_eq!(sealed, 50);
    assert_eq!(world.findings().await, []);
}

#[tokio::test]
async fn the_background_seals_by_itself_and_signs_when_the_process_stops() {
    let world = World::new().await;
    let drain = Drain::new();
    let mut environment = environment();
    environment.drain = drain.clone();
    let settings = Settings {
        seal_every: Duration::from_millis(50),
        ..Settings::default()
    };
    let trail = Trail::new(&environment, world.pool.clone(), SCHEMA, settings);
    for work in trail.background() {
        drain.spawn(work);
    }
    world.record(&world.event("user.test")).await;
    let last = || async {
        trail
            .verify(Range::default(), None)
            .await
            .expect("verified")
            .last_number
    };
    until("the event has its number", || async { last().await == 1 }).await;
    assert!(drain.finish().await);
    let verification = trail.verify(Range::default(), None).await.expect("verified");
    assert_eq!(verification.head().expect("signed at the end").number, 1);
}

#[tokio::test]
async fn a_head_is_signed_once_in_its_time_and_only_when_there_is_news() {
    let world = World::new().await;
    world.entries(1).await;
    world.sign().await;
    assert!(!world.trail.sign(Duration::ZERO).await.expect("nothing is new"));
    world.entries(1).await;
    let minute = Duration::from_secs(60);
    assert!(!world.trail.sign(minute).await.expect("another node has just signed"));
    assert!(world.trail.sign(Duration::ZERO).await.expect("signed"));
    assert_eq!(world.findings().await, []);
}

#[tokio::test]
async fn the_service_s_role_cannot_change_what_is_in_the_trail() {
    let world = World::new().await;
    world.entries(2).await;
    world.sign().await;
    for sql in [
        "update users.audit_events set action = 'x'",
        "delete from users.audit_events",
        "update users.audit_chain set number = number + 10",
        "delete from users.audit_chain",
        "update users.audit_heads set number = 99",
        "delete from users.audit_heads",
        "delete from users.audit_sealer",
    ] {
        let refused = sqlx::query(sql).execute(&world.pool).await.expect_err(sql);
        let code = refused
            .as_database_error()
            .and_then(|error| error.code())
            .map(|code| code.to_string());
        assert_eq!(code.as_deref(), Some("42501"), "{sql}");
    }
}

#[test]
fn every_service_has_the_tables_of_this_crate() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (schema, migration) in [
        (Schema::Auth, "auth-service/migrations/0010_audit.sql"),
        (Schema::Users, "user-service/migrations/0008_audit.sql"),
        (Schema::Chats, "chat-service/migrations/20261121000006_audit.sql"),
        (Schema::Messages, "message-service/migrations/0006_audit.sql"),
    ] {
        let migration = std::fs::read_to_string(crates.join(migration)).expect(migration);
        assert_eq!(
            migration,
            tidings_audit::TABLES.replace("{schema}", schema.name()),
            "{schema}"
        );
    }
}
