//! Whether the time of a call tells if an account exists; see `README.md`.

#[path = "../tests/it/pairs.rs"]
mod pairs;
#[path = "../tests/it/user.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod user;
#[path = "../tests/it/world.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod world;

use pairs::Call;

/// What "2,000 existing and 2,000 absent" asks for.
const PAIRS: usize = 2_000;

fn main() {
    let pairs = pairs_wanted();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(pairs));
}

/// `--pairs`. Cargo adds `--bench`.
fn pairs_wanted() -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--pairs");
    let given = at.and_then(|at| arguments.get(at + 1)?.parse().ok());
    given.unwrap_or(PAIRS).max(1)
}

async fn run(pairs: usize) {
    let world = pairs::world(pairs).await;
    println!(
        "{:<12}  {:>5}  {:>6}  {:>12}  {:>12}  difference of medians",
        "call", "pairs", "hashes", "existing", "absent"
    );
    for call in Call::ALL {
        let samples = pairs::sample(&world, call, pairs).await;
        pairs::assert_alike(call, &samples);
        let (existing, absent) = (pairs::median(&samples, true), pairs::median(&samples, false));
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1_000.0;
        println!(
            "{:<12}  {pairs:>5}  {:>6}  {:>9.3} ms  {:>9.3} ms  {:+.3} ms",
            format!("{call:?}"),
            call.hashes(),
            milliseconds(existing),
            milliseconds(absent),
            milliseconds(existing) - milliseconds(absent),
        );
    }
}
