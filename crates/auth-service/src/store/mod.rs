//! What is kept in the schema `auth`, and every statement that touches it. Functions that must be part of a transaction
//! take its connection; others take any executor.

pub(crate) mod accounts;
pub(crate) mod claims;
pub(crate) mod keys;
pub(crate) mod mails;
pub(crate) mod registrations;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod tokens;
