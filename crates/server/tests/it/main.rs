//! The private Postgres, for real: each test has a folder and a server of its own.
#![cfg(test)]

mod postgres;
