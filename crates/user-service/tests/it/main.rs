//! The user service behind its middleware, on a real database.

mod access;
mod blocks;
mod emails;
mod fan_out;
mod feed;
mod foreign;
mod lifecycle;
mod lists;
mod profiles;
mod provisioning;
mod rank;
mod requests;
mod roles;
mod search;
mod support;
mod trail;
mod usernames;
