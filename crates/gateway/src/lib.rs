//! The public port of a deployment.
//!
//! It offers the public RPCs of all packages unchanged, over gRPC, gRPC-Web, Connect (JSON and binary) and Server-Sent Events,
//! without knowing any RPC: what differs by RPC is read from the descriptors compiled into it. It decides nothing about users.
//! It adds nothing that a service trusts but the client's address, which counts beside the gateway's own proof of identity, and
//! services check callers, permissions and rates themselves.
//!
//! # The way of a call
//!
//! ```text
//!            ┌ application/grpc ──────────────────────────────────────────┐
//! [`serve`] ─┼ application/grpc-web* ─ tonic-web ─────────────────────────┼─ Dispatch ┬─ Forward ── Peer ── service
//!            ├ application/json, proto, connect+* ─ connect, json ─ Grpc ─┤           └─ Stack: GatewayService, health,
//!            └ … with Accept: text/event-stream ─── sse ──────────────────┘                      reflection
//! ```
//!
//! Every protocol ends in gRPC, at one place: [`dispatch`]. What is not in the [`catalogue`] is refused there, so that internal
//! RPCs are unreachable in every protocol alike. [`forward`] lets a call through within the limits and ends it by the contract
//! whatever the service's process does. Nothing that was made for one RPC stands here.
//!
//! | module | one job |
//! | --- | --- |
//! | `catalogue` | which RPCs are public, and which service has them |
//! | `headers` | what of a client's headers goes on |
//! | `arrivals` | how much of requests is on its way at once |
//! | `admission` | how much goes on at once |
//! | `forward`, `body` | one call to a service, from its beginning to its end |
//! | `dispatch` | here or there |
//! | `connect`, `json`, `sse` | the other protocols, in terms of gRPC |
//! | `media` | uploads and downloads, which are plain HTTP |
//! | `info`, `upstreams` | `GatewayService`, and whether the services serve |
//! | `pages` | `/healthz`, the JWKS, the page to try it, the page of the links in mails |
//! | `cors`, `browser_headers` | which pages may call, and what browsers are told about every answer |
//!
//! # Adding an RPC
//!
//! Nothing is to be done here. A new RPC needs a rebuilt gateway, as the descriptors are compiled into it; a new package needs its
//! line in `catalogue::DESCRIPTORS`.
//!
//! [`serve`]: fn@tidings_rpc::serve

mod admission;
mod arrivals;
mod body;
mod browser_headers;
mod catalogue;
mod config;
mod connect;
mod cors;
mod dispatch;
mod forward;
mod gateway;
mod headers;
mod info;
mod json;
mod jwks;
mod media;
mod network;
mod pages;
mod reflection;
mod sse;
mod upstreams;

pub use catalogue::{DESCRIPTORS, InvalidDescriptors};
pub use config::{Config, Cors, default_limits};
pub use gateway::Gateway;
pub use network::{InvalidNetwork, Network};
pub use upstreams::Upstreams;
