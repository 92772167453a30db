use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tidings_ids::Source;
use tidings_rpc::testing::Authority;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{super::issuer::trust, Address, FetchError, Fetcher};

#[test]
fn what_is_not_this_machine_is_asked_under_tls() {
    for text in [
        "https://id.example.org/a?b=c",
        "https://[2001:db8::1]:8443/",
        "http://[::1]:1/",
        "http://localhost/x",
        "http://127.8.9.1",
    ] {
        assert!(Address::parse(text).is_ok(), "{text}");
    }
    for text in [
        "http://id.example.org",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "http://10.0.0.1",
        "//id",
        "/a",
        "",
        "https://",
        "https://a@b/",
        "file:///etc/passwd",
    ] {
        assert!(Address::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_discovery_document_is_below_the_issuer() {
    for issuer in ["https://id.example.org/realms/a", "https://id.example.org/realms/a/"] {
        let address = Address::discovery(issuer).expect("valid");
        assert_eq!(
            address.uri.to_string(),
            "https://id.example.org/realms/a/.well-known/openid-configuration"
        );
    }
}

/// A server with a certificate for these names, which answers every request with the same document. Its port.
async fn server(authority: &Authority, names: &[&str]) -> u16 {
    let (now, day) = (Source::system().now(), time::Duration::DAY);
    let certificate = authority.sign(names, now - day, now + day);
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // Whoever does not trust it goes away here.
            let Ok(mut stream) = acceptor.accept(socket).await else {
                continue;
            };
            let mut head = [0; 4_096];
            let read = stream.read(&mut head).await.expect("a request");
            assert!(head[..read].starts_with(b"GET /a?b=c HTTP/1.1\r\n"));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\n{\"a\":1}";
            stream.write_all(answer).await.expect("answered");
            // Whoever has read it all may be gone.
            drop(stream.shutdown().await);
        }
    });
    port
}

fn fetcher(authority: &Authority) -> Fetcher {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).expect("a certificate");
    roots.add(certificate).expect("an authority");
    Fetcher::trusting(roots)
}

#[tokio::test]
async fn an_issuers_own_authority_is_read_from_a_file() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let port = server(&authority, &["localhost"]).await;
    let address = Address::parse(&format!("https://localhost:{port}/a?b=c")).expect("an address");
    let file = folder.path().join("ca.pem");
    let trusting = |pem: &str| {
        std::fs::write(&file, pem).expect("written");
        let mut roots = RootCertStore::empty();
        trust(&mut roots, &file).map(|()| Fetcher::trusting(roots))
    };
    // Two in one file: the other one first.
    let both = format!("{}{}", Authority::new().certificate(), authority.certificate());
    let fetcher = trusting(&both).expect("two certificates");
    assert_eq!(
        fetcher.json(&address).await.expect("trusted"),
        serde_json::json!({"a": 1})
    );

    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for unusable in ["", "no PEM", no_certificate] {
        let refused = trusting(unusable).expect_err("refused").to_string();
        assert!(refused.contains("ca.pem") && refused.contains("PEM"), "{refused}");
    }
    let absent = trust(&mut RootCertStore::empty(), &folder.path().join("absent.pem"));
    let refused = absent.expect_err("refused").to_string();
    assert!(
        refused.contains("--oidc-issuers-file") && refused.contains("cannot be read"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_issuer_is_who_its_certificate_says() {
    let (authority, other) = (Authority::new(), Authority::new());
    let port = server(&authority, &["localhost"]).await;
    let address = |host: &str| Address::parse(&format!("https://{host}:{port}/a?b=c")).expect("an address");
    let document = fetcher(&authority).json(&address("localhost")).await.expect("trusted");
    assert_eq!(document, serde_json::json!({"a": 1}));
    let stranger = fetcher(&other).json(&address("localhost")).await;
    assert!(matches!(stranger, Err(FetchError::Unreachable(_))), "{stranger:?}");
    let misnamed = fetcher(&authority).json(&address("127.0.0.1")).await;
    assert!(matches!(misnamed, Err(FetchError::Unreachable(_))), "{misnamed:?}");
}
