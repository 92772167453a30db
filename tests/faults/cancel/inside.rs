//! Calls that are given up between BEGIN and COMMIT, for certain: a table that they need is held until the service has let go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tidings_db::Pool;
use tidings_testkit::{Shape, until_some};
use tokio::task::JoinHandle;

use super::{
    Model, Stage,
    calls::{self, Call, Ready},
    effects::{Effect, SETTLE_LIMIT, can_be_held},
};
use crate::{
    chance::{Chance, rounds},
    hold::{Hold, SERVICES, Waiting, waiting},
};

/// How many calls are to be cut between BEGIN and COMMIT at least.
const CUTS_MIN: usize = 50;

/// A call waits for the table, or has ended, within this.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// A service that has waited for a lock for 2 s gives its transaction up; so long is nothing held here, unless the machine stands still.
const LOCK_WAIT: Duration = Duration::from_millis(1_500);

/// A service has learned within this that nobody waits for its answer.
const NEWS_LIMIT: Duration = Duration::from_secs(30);

/// What is seen of a call that was cut.
#[derive(Debug)]
pub struct Cut {
    /// The connection that waited inside of a transaction.
    pub waited: Waiting,
    /// Whether the connection has outlived it.
    pub connection_lives: bool,
    /// What is there without the call being repeated.
    pub effect: Effect,
}

/// What has become of a call in its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was let go of.
    LetGo,
    /// It came to its end before that.
    Ended,
}

/// How a service is known to have let go of a call.
pub trait News {
    /// The names of the services in which calls are to wait.
    fn names(&self) -> &[&'static str];
    /// The call is made next.
    fn listen(&mut self, _: &Stage, _: &Call) {}
    /// It waits, and is given up next.
    fn count(&mut self) {}
    /// For how long the whole effect is waited for.
    fn patience(&self) -> Duration;
    /// For how long the end of the connection is waited for: Postgres notices it a little after the service has given it up.
    fn end_of_connection(&self) -> Duration {
        Duration::ZERO
    }
    /// What the service has done with the call, once that is known.
    fn has_come(&self, stage: &Stage, call: &Call) -> Option<End>;
}

/// The log tells.
#[derive(Default)]
struct Log {
    offset: u64,
}

impl News for Log {
    fn names(&self) -> &[&'static str] {
        SERVICES
    }

    fn patience(&self) -> Duration {
        SETTLE_LIMIT
    }

    fn listen(&mut self, stage: &Stage, call: &Call) {
        self.offset = stage.log_length(call);
    }

    fn has_come(&self, stage: &Stage, call: &Call) -> Option<End> {
        stage.end_of(call, self.offset)
    }
}

/// Makes a call while these tables are held, gives it up as soon as it waits inside of a transaction, and lets the tables go. `None`
/// where it does not wait for them.
pub async fn cut(
    stage: &Stage,
    call: &Call,
    ready: &Ready,
    model: &Model,
    tables: &[String],
    news: &mut impl News,
) -> Option<Cut> {
    let pool = stage.suite.database().pool();
    let before = stage.tables.settled().await;
    let hold = Hold::take(&stage.suite.database().settings(), tables).await;
    if !waiting(&pool, news.names()).await.is_empty() {
        // Some work behind all calls.
        hold.release().await;
        return None;
    }
    news.listen(stage, call);
    let answered = Arc::new(AtomicBool::new(false));
    let making: JoinHandle<()> = tokio::spawn({
        let (ready, answered) = (ready.clone(), Arc::clone(&answered));
        async move {
            let _ = ready.make().await;
            answered.store(true, Ordering::SeqCst);
        }
    });
    // When it was last seen not to wait: the service gives up so long after that at the earliest.
    let begun = Mutex::new(Instant::now());
    let waited = until_some("the call waits for a table, or ends", WAIT_LIMIT, || async {
        let looked = Instant::now();
        let waited = waiting(&pool, news.names()).await.into_iter().next();
        if waited.is_none() {
            *begun.lock() = looked;
        }
        (waited.is_some() || making.is_finished()).then_some(waited)
    })
    .await;
    let begun = begun.into_inner();
    let Some(waited) = waited else {
        hold.release().await;
        return None;
    };
    news.count();
    making.abort();
    let end = until_some("the service learns that nobody waits", NEWS_LIMIT, || async {
        let was_answered = answered.load(Ordering::SeqCst).then_some(End::Ended);
        was_answered.or_else(|| news.has_come(stage, call))
    })
    .await;
    hold.release().await;
    // It was another that waited, for what the call has left to do behind it, such as mail; or it may have waited for too long.
    if end == End::Ended || begun.elapsed() >= LOCK_WAIT {
        return None;
    }
    let effect = stage.tables.since(&before, &[&model.effect], news.patience()).await;
    let until = Instant::now() + news.end_of_connection();
    let mut connection_lives = lives(&pool, waited.pid).await;
    while connection_lives && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
        connection_lives = lives(&pool, waited.pid).await;
    }
    Some(Cut {
        waited,
        connection_lives,
        effect,
    })
}

