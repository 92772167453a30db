//! Calls that are given up, by cancel, at any moment (`reliability.md` D2, F46, G35).
//!
//! What must hold of each RPC that changes something, wherever it is cut: no connection is left in a transaction; what it did is all
//! or nothing of what it does in peace, counted in the tables of all services; and made again with the same `request_id`, it is
//! done once.
//!
//! The protection is the task of its own that every handler runs in (`tidings_rpc::Limits::detach_handlers`). What it is good for is
//! shown by its absence: [`unprotected`] runs two services without it, and finds transactions cut off in the middle; [`plain`]
//! does so with nothing but sqlx beneath, where connections are left in their transactions for the next call to fall into.

mod calls;
mod effects;
mod inside;
mod plain;
mod stage;
mod unprotected;

use tidings_testkit::Shape;

use self::stage::{Model, Stage};
use crate::chance::{Chance, rounds};

/// How many calls are to be given up before they are answered, at least, for the run to have shown something.
const CUTS_MIN: usize = 20;

/// A cut may fall a little after the call's usual end, too.
const BEYOND: f64 = 1.2;

/// How many equal calls are at work at once: enough for one to come to its end between another's steps.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_given_up_at_any_moment_leaves_nothing_half_done() {
    let mut chance = Chance::of("cancel at any moment");
    let stage = Stage::set(Shape::One).await;
    let (mut cuts, mut answered, mut wrong) = (0, 0, Vec::new());
    for call in calls::all().iter().filter(|call| !call.is_internal()) {
        let model = stage.model(call).await;
        for _ in 0..rounds() {
            let ready = call.prepare(&stage.suite, &stage.cast).await;
            let before = stage.tables.settled().await;
            let moment = chance.moment(model.took.mul_f64(BEYOND));
            match tokio::time::timeout(moment, ready.make()).await {
                Ok(_) => answered += 1,
                Err(_) => cuts += 1,
            }
            // At once, while the first may still be at work.
            let path = call.path();
            let found = stage.repeat(call, &ready, &before, &model).await;
            wrong.extend(found.map(|what| format!("{path}, given up after {moment:?}: {what}")));
        }
    }
    stage.tables.nobody_left_in_a_transaction().await;
    eprintln!("{cuts} calls were given up, {answered} were answered before");
    assert!(cuts >= CUTS_MIN, "most calls end before they are given up");
    assert!(
        wrong.is_empty(),
        "{} calls are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A client that has lost patience repeats its call while the first is at work. What the first changes must not be why the other is
/// refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_calls_at_once_one_counts_and_all_are_answered() {
    let mut chance = Chance::of("equal calls at once");
    let stage = Stage::set(Shape::One).await;
    let mut wrong = Vec::new();
    let calls = calls::all();
    let calls = calls.iter().filter(|call| !call.is_internal() && !call.issues());
    for call in calls {
        let model = stage.model(call).await;
        for _ in 0..rounds() {
            let ready = call.prepare(&stage.suite, &stage.cast).await;
            let moments = [(); AT_ONCE].map(|()| chance.moment(model.took.mul_f64(BEYOND)));
            let found = stage.many(&moments, call, &ready, &model).await;
            wrong.extend(found.map(|what| format!("{}: {what}", call.path())));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} calls are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
