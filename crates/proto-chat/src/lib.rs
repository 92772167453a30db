//! The package `tidings.chat.v1`: its messages, and with the features `client` and `server` its stubs.
//!
//! Everything here is generated from `proto/tidings/chat/v1`; the comments there are the documentation.

/// The messages and stubs of `tidings.chat.v1`.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/tidings.chat.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/redacted.rs"));
}

/// The encoded descriptors of the package and all that it imports, with comments and custom options.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
