//! The private Postgres and the commands, for real: each test has a folder and a server of its own.
#![cfg(test)]

mod assistant;
mod certificates;
mod dev;
mod example;
mod postgres;
mod tidings;
mod tls;
