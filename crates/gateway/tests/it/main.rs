//! The gateway before two fake services, called as clients call it, in every protocol and in both shapes.

mod browsers;
mod calls;
mod connect;
mod fakes;
mod framing;
mod grpc;
mod grpc_web;
mod http_pages;
mod limits;
mod media;
mod passing_on;
mod slow_readers;
mod sse;
mod world;
