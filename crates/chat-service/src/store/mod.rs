//! What stands in Postgres, by noun. Statements only: what they are for is decided in the nouns' files.

pub(crate) mod audiences;
pub(crate) mod chats;
pub(crate) mod creators;
pub(crate) mod departures;
pub(crate) mod groups;
pub(crate) mod members;
pub(crate) mod outbox;
pub(crate) mod pairs;
pub(crate) mod user_feed;
