//! Tests against a real Postgres.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod counters;
mod errors;
mod migrations;
mod pools;
mod request_ids;
mod roles;
mod transactions;
mod world;
