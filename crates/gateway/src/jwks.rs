//! The public keys of access tokens as a JWK Set (RFC 7517, RFC 8037), for those who verify tokens with a library of their own.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};
use tidings_proto_auth::v1::{ListSigningKeysRequest, SigningKey, auth_service_client::AuthServiceClient};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Peer, Problem};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// The keys as they were last heard from auth.
#[derive(Debug)]
pub struct Jwks {
    auth: Peer,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    set: Option<(Instant, Bytes)>,
    /// When auth last failed to answer.
    failed: Option<Instant>,
}

impl Heard {
    fn within(&self, age: Duration) -> Option<Bytes> {
        let set = self.set.as_ref().filter(|(at, _)| at.elapsed() < age);
        set.map(|(_, set)| set.clone())
    }
}

/// Auth is asked at most this often. A new key signs nothing until it has been published for longer than this.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// Keys that are older are not given out any more while auth cannot be reached: one may have been withdrawn.
const STALE_FOR: Duration = Duration::from_secs(300);

const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// After auth failed to answer, it is not asked for so long: whoever waited for that answer does not wait for another.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

impl Jwks {
    pub fn new(auth: Peer) -> Self {
        Self {
            auth,
            heard: Mutex::default(),
        }
    }

    /// The set in JSON.
    ///
    /// # Errors
    ///
    /// `DEPENDENCY_UNAVAILABLE` when auth cannot be reached and has not been for a while.
    pub async fn get(&self) -> Result<Bytes, Problem> {
        // Held while auth is asked, so that it is asked once for all who wait.
        let mut heard = self.heard.lock().await;
        if let Some(set) = heard.within(FRESH_FOR) {
            return Ok(set);
        }
        if heard.failed.is_none_or(|at| at.elapsed() >= FAILED_PAUSE) {
            match self.ask().await {
                Some(set) => {
                    heard.set = Some((Instant::now(), set.clone()));
                    heard.failed = None;
                    return Ok(set);
                }
                None => heard.failed = Some(Instant::now()),
            }
        }
        heard
            .within(STALE_FOR)
            .ok_or_else(|| Problem::new(ErrorReason::DependencyUnavailable))
    }

    async fn ask(&self) -> Option<Bytes> {
        let mut client = AuthServiceClient::new(self.auth.clone());
        match timeout(ASK_TIMEOUT, client.list_signing_keys(ListSigningKeysRequest {})).await {
            Ok(Ok(response)) => Some(set(&response.into_inner().keys)),
            Ok(Err(status)) => {
                tracing::warn!(code = ?status.code(), "auth did not tell its signing keys");
                None
            }
            Err(_late) => {
                tracing::warn!("auth did not tell its signing keys in time");
                None
            }
        }
    }
}

fn set(keys: &[SigningKey]) -> Bytes {
    let keys: Vec<Value> = keys
        .iter()
        .filter(|key| key.algorithm == "EdDSA")
        .map(|key| {
            json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "use": "sig",
                "alg": key.algorithm,
                "kid": key.key_id,
                "x": URL_SAFE_NO_PAD.encode(&key.public_key),
            })
        })
        .collect();
    json!({ "keys": keys }).to_string().into()
}
