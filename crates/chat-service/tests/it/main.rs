//! The chat service with its middleware, a real Postgres, and peers that a test steers.

mod chats;
mod conversations;
mod delivery;
mod direct;
mod fakes;
mod fields;
mod groups;
mod invisibility;
mod memberships;
mod paging;
mod quotas;
mod races;
mod repetition;
mod sessions;
mod trail;
mod world;
