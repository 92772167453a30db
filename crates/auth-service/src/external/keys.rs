//! The public keys of an issuer, kept and fetched again.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

use super::{
    fetch::{Address, FetchError, Fetcher},
    issuer::SigningAlgorithm,
};
use crate::Error;

/// Keys are fetched anew after this long, so that one which the issuer has withdrawn is not trusted for much longer.
const FRESH_FOR: Duration = Duration::minutes(15);

/// Keys that could not be fetched anew are used for so long after they were fetched.
const USED_FOR: Duration = Duration::hours(1);

/// With keys at hand they are fetched this often at the most, whatever keys tokens name.
const FETCHED_EVERY: Duration = Duration::MINUTE;

/// Without any, a failed attempt is repeated after so long.
const RETRIED_AFTER: Duration = Duration::seconds(5);

/// An issuer has some keys; more are not looked at.
const KEYS_MAX: usize = 100;

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct IssuerKeys {
    issuer: String,
    fetcher: Fetcher,
    loaded: ArcSwapOption<Loaded>,
    /// When fetching was last tried. Whoever holds the lock fetches, and the others wait for what comes of it.
    tried: Mutex<Option<OffsetDateTime>>,
}

#[derive(Debug)]
struct Loaded {
    keys: Vec<Jwk>,
    time: OffsetDateTime,
}

impl Loaded {
    fn is_usable(&self, now: OffsetDateTime) -> bool {
        now < self.time + USED_FOR
    }
}

impl IssuerKeys {
    pub(crate) fn new(issuer: &str, fetcher: Fetcher) -> Self {
        Self {
            issuer: issuer.to_owned(),
            fetcher,
            loaded: ArcSwapOption::empty(),
            tried: Mutex::default(),
        }
    }

    /// The key that a token names, for this algorithm. `None` where the issuer has no such key.
    ///
    /// # Errors
    ///
    /// `DEPENDENCY_UNAVAILABLE` where the issuer's keys cannot be had.
    pub(crate) async fn find(
        &self,
        key_id: Option<&str>,
        algorithm: SigningAlgorithm,
        now: OffsetDateTime,
    ) -> Result<Option<DecodingKey>, Error> {
        if let Some(loaded) = self.loaded.load_full().filter(|loaded| now < loaded.time + FRESH_FOR) {
            let key = choose(&loaded.keys, key_id, algorithm);
            if key.is_some() {
                return Ok(key);
            }
        }
        let loaded = self
            .load(now)
            .await
            .ok_or(Error::Unavailable("the issuer of the token"))?;
        Ok(choose(&loaded.keys, key_id, algorithm))
    }

    /// The keys as the issuer has them now, or had when it could last be asked.
    async fn load(&self, now: OffsetDateTime) -> Option<Arc<Loaded>> {
        let mut tried = self.tried.lock().await;
        let known = self.loaded.load_full().filter(|loaded| loaded.is_usable(now));
        let wait = if known.is_some() { FETCHED_EVERY } else { RETRIED_AFTER };
        if tried.is_some_and(|time| now < time + wait) {
            return known;
        }
        *tried = Some(now);
        match self.fetch().await {
            Ok(keys) => {
                let loaded = Arc::new(Loaded { keys, time: now });
                self.loaded.store(Some(Arc::clone(&loaded)));
                Some(loaded)
            }
            Err(error) => {
                tracing::warn!(%error, issuer = self.issuer, "the keys of an issuer could not be fetched");
                known
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, FetchError> {
        let address = Address::discovery(&self.issuer).map_err(|_| FetchError::Document)?;
        let discovery = self.fetcher.json(&address).await?;
        // Else another issuer's document would be taken for this one's (Discovery 1.0, section 4.3).
        if discovery.get("issuer").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(FetchError::Document);
        }
        let keys = discovery
            .get("jwks_uri")
            .and_then(Value::as_str)
            .ok_or(FetchError::Document)?;
        let keys = Address::parse(keys).map_err(|_| FetchError::Document)?;
        if address.has_tls() && !keys.has_tls() {
            return Err(FetchError::Document);
        }
        read(&self.fetcher.json(&keys).await?).ok_or(FetchError::Document)
    }
}

/// The keys in a JWKS. Those of kinds that are not known here are passed over.
fn read(document: &Value) -> Option<Vec<Jwk>> {
    let listed = document.get("keys")?.as_array()?;
    let keys = listed.iter().take(KEYS_MAX);
    Some(
        keys.filter_map(|key| serde_json::from_value(key.clone()).ok())
            .collect(),
    )
}

/// The one key that is named and made for the algorithm. A token that names none is checked with the only one that there is.
fn choose(keys: &[Jwk], key_id: Option<&str>, algorithm: SigningAlgorithm) -> Option<DecodingKey> {
    let suitable = |key: &&Jwk| {
        let named = key_id.is_none_or(|id| key.common.key_id.as_deref() == Some(id));
        named && is_for(key, algorithm)
    };
    let mut suitable = keys.iter().filter(suitable);
    let key = suitable.next()?;
    if suitable.next().is_some() {
        return None;
    }
    DecodingKey::from_jwk(key).ok()
}

fn is_for(key: &Jwk, algorithm: SigningAlgorithm) -> bool {
    let for_signatures = key
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let (name, kind) = match (algorithm, &key.algorithm) {
        (SigningAlgorithm::RS256, AlgorithmParameters::RSA(_)) => ("RS256", true),
        (SigningAlgorithm::ES256, AlgorithmParameters::EllipticCurve(key)) => {
            ("ES256", key.curve == EllipticCurve::P256)
        }
        (SigningAlgorithm::EdDSA, AlgorithmParameters::OctetKeyPair(key)) => {
            ("EdDSA", key.curve == EllipticCurve::Ed25519)
        }
        _ => return false,
    };
    let declared = key.common.key_algorithm.map(|declared| declared.to_string());
    kind && for_signatures && declared.is_none_or(|declared| declared == name)
}
