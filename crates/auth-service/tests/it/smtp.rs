//! A mail server for tests: it takes every mail, with TLS or without.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tidings_ids::Source;
use tidings_rpc::testing::{Authority, Certificate};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With TLS.
    Tls,
    /// Without, and `STARTTLS` is offered.
    Plain,
    /// Without, and that is all there is.
    PlainOnly,
}

/// Takes connections as `localhost`, with a certificate that `authority` has signed.
pub fn acceptor(authority: &Authority) -> TlsAcceptor {
    let (now, day) = (Source::system().now(), time::Duration::DAY);
    let certificate = authority.sign(&["localhost"], now - day, now + day);
    TlsAcceptor::from(Arc::new(tls(&certificate)))
}

/// The server; it ends with the test.
pub struct Sink {
    port: u16,
    taken: Arc<Taken>,
    work: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Taken {
    mails: Mutex<Vec<String>>,
    in_the_open: AtomicUsize,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Sink {
    /// A server on the loopback whose certificate, for `localhost`, is signed by `authority`.
    pub async fn open(authority: &Authority, begin: Begin) -> Self {
        let acceptor = acceptor(authority);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let taken = Arc::new(Taken::default());
        let served = Arc::clone(&taken);
        let work = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, taken) = (acceptor.clone(), Arc::clone(&served));
                // A client that goes away in the middle is what some tests want.
                tokio::spawn(async move { drop(serve(socket, begin, &acceptor, &taken).await) });
            }
        });
        Self { port, taken, work }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many mails have been taken.
    pub fn mails(&self) -> usize {
        self.taken.mails.lock().len()
    }

    /// How many lines of mails, or of who they are for, came without TLS.
    pub fn in_the_open(&self) -> usize {
        self.taken.in_the_open.load(Ordering::Relaxed)
    }

    pub fn newest(&self) -> String {
        self.taken.mails.lock().last().cloned().unwrap_or_default()
    }
}

fn tls(certificate: &Certificate) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair")
}

async fn serve(socket: TcpStream, begin: Begin, acceptor: &TlsAcceptor, taken: &Taken) -> std::io::Result<()> {
    if begin == Begin::Tls {
        let stream = acceptor.accept(socket).await?;
        return talk(stream, false, true, true, taken).await.map(drop);
    }
    let rest = talk(socket, begin == Begin::Plain, false, true, taken).await?;
    if let Some(socket) = rest {
        let stream = acceptor.accept(socket).await?;
        talk(stream, false, true, false, taken).await?;
    }
    Ok(())
}

/// Talks SMTP as far as a mail needs it; gives the stream back where the client asks for TLS.
async fn talk<S>(stream: S, offer: bool, secret: bool, greet: bool, taken: &Taken) -> std::io::Result<Option<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    if greet {
        stream.write_all(b"220 sink\r\n").await?;
    }
    let (mut line, mut mail) = (String::new(), None::<String>);
    loop {
        line.clear();
        stream.flush().await?;
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if let Some(text) = &mut mail {
            if line != ".\r\n" {
                text.push_str(&line);
                continue;
            }
            taken.mails.lock().extend(mail.take());
            stream.write_all(b"250 taken\r\n").await?;
            continue;
        }
        let command = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        if !secret && ["MAIL", "RCPT", "DATA", "AUTH"].contains(&command.as_str()) {
            taken.in_the_open.fetch_add(1, Ordering::Relaxed);
        }
        let answer: &[u8] = match command.as_str() {
            "EHLO" if offer => b"250-sink\r\n250 STARTTLS\r\n",
            "STAR" => {
                stream.write_all(b"220 go ahead\r\n").await?;
                stream.flush().await?;
                return Ok(Some(stream.into_inner()));
            }
            "DATA" => {
                mail = Some(String::new());
                b"354 go ahead\r\n"
            }
            "QUIT" => b"221 bye\r\n",
            _ => b"250 fine\r\n",
        };
        stream.write_all(answer).await?;
    }
}
