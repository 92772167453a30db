//! The middleware and the accept loop, called as a client calls them.

mod connections;
mod contract;
mod drain;
mod stack;
mod support;
mod tls;
