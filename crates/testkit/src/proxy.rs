use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A TCP link to `target` that a test can cut and mend. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: Arc<watch::Sender<bool>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A whole link from a new port of this machine to `target`.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let link = Arc::new(watch::Sender::new(true));
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
        self.link.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.link.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, link: Arc<watch::Sender<bool>>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let mut whole = link.subscribe();
        if !*whole.borrow_and_update() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(target).await else {
                return;
            };
            tokio::select! {
                _ended = copy_bidirectional(&mut near, &mut far) => {}
                _cut = whole.wait_for(|whole| !whole) => {}
            }
        });
    }
}
