//! `kill -9` under load: of each process, of all of them, and of Postgres.
//!
//! The clients repeat what had no answer, with the same `request_id`, and keep a ledger. In the end the suite must have exactly what
//! stands there. A round counts only if calls were in flight when the blow fell, and stayed without an answer.

mod judge;
mod ledger;
mod load;
mod workers;

use std::{collections::BTreeMap, time::Duration};

use tidings_db::Pool;
use tidings_testkit::{Process, Shape, Suite, until, until_some};

use self::{
    ledger::{Acknowledged, Kind},
    load::Load,
};
use crate::{
    chance::{Chance, rounds},
    dev::Dev,
};

/// What was killed works again within this, on a busy machine; `reliability.md` allows 10 s on one that is not.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// Acknowledgements between two blows: enough that everybody has had an answer since the last one.
const QUIET: (u64, u64) = (60, 160);

/// Blows that may fall beside everything in flight before a round has failed to show anything: many, since it is chance.
const TRIES: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_of_the_one_process() {
    let mut chance = Chance::of("kill, one process");
    let mut suite = Suite::start(Shape::One).await;
    let target = suite.gateway_address().to_string();
    let load = Load::start(&target, chance.seed()).await;
    for round in 0..rounds() + TRIES {
        if round >= rounds() && answered_late(&load) > 0 {
            break;
        }
        strike(&load, &mut chance, &[Kind::Send, Kind::Found], async || {
            suite.kill(Process::All).await;
            suite.spawn(Process::All);
            suite.serving().await;
        })
        .await;
    }
    assert!(answered_late(&load) > 0, "no blow fell between a commit and its answer");
    conclude("one process", load, &suite.database().pool()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_of_each_of_five_processes() {
    let mut chance = Chance::of("kill, five processes");
    let mut suite = Suite::start(Shape::Five).await;
    let target = suite.gateway_address().to_string();
    let load = Load::start(&target, chance.seed()).await;
    let victims = [
        (Process::Message, &[Kind::Send][..]),
        (Process::Chat, &[Kind::Found]),
        (Process::Auth, &[Kind::Register]),
        (Process::User, &[Kind::Update]),
        (Process::Gateway, &[Kind::Send, Kind::Found, Kind::Register]),
    ];
    for _ in 0..rounds().div_ceil(2) {
        for (victim, kinds) in victims {
            let before = load.meter.retries();
            strike(&load, &mut chance, kinds, async || {
                suite.kill(victim).await;
                suite.spawn(victim);
                suite.serving().await;
            })
            .await;
            if victim != Process::Gateway {
                assert_documented(&before, &load.meter.retries());
            }
        }
    }
    conclude("five processes", load, &suite.database().pool()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_of_postgres_and_of_dev() {
    let mut chance = Chance::of("kill, Postgres");
    let mut dev = Dev::prepare();
    dev.spawn();
    dev.serving().await;
    let load = Load::start(&dev.address().to_string(), chance.seed()).await;
    for _ in 0..rounds() {
        let before = load.meter.retries();
        strike(&load, &mut chance, &[Kind::Send], async || dev.kill_postgres().await).await;
        assert_documented(&before, &load.meter.retries());
    }
    strike(&load, &mut chance, &[Kind::Send], async || {
        dev.kill().await;
        dev.spawn();
        dev.serving().await;
    })
    .await;
    conclude("Postgres", load, &dev.pool()).await;
    let (status, _) = dev.terminate().await;
    assert!(status.success(), "dev ends with {status}");
}

/// One round: lets the clients work for a while, has the blow fall while calls of these kinds are in flight, and waits until all
/// clients are answered again.
async fn strike(load: &Load, chance: &mut Chance, kinds: &[Kind], mut blow: impl AsyncFnMut()) {
    for _ in 0..TRIES {
        let goal = acknowledged(load) + usize::try_from(chance.between(QUIET.0, QUIET.1)).expect("small");
        until("the clients work", RECOVERY_LIMIT, || async {
            let busy = kinds.iter().all(|kind| load.ledger.in_flight(*kind) > 0);
            refused(load).is_some() || (busy && acknowledged(load) >= goal)
        })
        .await;
        load.ledger.mark();
        blow().await;
        let unknown = until_some("every call ends", RECOVERY_LIMIT, || async { load.ledger.unknown() }).await;
        assert_eq!(refused(load), None, "a client was refused for good");
        eprintln!("in flight and without an answer: {unknown:?}");
        if kinds.iter().all(|kind| unknown.contains_key(kind)) {
            return;
        }
    }
    panic!("{TRIES} blows, and none met a call of each of {kinds:?}");
}

/// Waits until the clients are well again after the last blow, and holds the suite to the ledger.
async fn conclude(what: &str, load: Load, pool: &Pool) {
    let goal = acknowledged(&load) + usize::try_from(QUIET.0).expect("small");
    until("the clients work", RECOVERY_LIMIT, || async {
        refused(&load).is_some() || acknowledged(&load) >= goal
    })
    .await;
    let ledger = std::sync::Arc::clone(&load.ledger);
    let retries = load.meter.retries();
    let wrong = judge::judge(load, pool).await;
    let Acknowledged {
        sent,
        founded,
        registered,
        refreshed,
        updated,
        answered_late,
        ..
    } = ledger.read(Acknowledged::clone);
    eprintln!(
        "{what}: {} sends ({answered_late} of them stored by an attempt whose answer was lost), {} chats, {} users, \
         {refreshed} tokens, {} profiles; repeated for {retries:?}",
        sent.len(),
        founded.len(),
        registered.len(),
        updated.len(),
    );
    assert!(
        wrong.is_empty(),
        "{} things are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn acknowledged(load: &Load) -> usize {
    load.ledger.read(Acknowledged::count)
}

/// Sends that were stored although their first answer was lost: where a repetition could store a second one.
fn answered_late(load: &Load) -> usize {
    load.ledger.read(|ledger| ledger.answered_late)
}

fn refused(load: &Load) -> Option<String> {
    load.ledger
        .read(|ledger| ledger.failures.first().map(ToString::to_string))
}

/// C19: while the process lives that clients are connected to, every failure has its documented reason.
fn assert_documented(before: &[(String, u64)], after: &[(String, u64)]) {
    let before: BTreeMap<&str, u64> = before.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    for (label, count) in after {
        let new = count - before.get(label.as_str()).unwrap_or(&0);
        let documented = !label.ends_with("(no reason)") && !["INTERNAL", "UNKNOWN"].contains(&label.as_str());
        assert!(new == 0 || documented, "{new} calls failed with {label}");
    }
}
