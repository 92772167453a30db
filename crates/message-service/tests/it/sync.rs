//! SyncService: streams, pages, and who may see what of them.

mod access;
pub mod client;
mod ends;
mod pages;
mod sessions;
mod streams;
