//! The auth service in this process, on a real Postgres, with a user service made for the tests beside it.

mod feed;
mod login;
mod mail;
mod recovery;
mod refresh;
mod registration;
mod user;
mod verified;
mod world;
