//! The built-in echo assistant: it answers every message of its sessions with the same words.
//!
//! It is there so that a newcomer's first session has somebody to talk to, and as an example of an assistant: it is an ordinary
//! client of the public API, with a bot's account, and uses nothing that another assistant could not.
//!
//! | file | one job |
//! | --- | --- |
//! | [`assistant`] | the two loops: one follows, one answers |
//! | [`place`] | how far it has followed its chats, and what of a frame concerns it (pure) |
//! | [`inbox`] | what waits for an answer, in the order of each chat (pure) |
//! | [`question`] | which messages are answered, and with what (pure) |
//! | [`login_session`] | signed in, with a token that works, and calls with it |
//! | [`failure`] | what a refusal means, and how long to wait |
//! | [`transport`] | the way to the gateway |
//!
//! # One message, one response
//!
//! The `request_id` of a response is the id of the message that it answers, so an attempt that was repeated, by this process
//! or by the next one, gets the response that is there. Within a chat answers are given in order: after a restart, which begins
//! with snapshots, whatever stands before an answered message needs no answer, and looking back ends there.
//!
//! # Who is answered
//!
//! People, in sessions whose assistant it is. Never a bot, itself included, since two that answer each other never end; never a
//! response, a tombstone or what the server wrote.
//!
//! # A further kind of assistant
//!
//! Gives [`question`] another text. One that thinks for a while keeps everything else; one that writes piece by piece needs the
//! streamed responses of `ResponseService`.

mod assistant;
mod failure;
mod inbox;
mod login_session;
mod place;
mod question;
mod transport;

use std::time::Duration;

use secrecy::SecretString;
use tidings_ids::Source;
use tokio_util::sync::CancellationToken;

pub use transport::Transport;

/// The username of the echo assistant. The user service keeps it for the operator.
pub const USERNAME: &str = "echo";

/// What the assistant is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bot's username.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// How patient it is.
    pub patience: Patience,
    /// Time and randomness.
    pub source: Source,
}

/// How long the assistant waits, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Before the first repetition of what failed; then ever longer.
    pub retry_min: Duration,
    /// Between repetitions at most, also where the server asks for longer.
    pub retry_max: Duration,
    /// For the answer to a call.
    pub call: Duration,
    /// For the next frame of a stream, which has a heartbeat every 30 seconds.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(15),
            call: Duration::from_secs(10),
            silence: Duration::from_secs(75),
        }
    }
}

/// Answers until it is told to stop. What was being answered then is answered by the next start. It does not end by itself: what
/// fails is tried again.
pub async fn run(transport: Transport, config: Config, stop: CancellationToken) {
    let assistant = assistant::Assistant::new(transport, config);
    tokio::select! {
        () = stop.cancelled() => {}
        () = assistant.work() => {}
    }
}
