//! All SQL of the service, by table. Nothing here decides; nothing elsewhere speaks SQL.

pub mod accounts;
pub mod assignments;
pub mod fan_outs;
pub mod housekeeping;
pub mod roles;
pub mod states;
pub mod users;
