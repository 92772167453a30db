//! The chat service with its middleware, a real Postgres, and peers that a test steers.

mod blocks;
mod chats;
mod conversations;
mod delivery;
mod departures;
mod direct;
mod fakes;
mod feed;
mod fields;
mod groups;
mod invisibility;
mod memberships;
mod paging;
mod plans;
mod quotas;
mod races;
mod repetition;
mod sessions;
mod trail;
mod world;
