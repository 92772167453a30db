//! How much of HTTP/2's streams is kept for who does not take it.
//!
//! Between services one connection carries the calls of all users, and HTTP/2 bounds what lies unread on a connection beside what
//! lies unread on each of its streams. Where few streams can fill the connection's window, a few readers that take nothing stop
//! everybody. So a stream's window is small here, and the connection's so large that all streams together do not fill it: what
//! bounds the memory is how many streams there are and how long each is let lie.

/// The window of one stream between services: what goes over a network of 1 ms in a second is 64 MB.
pub(crate) const STREAM_BYTES: u32 = 64 * 1024;

/// The window of a connection between services: the largest that the protocol has (RFC 9113, 6.9.1). 20,000 streams and 2,048
/// calls, as many as there are at once, fill two thirds of it.
pub(crate) const CONNECTION_BYTES: u32 = (1 << 31) - 1;

/// The windows of a client's connection, of its streams and of the connection itself: 100 Mbit/s of an upload at 80 ms.
pub(crate) const CLIENT_BYTES: u32 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::{CONNECTION_BYTES, STREAM_BYTES};
    use crate::{Limits, PortLimits};

    #[test]
    fn all_streams_together_do_not_fill_a_connection() {
        let limits = Limits::default();
        let streams =
            (limits.calls_max + limits.streams_max).max(PortLimits::INTERNAL.streams_per_connection_max as usize);
        assert!(streams * (STREAM_BYTES as usize) < CONNECTION_BYTES as usize);
    }
}
