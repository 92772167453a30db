//! An issuer of ID tokens on this machine, which can be told to misbehave.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidings_rpc::testing::Authority;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::smtp::acceptor;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    Good,
    /// Says in its discovery document that it is another one.
    OtherName,
    /// Sends its visitors elsewhere, where a good document is.
    Redirects,
    /// Gives out documents that do not end soon.
    Endless,
    /// Never answers.
    Silent,
    /// Fails.
    Broken,
    /// Gives out what is no JSON.
    Gibberish,
    /// Names keys that lie elsewhere, without TLS.
    ForeignKeys,
}

/// A key that it signs with.
pub enum Key {
    Ed25519(&'static str, Ed25519KeyPair),
    P256(&'static str, EcdsaKeyPair),
}

impl Key {
    pub fn ed25519(id: &'static str) -> Self {
        Self::Ed25519(id, Ed25519KeyPair::generate().expect("a key"))
    }

    pub fn p256(id: &'static str) -> Self {
        Self::P256(
            id,
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
        )
    }

    fn public(&self) -> Value {
        match self {
            Self::Ed25519(id, pair) => json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": id,
                "x": URL_SAFE_NO_PAD.encode(pair.public_key()),
            }),
            Self::P256(id, pair) => {
                let point = pair.public_key().as_ref();
                json!({
                    "kty": "EC", "crv": "P-256", "use": "sig", "kid": id,
                    "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
                })
            }
        }
    }

    /// The header that fits.
    pub fn header(&self) -> Value {
        match self {
            Self::Ed25519(id, _) => json!({"alg": "EdDSA", "typ": "JWT", "kid": id}),
            Self::P256(id, _) => json!({"alg": "ES256", "typ": "JWT", "kid": id}),
        }
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = match self {
            Self::Ed25519(_, pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            Self::P256(_, pair) => {
                let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
                signature.as_ref().to_vec()
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Its public bytes, which somebody might take for a secret.
    pub fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(_, pair) => pair.public_key().as_ref().to_vec(),
            Self::P256(_, pair) => pair.public_key().as_ref().to_vec(),
        }
    }
}

/// Header and claims, without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// The issuer. It stops with the test's runtime.
#[derive(Clone)]
pub struct Issuer {
    name: String,
    state: Arc<State>,
}

struct State {
    keys: Mutex<Vec<Value>>,
    conduct: Mutex<Conduct>,
    /// How often its keys were asked for, and its discovery document.
    key_visits: AtomicU32,
    visits: AtomicU32,
}

impl Issuer {
    /// Without TLS, on this machine.
    pub async fn open(keys: &[&Key]) -> Self {
        Self::behind(None, keys).await
    }

    /// Behind TLS, as `localhost`.
    pub async fn with_tls(authority: &Authority, keys: &[&Key]) -> Self {
        Self::behind(Some(acceptor(authority)), keys).await
    }

    async fn behind(acceptor: Option<TlsAcceptor>, keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let issuer = Self {
            name: match acceptor {
                Some(_) => format!("https://localhost:{}", address.port()),
                None => format!("http://{address}"),
            },
            state: Arc::new(State {
                keys: Mutex::default(),
                conduct: Mutex::new(Conduct::Good),
                key_visits: AtomicU32::new(0),
                visits: AtomicU32::new(0),
            }),
        };
        issuer.rotate(keys);
        let serving = issuer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (issuer, acceptor) = (serving.clone(), acceptor.clone());
                // Whoever hangs up early is the caller under test, who may.
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return issuer.serve(stream).await;
                    };
                    if let Ok(stream) = acceptor.accept(stream).await {
                        issuer.serve(stream).await;
                    }
                });
            }
        });
        issuer
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let answer = service_fn(|request| {
            let issuer = self.clone();
            async move { Ok::<_, Infallible>(issuer.answer(&request).await) }
        });
        drop(
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await,
        );
    }

    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Publishes these keys and no others.
    pub fn rotate(&self, keys: &[&Key]) {
        *self.state.keys.lock() = keys.iter().map(|key| key.public()).collect();
    }

    pub fn behave(&self, conduct: Conduct) {
        *self.state.conduct.lock() = conduct;
    }

    pub fn key_visits(&self) -> u32 {
        self.state.key_visits.load(Ordering::SeqCst)
    }

    pub fn visits(&self) -> u32 {
        self.state.visits.load(Ordering::SeqCst)
    }

    async fn answer(&self, request: &Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let conduct = *self.state.conduct.lock();
        let name = self.name();
        let discovery = json!({"issuer": name, "jwks_uri": format!("{name}/keys"), "extra": [1, 2, 3]});
        let keys = json!({"keys": *self.state.keys.lock()});
        match request.uri().path() {
            // Where a redirect leads.
            "/elsewhere" => return document(discovery.to_string()),
            "/keys" => {
                self.state.key_visits.fetch_add(1, Ordering::SeqCst);
                return match conduct {
                    Conduct::Endless => document(format!("{{\"keys\": [{}\"\"]}}", "\"\",".repeat(200_000))),
                    _ => document(keys.to_string()),
                };
            }
            "/.well-known/openid-configuration" => {}
            _ => return with_status(StatusCode::NOT_FOUND),
        }
        self.state.visits.fetch_add(1, Ordering::SeqCst);
        match conduct {
            Conduct::Good | Conduct::Endless => document(discovery.to_string()),
            Conduct::OtherName => {
                document(json!({"issuer": "https://other.example.org", "jwks_uri": format!("{name}/keys")}).to_string())
            }
            Conduct::ForeignKeys => {
                document(json!({"issuer": name, "jwks_uri": "http://keys.example.org/keys"}).to_string())
            }
            Conduct::Redirects => {
                let mut redirect = with_status(StatusCode::FOUND);
                let to = "/elsewhere".parse().expect("ASCII");
                redirect.headers_mut().insert("location", to);
                redirect
            }
            Conduct::Broken => with_status(StatusCode::INTERNAL_SERVER_ERROR),
            Conduct::Gibberish => document("<html>".to_owned()),
            Conduct::Silent => {
                // The caller hangs up, which ends this.
                std::future::pending().await
            }
        }
    }
}

fn document(text: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(text)))
}

fn with_status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
