//! The batcher by itself, for the benchmark: behind the feature `testing`, which only dev-dependencies turn on.

use std::sync::Arc;

use tidings_db::{Pool, Settings};
use tidings_ids::{ChatId, Source, UserId};
use tidings_rpc::Drain;

use crate::{
    bus::Bus,
    requests::Method,
    send::{self, Item, Outcome, Sends},
};

/// The batcher, without the RPCs before it.
#[derive(Clone)]
pub struct Batcher {
    sends: Sends,
    source: Source,
}

impl std::fmt::Debug for Batcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batcher")
    }
}

impl Batcher {
    /// Starts `shards` shards on the drain.
    #[must_use]
    pub fn start(shards: usize, settings: &Settings, pool: &Pool, drain: &Drain) -> Self {
        let (sends, work) = send::build(shards, settings, pool, &Bus::new(false), drain);
        for work in work {
            drain.spawn(work);
        }
        Self {
            sends,
            source: Source::system(),
        }
    }

    /// Sends a text; whether it was stored.
    pub async fn send(&self, chat_id: ChatId, user_id: UserId, text: String) -> bool {
        let item = Item {
            chat_id,
            caller_id: user_id,
            method: Method::SendMessage,
            request_id: self.source.new_id(),
            request_hash: 0,
            message_id: self.source.new_id(),
            text,
            metadata: std::collections::BTreeMap::new(),
            reply_to: None,
            attachment_ids: Vec::new(),
            response_to: None,
        };
        matches!(self.sends.send(Arc::new(item)).await, Ok(Outcome::Stored { .. }))
    }
}
