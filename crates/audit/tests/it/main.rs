//! The audit trail on a real Postgres.

mod denials;
mod lists;
mod sealing;
mod tampering;
mod world;
