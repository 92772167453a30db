//! Batches against one transaction a call; see `README.md`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::PgConnection;
use tidings_db::{Pool, Schema, Settings, connect_dedicated, testing::Database};
use tidings_ids::{ChatId, Source, UserId};
use tidings_message_service::{MIGRATIONS, testing::Batcher};
use tidings_rpc::Drain;
use tokio::sync::Mutex;
use uuid::Uuid;

/// What a short message has.
const TEXT_BYTES: usize = 200;

struct Options {
    seconds: u64,
    rounds: usize,
    chats: i32,
}

/// The chats, each with a member who sends.
struct World {
    chats: Vec<(ChatId, UserId)>,
    next: AtomicUsize,
}

/// What one run of one way came to.
#[derive(Clone, Copy)]
struct Score {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

/// A way to send.
#[derive(Clone)]
enum Way {
    Batched(Batcher),
    Single(Arc<Vec<Mutex<PgConnection>>>, Source, Arc<AtomicUsize>),
}

impl Way {
    async fn send(&self, (chat_id, user_id): (ChatId, UserId)) {
        let text = "x".repeat(TEXT_BYTES);
        match self {
            Self::Batched(batcher) => assert!(batcher.send(chat_id, user_id, text).await, "stored"),
            Self::Single(connections, source, next) => {
                let index = next.fetch_add(1, Ordering::Relaxed) % connections.len();
                let mut connection = connections[index].lock().await;
                single(&mut connection, source, chat_id, user_id, text).await;
            }
        }
    }
}

/// One item, one transaction, waiting for the chat's row.
async fn single(connection: &mut PgConnection, source: &Source, chat_id: ChatId, user_id: UserId, text: String) {
    let outcome: i16 = sqlx::query_scalar(
        "select outcome
         from messages.send_few(
             array[$1], array[$2], array[1::smallint], array[$3], array[0::bigint], array[$4], array[$5],
             array[null::text], array[null::uuid], array[null::text], array[null::uuid], array[false], array[null::smallint], true)",
    )
    .bind(chat_id.uuid())
    .bind(user_id.uuid())
    .bind(source.new_id::<tidings_ids::kind::Request>().uuid())
    .bind(source.new_id::<tidings_ids::kind::Message>().uuid())
    .bind(text)
    .fetch_one(connection)
    .await
    .expect("answered");
    assert_eq!(outcome, 0, "stored");
}

fn main() {
    let options = options();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(&options));
}

/// `--seconds`, `--rounds`, `--chats`. Cargo adds `--bench`.
fn options() -> Options {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u32>().ok()
    };
    Options {
        seconds: value("--seconds").unwrap_or(4).into(),
        rounds: value("--rounds")
            .map_or(3, |rounds| usize::try_from(rounds).expect("small"))
            .max(1),
        chats: value("--chats")
            .and_then(|chats| chats.try_into().ok())
            .unwrap_or(10_000),
    }
}

async fn run(options: &Options) {
    let database = Database::create(&[MIGRATIONS]).await;
    let settings = Settings {
        schema: Some(Schema::Messages),
        ..database.settings()
    };
    let pool = database.pool_as(Schema::Messages);
    let many = fill(&database.pool(), options.chats).await;
    let hot = World {
        chats: many.chats[..1].to_vec(),
        next: AtomicUsize::new(0),
    };

    let drain = Drain::new();
    let batched = Way::Batched(Batcher::start(2, &settings, &pool, &drain));
    let singles = [held(&settings, 8).await, held(&settings, 16).await];
    println!(
        "{:>9}  {:>28}  {:>28}  ratio",
        "in flight", "batched: msg/s, p50, p99", "single: msg/s, p50, p99"
    );
    for (name, world, in_flight) in [
        ("1", &many, 1),
        ("16", &many, 16),
        ("64", &many, 64),
        ("256", &many, 256),
        ("64 hot", &hot, 64),
    ] {
        let (mut batches, mut bests) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            batches.push(measure(&batched, world, in_flight, options.seconds).await);
            let mut best: Option<Score> = None;
            for way in &singles {
                let score = measure(way, world, in_flight, options.seconds).await;
                if best.is_none_or(|best| score.rate > best.rate) {
                    best = Some(score);
                }
            }
            bests.extend(best);
        }
        let (batch, single) = (median(batches), median(bests));
        println!(
            "{name:>9}  {}  {}  {:.2}",
            show(batch),
            show(single),
            batch.rate / single.rate
        );
    }
    assert!(drain.finish().await, "the shards end");
}

/// `in_flight` callers, each sending one message after another, for a while.
async fn measure(way: &Way, world: &World, in_flight: usize, seconds: u64) -> Score {
    let end = Instant::now() + Duration::from_secs(seconds);
    let begun = Instant::now();
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (way, chats) = (way.clone(), world.next.fetch_add(1, Ordering::Relaxed));
            let all = world.chats.clone();
            tokio::spawn(async move {
                let (mut times, mut at) = (Vec::new(), chats * 7_919);
                while Instant::now() < end {
                    at += 104_729;
                    let sent = Instant::now();
                    way.send(all[at % all.len()]).await;
                    times.push(sent.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.expect("no panic"));
    }
    let rate = f64::from(u32::try_from(times.len()).expect("a run is short")) / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    Score {
        rate,
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    }
}

fn median(mut scores: Vec<Score>) -> Score {
    scores.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    scores[scores.len() / 2]
}

fn show(score: Score) -> String {
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    format!(
        "{:>9.0} {:>7.2} ms {:>7.2} ms",
        score.rate,
        millis(score.p50),
        millis(score.p99)
    )
}

/// Connections as the batcher has them.
async fn held(settings: &Settings, count: usize) -> Way {
    let session = [
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_mergejoin", "off"),
    ];
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Mutex::new(
            connect_dedicated(settings, &session).await.expect("connected"),
        ));
    }
    Way::Single(Arc::new(connections), Source::system(), Arc::default())
}

/// Chats of ten members each, of whom one sends.
async fn fill(pool: &Pool, count: i32) -> World {
    for sql in [
        "insert into messages.audiences (audience_id, applied_number)
         select gen_random_uuid(), 11 from generate_series(1, $1)",
        "insert into messages.chats
             (chat_id, audience_id, kind, history, archived, slow_mode_interval_secs, audience_number, activity)
         select audience_id, audience_id, 3, 1, false, 0, 11, 0 from messages.audiences where $1 > 0",
        "insert into messages.members (audience_id, user_id, role, create_time, joined_number, revision)
         select audience_id, gen_random_uuid(), 1, now(), n + 1, n + 1
         from messages.audiences, generate_series(1, 10) n where $1 > 0",
    ] {
        sqlx::query(sql).bind(count).execute(pool).await.expect("filled");
    }
    sqlx::raw_sql("analyze").execute(pool).await.expect("analysed");
    let rows: Vec<(Uuid, Uuid)> =
        sqlx::query_as("select audience_id, user_id from messages.members where joined_number = 2")
            .fetch_all(pool)
            .await
            .expect("readable");
    let chats = rows
        .into_iter()
        .map(|(chat, user)| (ChatId::from_uuid(chat), UserId::from_uuid(user)))
        .collect();
    World {
        chats,
        next: AtomicUsize::new(0),
    }
}
