//! SyncService: streams, pages, and who may see what of them.

mod access;
mod client;
mod ends;
mod pages;
mod streams;
