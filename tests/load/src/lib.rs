//! Plays conversation through the public API as its senders would have typed it, and compares what comes back with the file.
//!
//! The order of reading follows a replay:
//!
//! - [`dataset`] reads the file, one log after the other; [`survey`] has read it once before, for what must be known in advance.
//! - [`identity`] makes names, passwords and `request_id`s out of the file alone, so that a second replay asks for the same
//!   things again and must get the first answers.
//! - [`client`] speaks to the server: calls with retries, and login sessions that renew themselves.
//! - [`replay`] plays the logs, many at once: [`accounts`], group and chat, [`follow`]ers on streams, sends, [`read_back`].
//! - [`compare`] holds each reading against the file. [`meter`] counts, [`summary`] tells.
//! - [`record`] writes down what the server has acknowledged, and [`verify`] holds the server to it, after it was killed perhaps.
//! - [`revocations`] measures how soon an end of somebody's rights is known everywhere.
//! - [`existence`] measures whether the time of a refusal tells what is there.
//! - [`generate`] makes a small file of the same shape, for where the real one is not at hand.
//!
//! Only the generated clients are used: what passes here passes for any client of the API.

pub mod accounts;
pub mod chat_log;
pub mod client;
pub mod compare;
pub mod dataset;
pub mod existence;
pub mod follow;
pub mod generate;
pub mod identity;
pub mod meter;
pub mod progress;
mod quantile;
pub mod read_back;
pub mod record;
pub mod replay;
pub mod revocations;
pub mod summary;
pub mod survey;
pub mod verify;
