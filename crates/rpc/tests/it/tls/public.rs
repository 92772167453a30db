//! TLS at the public port: the server's certificate alone, and both versions of HTTP.

use std::{fs, sync::Arc, time::Duration};

use rustls::{
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tidings_ids::Source;
use tidings_rpc::{
    Limits, Listener, PortLimits, PublicTls,
    testing::Authority,
    tls::{InvalidTls, Reload},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::world::client;
use crate::support::{Handle, environment, stack};

const NAME: &str = "chat.example.org";
const DAY: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_secs(8);

struct Public {
    authority: Authority,
    tls: PublicTls,
    address: std::net::SocketAddr,
    folder: tempfile::TempDir,
}

fn signed(authority: &Authority, folder: &std::path::Path) {
    let now = Source::system().now();
    let certificate = authority.sign(&[NAME], now - DAY, now + DAY);
    fs::write(folder.join("key.pem"), certificate.key).expect("writes");
    fs::write(folder.join("cert.pem"), certificate.certificate).expect("writes");
}

async fn open() -> Public {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder of its own");
    signed(&authority, folder.path());
    let paths = |name: &str| folder.path().join(name);
    let tls = PublicTls::load(paths("cert.pem"), paths("key.pem"), Source::system()).expect("fit");
    let environment = environment(Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(tidings_rpc::serve(
        Listener::public(listener, Some(tls.clone())),
        stack(&environment, &Handle::default()),
        PortLimits::PUBLIC,
        environment.drain.clone(),
        environment.source.clone(),
    ));
    Public {
        authority,
        tls,
        address,
        folder,
    }
}

impl Public {
    async fn connect(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = client(&self.authority, None, version);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).expect("a host name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

#[tokio::test]
async fn clients_without_certificates_choose_the_version_of_http() {
    let public = open().await;
    for version in [&TLS13, &TLS12] {
        let stream = public.connect(version, &[b"h2", b"http/1.1"]).await.expect("connects");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut stream = public.connect(version, &[b"http/1.1"]).await.expect("connects");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let request = b"GET / HTTP/1.1\r\nhost: chat.example.org\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("writes");
        let mut answer = [0; 8];
        let read = timeout(SOON, stream.read_exact(&mut answer)).await;
        read.expect("at once").expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1");
    }
}

#[tokio::test]
async fn plaintext_is_not_answered() {
    let public = open().await;
    let mut plain = TcpStream::connect(public.address).await.expect("connects");
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("writes");
    let mut answer = Vec::new();
    let ended = timeout(SOON, plain.read_to_end(&mut answer)).await.expect("at once");
    assert!(ended.is_err() || !answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_new_clients() {
    let public = open().await;
    let shown = |stream: TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().expect("one")[0].to_vec();
    let first = shown(public.connect(&TLS13, &[b"h2"]).await.expect("connects"));
    fs::write(public.folder.path().join("key.pem"), "nothing").expect("writes");
    assert!(matches!(public.tls.reload(), Reload::Refused(InvalidTls::NoKey { .. })));
    assert_eq!(shown(public.connect(&TLS13, &[b"h2"]).await.expect("connects")), first);
    signed(&public.authority, public.folder.path());
    assert!(matches!(public.tls.reload(), Reload::Replaced));
    assert_ne!(shown(public.connect(&TLS13, &[b"h2"]).await.expect("connects")), first);
}
