//! All SQL of the service, by table. Nothing here decides; nothing elsewhere speaks SQL.

pub mod accounts;
pub mod assignments;
pub mod blocks;
pub mod emails;
pub mod fan_outs;
pub mod housekeeping;
pub mod lifecycle;
pub mod roles;
pub mod search;
pub mod states;
pub mod usernames;
pub mod users;
