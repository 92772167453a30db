//! Rows that were changed in the database are named by number.

use tidings_audit::{Expected, Finding, FindingKind};

use crate::world::World;

fn one(kind: FindingKind, number: i64) -> Vec<Finding> {
    several(kind, number, number)
}

fn several(kind: FindingKind, number: i64, last_number: i64) -> Vec<Finding> {
    vec![Finding {
        number,
        last_number,
        kind,
    }]
}

/// Ten entries, with heads at 4 and 8.
async fn ten() -> World {
    let world = World::new().await;
    world.entries(4).await;
    world.sign().await;
    world.entries(4).await;
    world.sign().await;
    world.entries(2).await;
    assert_eq!(world.findings().await, []);
    world
}

const EVENT: &str = "(select event_id from users.audit_chain where number = ";

#[tokio::test]
async fn altered_rows_are_named() {
    for set in [
        "action = 'user.other'",
        "event_time = event_time + interval '1 microsecond'",
        "category = 2",
        "category = 99",
        "actor_kind = 4, actor_service = ''",
        "actor_id = gen_random_uuid()",
        "subject_kinds = array['user'], subject_ids = array[gen_random_uuid()]",
        "outcome = 2, reason = 'PERMISSION_MISSING'",
        "trace_id = 'x'",
        "request_id = gen_random_uuid()",
        "client_prefix = '192.0.2.0/24'",
        "detail_values = array['other']",
        "detail_names = array['kind', 'kind'], detail_values = array['other', 'test']",
    ] {
        let world = ten().await;
        world
            .tamper(&format!(
                "update users.audit_events set {set} where event_id = {EVENT} 6)"
            ))
            .await;
        assert_eq!(world.findings().await, one(FindingKind::Altered, 6), "{set}");
    }
    for set in [
        "seal_time = seal_time + interval '1 second'",
        "previous_hash = sha256(previous_hash)",
        "event_id = (select event_id from users.audit_chain where number = 2)",
    ] {
        let world = ten().await;
        world
            .tamper("alter table users.audit_chain drop constraint audit_chain_event_id_key")
            .await;
        world
            .tamper(&format!("update users.audit_chain set {set} where number = 6"))
            .await;
        let findings = world.findings().await;
        assert!(
            findings.iter().any(|finding| finding.number == 6),
            "{set}: {findings:?}"
        );
        assert!(
            findings
                .iter()
                .all(|finding| finding.number == 6 || finding.number == 2),
            "{set}: {findings:?}"
        );
    }
    let world = ten().await;
    world
        .tamper("update users.audit_chain set hash = sha256(hash) where number in (6, 7)")
        .await;
    assert_eq!(world.findings().await, several(FindingKind::Altered, 6, 7));
}

#[tokio::test]
async fn deleted_rows_are_named() {
    let world = ten().await;
    world
        .tamper("delete from users.audit_chain where number in (3, 5, 6)")
        .await;
    let expected = [one(FindingKind::Deleted, 3), several(FindingKind::Deleted, 5, 6)].concat();
    assert_eq!(world.findings().await, expected);

    let world = ten().await;
    world
        .tamper(&format!("delete from users.audit_events where event_id = {EVENT} 3)"))
        .await;
    assert_eq!(world.findings().await, one(FindingKind::Deleted, 3));

    // With what follows renumbered.
    let world = ten().await;
    world.tamper("delete from users.audit_chain where number = 3; update users.audit_chain set number = number + 100 where number > 3; \
                 update users.audit_chain set number = number - 101 where number > 100").await;
    let findings = world.findings().await;
    assert!(findings.contains(&one(FindingKind::Deleted, 3)[0]), "{findings:?}");
}

#[tokio::test]
async fn reordered_rows_are_named_with_where_they_were() {
    let expected = [
        one(FindingKind::Reordered { sealed_number: 7 }, 3),
        one(FindingKind::Reordered { sealed_number: 3 }, 7),
    ]
    .concat();
    let world = ten().await;
    world.tamper("update users.audit_chain set number = 10 - number + 100 where number in (3, 7); update users.audit_chain set number = number - 100 where number > 100").await;
    assert_eq!(without_heads(world.findings().await), expected);

    // Only the events are exchanged.
    let world = ten().await;
    world
        .tamper("alter table users.audit_chain drop constraint audit_chain_event_id_key")
        .await;
    world
        .tamper(
            "update users.audit_chain as a set event_id = b.event_id from users.audit_chain as b \
             where (a.number, b.number) in ((3, 7), (7, 3))",
        )
        .await;
    assert_eq!(world.findings().await, expected);
}

fn without_heads(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.retain(|finding| finding.kind != FindingKind::HeadMismatch);
    findings
}

#[tokio::test]
async fn rows_cut_off_at_the_end_are_named() {
    let world = ten().await;
    world.tamper("delete from users.audit_chain where number > 8").await;
    assert_eq!(world.findings().await, several(FindingKind::CutOff, 9, 10));
    // Also when the trail has gone on since.
    world.entries(2).await;
    assert_eq!(world.findings().await, several(FindingKind::Deleted, 9, 10));

    // By the heads, when the sealer's mark was taken back too.
    let world = ten().await;
    let back = "update users.audit_sealer set last_number = 6, last_hash = (select hash from users.audit_chain where number = 6)";
    world
        .tamper(&format!("{back}; delete from users.audit_chain where number > 6"))
        .await;
    assert_eq!(world.findings().await, several(FindingKind::CutOff, 7, 8));

    // All of it.
    let world = ten().await;
    world.tamper("delete from users.audit_chain").await;
    assert_eq!(world.findings().await, several(FindingKind::CutOff, 1, 10));
}

