use std::{io, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A TCP link to `target` that a test can cut, let fall silent and mend, and listen to. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Link {
    state: watch::Sender<State>,
    /// What has passed, where that is recorded.
    record: Option<Mutex<Vec<u8>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Connections stand, and nothing passes: what a partition is to those who are cut off.
    Silent,
    Cut,
}

/// More than this is not recorded, in bytes.
const RECORD_MAX: usize = 64 << 20;

impl Proxy {
    /// A whole link from a new port of this machine to `target`.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        Self::open(target, None).await
    }

    /// The same, which writes down all that passes in either direction.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn recording(target: SocketAddr) -> io::Result<Self> {
        Self::open(target, Some(Mutex::default())).await
    }

    async fn open(target: SocketAddr, record: Option<Mutex<Vec<u8>>>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let link = Arc::new(Link {
            state: watch::Sender::new(State::Whole),
            record,
        });
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&link)));
        Ok(Self {
            address,
            link,
            accepting,
        })
    }

    /// The port to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and refuses new ones until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.link.state.send_replace(State::Cut);
    }

    /// Lets nothing pass on any connection, and none come about, until [`mend`](Self::mend). Nobody is told.
    pub fn silence(&self) {
        self.link.state.send_replace(State::Silent);
    }

    /// Lets connections through again. What was written to one that had fallen silent passes now.
    pub fn mend(&self) {
        self.link.state.send_replace(State::Whole);
    }

    /// What has passed so far.
    ///
    /// # Panics
    ///
    /// When it was not recorded, or was too much to record.
    #[must_use]
    pub fn recorded(&self) -> Vec<u8> {
        let record = self.link.record.as_ref().expect("made by `recording`").lock();
        assert!(record.len() < RECORD_MAX, "more has passed than is recorded");
        record.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, link: Arc<Link>) {
    while let Ok((near, _)) = listener.accept().await {
        let state = link.state.subscribe();
        if *state.borrow() == State::Cut {
            continue;
        }
        let link = Arc::clone(&link);
        tokio::spawn(async move {
            let mut cut = link.state.subscribe();
            tokio::select! {
                _ended = connect(near, target, &link, state) => {}
                _cut = cut.wait_for(|state| *state == State::Cut) => {}
            }
        });
    }
}

async fn connect(
    near: TcpStream,
    target: SocketAddr,
    link: &Link,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let _ = state.wait_for(|state| *state == State::Whole).await;
    let far = TcpStream::connect(target).await?;
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    tokio::try_join!(
        pass(&mut near_read, &mut far_write, link, state.clone()),
        pass(&mut far_read, &mut near_write, link, state.clone()),
    )?;
    Ok(())
}

/// Passes bytes on in one direction until there are no more.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    link: &Link,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let _ = state.wait_for(|state| *state == State::Whole).await;
        if read == 0 {
            return to.shutdown().await;
        }
        if let Some(record) = &link.record {
            let mut record = record.lock();
            let room = RECORD_MAX - record.len();
            record.extend_from_slice(&buffer[..read.min(room)]);
        }
        to.write_all(&buffer[..read]).await?;
    }
}
