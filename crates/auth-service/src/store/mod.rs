//! What is kept in the schema `auth`, and every statement that touches it. Functions that must be part of a transaction
//! take its connection; others take any executor.

pub(crate) mod accounts;
pub(crate) mod api_keys;
pub(crate) mod claims;
pub(crate) mod email_changes;
pub(crate) mod exchanged_tokens;
pub(crate) mod keys;
pub(crate) mod mails;
pub(crate) mod proofs;
pub(crate) mod recovery_codes;
pub(crate) mod registrations;
pub(crate) mod revocations;
pub(crate) mod service_accounts;
pub(crate) mod session_views;
pub(crate) mod sessions;
pub(crate) mod throttles;
pub(crate) mod tokens;
pub(crate) mod totps;
pub(crate) mod user_states;
