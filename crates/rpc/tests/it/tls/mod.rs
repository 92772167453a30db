//! TLS between services (`reliability.md` A20, A68, B104, F64): who is refused, and how certificates are replaced.

mod callers;
mod files;
mod public;
mod refusals;
mod replacement;
mod world;
