//! Tests against a real Postgres.

mod counters;
mod errors;
mod migrations;
mod pools;
mod request_ids;
mod roles;
mod transactions;
mod world;
