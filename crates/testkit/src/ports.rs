use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// A port that nobody listens on, below those that the system gives to connections on their way out (32,768 and up on Linux): one
/// of those could be taken before the suite listens on it. Each is handed out once, and processes begin at different ones.
///
/// # Panics
///
/// When all are taken.
#[must_use]
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    let begin = std::process::id().wrapping_mul(97);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < COUNT, "all ports are taken");
        let port = FIRST + begin.wrapping_add(number) % COUNT;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("below 32,000")));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
