//! The message service with its middleware and a real Postgres; the tests are the chat service and the users.

mod activity;
mod attachments;
mod blocked;
mod edits;
mod interleavings;
mod lists;
mod memberships;
mod nodes;
mod outages;
mod plans;
mod removed_chats;
mod repetitions;
mod responses;
mod retention;
mod sends;
mod snapshots;
mod stress;
mod sync;
mod trail;
mod transfers;
mod world;