#[tokio::test]
async fn what_no_row_is_left_to_tell_of_is_known_from_a_head_kept_elsewhere() {
    let world = ten().await;
    let verification = world
        .trail
        .verify(tidings_audit::Range::default(), None)
        .await
        .expect("verified");
    let head = verification.head().expect("signed");
    let hash = head.hash.try_into().expect("32 bytes");
    let logged = Expected { number: 8, hash };
    assert_eq!(world.findings_against(Some(logged)).await, []);

    world
        .tamper(
            "delete from users.audit_heads where number > 4; delete from users.audit_chain where number > 6; \
             update users.audit_sealer set last_number = 6, head_number = 4, \
             last_hash = (select hash from users.audit_chain where number = 6)",
        )
        .await;
    assert_eq!(world.findings().await, [], "it looks whole");
    assert_eq!(
        world.findings_against(Some(logged)).await,
        several(FindingKind::CutOff, 7, 8)
    );
    world.entries(3).await;
    assert_eq!(
        world.findings_against(Some(logged)).await,
        one(FindingKind::HeadMismatch, 8)
    );
}

#[tokio::test]
async fn inserted_rows_are_named() {
    // At the end, with everything that a row of the chain has.
    let event = "insert into users.audit_events select gen_random_uuid(), event_time, category, 'user.forged', actor_kind, actor_id, \
                 actor_service, login_session_id, subject_kinds, subject_ids, outcome, reason, trace_id, request_id, client_prefix, \
                 detail_names, detail_values from users.audit_events limit 1";
    let forged = "select event_id from users.audit_events where action = 'user.forged'";
    let world = ten().await;
    world
        .tamper(&format!(
            "{event}; insert into users.audit_chain select 11, ({forged}), seal_time, hash, sha256(hash) from users.audit_chain where number = 10"
        ))
        .await;
    let findings = world.findings().await;
    assert!(findings.contains(&one(FindingKind::Inserted, 11)[0]), "{findings:?}");
    // The trail goes on behind it, and it stays found.
    world.entries(2).await;
    let findings = world.findings().await;
    assert!(
        !findings.is_empty() && findings.iter().all(|finding| (10..=12).contains(&finding.number)),
        "{findings:?}"
    );

    // In the midst of others, which move up.
    let world = ten().await;
    world
        .tamper(&format!(
            "update users.audit_chain set number = number + 100 where number > 5; \
             update users.audit_chain set number = number - 99 where number > 100; \
             {event}; insert into users.audit_chain select 6, ({forged}), seal_time, hash, sha256(hash) from users.audit_chain where number = 5"
        ))
        .await;
    let findings = world.findings().await;
    assert!(findings.contains(&one(FindingKind::Inserted, 6)[0]), "{findings:?}");
    assert!(findings.iter().all(|finding| finding.number >= 6), "{findings:?}");

    // An event without a number is none of the trail's.
    let world = ten().await;
    world.tamper(event).await;
    assert_eq!(world.findings().await, []);
}

#[tokio::test]
async fn a_trail_that_was_made_anew_contradicts_its_heads() {
    let world = ten().await;
    // Everything from entry 6 on is written again, as whoever knows how can: by the service itself, on a trail cut back.
    world
        .tamper(
            "delete from users.audit_chain where number > 5; \
             update users.audit_sealer set last_number = 5, last_hash = (select hash from users.audit_chain where number = 5)",
        )
        .await;
    world.entries(5).await;
    assert_eq!(world.findings().await, one(FindingKind::HeadMismatch, 8));
}

#[tokio::test]
async fn heads_that_were_tampered_with_are_named() {
    for set in [
        "hash = sha256(hash)",
        "sign_time = sign_time + interval '1 second'",
        "previous_number = 3",
        "signature = sha256(signature) || sha256(hash)",
        "number = 7",
    ] {
        let world = ten().await;
        world
            .tamper(&format!("update users.audit_heads set {set} where number = 8"))
            .await;
        let findings = world.findings().await;
        let altered = findings
            .iter()
            .filter(|finding| finding.kind == FindingKind::HeadAltered)
            .count();
        assert_eq!(altered, 1, "{set}: {findings:?}");
    }

    let world = ten().await;
    world.tamper("delete from users.audit_heads where number = 4").await;
    assert_eq!(world.findings().await, one(FindingKind::HeadDeleted, 4));
    let world = ten().await;
    world.tamper("delete from users.audit_heads where number = 8").await;
    assert_eq!(world.findings().await, one(FindingKind::HeadDeleted, 8));
}

#[tokio::test]
async fn a_head_signed_with_another_secret_is_told_apart() {
    let world = ten().await;
    let mut other = crate::world::environment();
    other.secret = tidings_authn::SuiteSecret::new("9d1e2f34a5b6c7d80c9f6ad2b1e84e7fa3d5c7b0").expect("long enough");
    let other = tidings_audit::Trail::new(
        &other,
        world.pool.clone(),
        crate::world::SCHEMA,
        tidings_audit::Settings::default(),
    );
    assert!(other.sign(std::time::Duration::ZERO).await.expect("signed"));
    assert_eq!(world.findings().await, one(FindingKind::HeadKeyUnknown, 10));
}
