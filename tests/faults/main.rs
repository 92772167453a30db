//! What goes wrong from outside: processes and Postgres killed under load, calls cancelled half-way, peers that hold a process up
//! when it is to stop, and a replay that is repeated.
//!
//! | module | what it does to the suite | what must hold |
//! | --- | --- | --- |
//! | [`kill`] | `kill -9` of each process and of all of Postgres, under load | what was acknowledged is there, once, in its order |
//! | [`cancel`] | calls given up at any moment, many inside of a transaction | nothing half done, no connection in a transaction |
//! | [`drain`] | SIGTERM with silent, half-spoken, stalled and busy peers | exit 0 within 20 s, what is in hand is finished |
//! | [`replay`] | real conversation, twice | all of it comes back, and nothing is stored twice |
//!
//! Each test prints the seed that its moments come from. `TIDINGS_FAULT_SEED` repeats one, as far as a run on real processes can be
//! repeated, and `TIDINGS_FAULT_ROUNDS` makes the runs longer; by default they are as short as still shows something. A longer run,
//! by hand:
//!
//! ```sh
//! cargo build --workspace
//! TIDINGS_FAULT_ROUNDS=50 cargo xtask test -- -p tidings-tests --test faults -- --nocapture
//! ```

mod cancel;
#[path = "../e2e/matrix/cast.rs"]
#[expect(dead_code, reason = "some of the cast play in the matrix only")]
mod cast;
mod chance;
mod dev;
mod drain;
mod hold;
mod kill;
#[path = "../replay.rs"]
mod replay;
#[path = "../e2e/rest.rs"]
mod rest;
#[path = "../e2e/matrix/rows/mod.rs"]
mod rows;
#[path = "../e2e/matrix/scene.rs"]
#[expect(dead_code, reason = "what is there is looked at in the matrix only")]
mod scene;