async fn lives(pool: &Pool, pid: i32) -> bool {
    sqlx::query_scalar("select exists (select from pg_stat_activity where pid = $1)")
        .bind(pid)
        .fetch_one(pool)
        .await
        .expect("the activity can be read")
}

/// Where in its transaction a call is to wait.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At its first write, or lock of a row, besides the claim of its `request_id`.
    First,
    /// At the claim of its `request_id`.
    Claim,
    /// At a table that it changes.
    Any,
}

impl Place {
    const ALL: [Self; 3] = [Self::First, Self::Claim, Self::Any];

    /// The tables to hold for that.
    fn tables(self, stage: &Stage, model: &Model, chance: &mut Chance) -> Vec<String> {
        let changed: Vec<String> = model
            .effect
            .keys()
            .filter(|table| can_be_held(table))
            .cloned()
            .collect();
        let (claims, others): (Vec<String>, Vec<String>) =
            stage.tables.names().iter().cloned().partition(|table| is_claim(table));
        match self {
            Self::First => others,
            Self::Claim => claims,
            Self::Any => chance.choose(&changed).cloned().into_iter().collect(),
        }
    }
}

/// Whether it is a table in which `request_id`s are claimed.
pub fn is_claim(table: &str) -> bool {
    table.ends_with(".requests")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_given_up_between_begin_and_commit_is_carried_to_its_end() {
    let mut chance = Chance::of("cancel between BEGIN and COMMIT");
    let stage = Stage::set(Shape::Five).await;
    let (mut between, mut at_the_first, mut untouched, mut wrong) = (0, 0, 0, Vec::new());
    for call in &calls::all() {
        let (path, model) = (call.path(), stage.model(call).await);
        for place in Place::ALL.repeat(rounds().div_ceil(2)) {
            let tables = place.tables(&stage, &model, &mut chance);
            if tables.is_empty() {
                continue;
            }
            let ready = call.prepare(&stage.suite, &stage.cast).await;
            let before = stage.tables.settled().await;
            let Some(cut) = cut(&stage, call, &ready, &model, &tables, &mut Log::default()).await else {
                untouched += 1;
                continue;
            };
            if cut.waited.has_written {
                between += 1;
            } else {
                at_the_first += 1;
            }
            if !cut.connection_lives {
                wrong.push(format!(
                    "{path}: cut at {:?}, its connection was lost",
                    cut.waited.query
                ));
            }
            if cut.effect != model.effect {
                let (done, whole, query) = (&cut.effect, &model.effect, &cut.waited.query);
                wrong.push(format!(
                    "{path}: cut at {query:?}, it has done {done:?} instead of {whole:?}"
                ));
            }
            let found = stage.repeat(call, &ready, &before, &model).await;
            wrong.extend(found.map(|what| format!("{path}: {what}")));
        }
    }
    stage.tables.nobody_left_in_a_transaction().await;
    eprintln!(
        "{between} calls were cut after a write of their transaction, {at_the_first} at the first; {untouched} met nothing that was held"
    );
    assert!(
        between >= CUTS_MIN,
        "only {between} calls were cut between BEGIN and COMMIT"
    );
    assert!(
        wrong.is_empty(),
        "{} calls are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
