//! The keys that access tokens are signed with.
//!
//! A new key is published first and signs [`LEAD`] later. By then every verifier knows it: a node lists no keys that it read more
//! than [`LISTED_FOR`] ago, a verifier takes a key for unknown only while its own list is no older than
//! [`Verifier::KEYS_CURRENT_FOR`](tidings_authn::Verifier::KEYS_CURRENT_FOR), and what is left is for clocks that differ. So no good
//! token is refused for its key, and nobody has to ask for each unknown one.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use jsonwebtoken::EncodingKey;
use tidings_audit::{self as audit, Event};
use tidings_authn::{Claims, LIFETIME, SuiteSecret};
use tidings_db::{
    Pool, Schema,
    requests::{self, Outcome},
    transaction,
};
use tidings_ids::{KeyId, Source};
use tidings_proto_common::v1::AuditCategory;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Error,
    auth::{Auth, Repeatable},
    store::keys::{self, StoredKey},
};

/// How long a new key is published before it signs.
pub(crate) const LEAD: Duration = Duration::from_secs(30);

/// Keys that were read longer ago are not listed: one may be missing.
const LISTED_FOR: Duration = Duration::from_secs(10);

/// Keys that were read longer ago do not sign: they may be retired.
const SIGNS_FOR: Duration = Duration::from_secs(30);

/// The last token of a retired key is signed this long after the next key begins, at the most: by a node that has read its keys just
/// before, with a clock that is behind.
const OVERLAP: Duration = Duration::from_secs(60);

/// The public half of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedKey {
    pub key_id: KeyId,
    pub public_key: Vec<u8>,
    pub create_time: OffsetDateTime,
    pub sign_time: OffsetDateTime,
    pub retire_time: Option<OffsetDateTime>,
}

/// The keys in use, kept in memory and read again by [`load`](Self::load).
pub(crate) struct SigningKeys {
    seal: LessSafeKey,
    loaded: ArcSwapOption<Loaded>,
}

struct Loaded {
    /// Those that sign or will, the newest first; at least one.
    signers: Vec<Signer>,
    published: Vec<PublishedKey>,
    at: Instant,
}

#[derive(Clone)]
struct Signer {
    key_id: KeyId,
    key: EncodingKey,
    sign_time: OffsetDateTime,
    retire_time: Option<OffsetDateTime>,
}

impl SigningKeys {
    pub(crate) fn new(secret: &SuiteSecret) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &secret.derive("signing keys")).expect("32 bytes are a key of AES-256");
        Self {
            seal: LessSafeKey::new(key),
            loaded: ArcSwapOption::empty(),
        }
    }

    /// Reads the keys, and makes the first one where there is none: of two nodes that try at once, one succeeds and
    /// both use it.
    pub(crate) async fn load(&self, pool: &Pool, source: &Source) -> Result<(), Error> {
        let at = Instant::now();
        let mut stored = keys::list(pool, source.now()).await?;
        if !stored.iter().any(|key| key.published.retire_time.is_none()) {
            keys::insert_first(pool, &self.generate(source)?).await?;
            stored = keys::list(pool, source.now()).await?;
        }
        // Unsealing costs little, but a key that is known already need not be opened every few seconds.
        let known = self.loaded.load_full();
        let known = |key_id| {
            let mut signers = known.iter().flat_map(|loaded| &loaded.signers);
            signers
                .find(|signer| signer.key_id == key_id)
                .map(|signer| signer.key.clone())
        };
        let mut signers = Vec::new();
        for StoredKey {
            published,
            sealed_private_key,
        } in &stored
        {
            let key = match known(published.key_id) {
                Some(key) => key,
                None => self.open(published.key_id, sealed_private_key)?,
            };
            signers.push(Signer {
                key_id: published.key_id,
                key,
                sign_time: published.sign_time,
                retire_time: published.retire_time,
            });
        }
        if signers.is_empty() {
            return Err(Error::Internal(
                "there is no signing key though one was just made".to_owned(),
            ));
        }
        let published = stored.into_iter().map(|key| key.published).collect();
        self.loaded.store(Some(Arc::new(Loaded { signers, published, at })));
        Ok(())
    }

    /// Makes a new key, which signs in a while, and retires the one before it for when its last token has expired. `None` in a
    /// repetition that comes after the key was forgotten.
    pub(crate) async fn rotate(&self, auth: &Auth, call: Option<&Repeatable>) -> Result<Option<PublishedKey>, Error> {
        if let Some(earlier) = auth.earlier(call).await? {
            return self.of_earlier(auth, earlier.id).await;
        }
        let mut next = self.generate(auth.source())?;
        let made = transaction!(&auth.pool, |tx| -> Result<_, Error> {
            if !auth.claim(&mut *tx, call).await? {
                return Ok(None);
            }
            let newest = keys::lock_newest(&mut *tx).await?;
            let (newest, begins) = newest.ok_or(Error::Unavailable("the signing key"))?;
            let now = auth.now();
            if begins > now {
                return Err(Error::StateUnsuitable);
            }
            next.published.create_time = now;
            next.published.sign_time = now + LEAD;
            let retire_time = next.published.sign_time + LIFETIME + OVERLAP;
            keys::replace(&mut *tx, newest, retire_time, &next).await?;
            let key_id = next.published.key_id;
            if let Some(call) = call {
                requests::set_outcome(&mut *tx, Schema::Auth, &call.key(), &Outcome::id(key_id)).await?;
            }
            let event = Event::of_call(auth.source(), AuditCategory::Administration, "auth.rotate_signing_key");
            let event = event
                .subject(key_id)
                .subject(newest)
                .request(call.map(|call| call.request_id));
            audit::record(&mut *tx, Schema::Auth, &event).await?;
            Ok(Some(next.published.clone()))
        })?;
        match made {
            Some(published) => {
                tracing::info!(key_id = %published.key_id, "a new signing key is published");
                // This node lists it at once; the others when they read their keys next.
                self.load(&auth.pool, auth.source()).await?;
                Ok(Some(published))
            }
            None => {
                let earlier = auth.earlier(call).await?;
                self.of_earlier(auth, earlier.and_then(|outcome| outcome.id)).await
            }
        }
    }

    /// The public keys, the newest first.
    pub(crate) fn published(&self, now: OffsetDateTime) -> Result<Vec<PublishedKey>, Error> {
        let loaded = self.loaded(LISTED_FOR)?;
        Ok(loaded
            .published
            .iter()
            .filter(|key| key.retire_time.is_none_or(|time| now < time))
            .cloned()
            .collect())
    }

    /// Signs an access token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let loaded = self.loaded(SIGNS_FOR)?;
        let signer = loaded.signer(claims.iat).ok_or(Error::Unavailable("the signing key"))?;
        tidings_authn::sign(claims, &signer.key_id.to_string(), &signer.key)
            .map_err(|error| Error::Internal(format!("an access token could not be signed: {error}")))
    }

    fn loaded(&self, age_max: Duration) -> Result<Arc<Loaded>, Error> {
        let loaded = self.loaded.load_full().filter(|loaded| loaded.at.elapsed() < age_max);
        loaded.ok_or(Error::Unavailable("the signing key"))
    }

    async fn of_earlier(&self, auth: &Auth, key_id: Option<Uuid>) -> Result<Option<PublishedKey>, Error> {
        let Some(key_id) = key_id else { return Ok(None) };
        Ok(keys::get(&auth.pool, KeyId::from_uuid(key_id)).await?)
    }

    fn generate(&self, source: &Source) -> Result<keys::StoredKey, Error> {
        let seed: [u8; 32] = source.random();
        let key_id: KeyId = source.new_id();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed of Ed25519");
        let nonce: [u8; NONCE_LEN] = source.random();
        let mut sealed = seed.to_vec();
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key_id.uuid().into_bytes()),
                &mut sealed,
            )
            .map_err(|_| Error::Internal("a signing key could not be sealed".to_owned()))?;
        let published = PublishedKey {
            key_id,
            public_key: pair.public_key().as_ref().to_vec(),
            create_time: source.now(),
            sign_time: source.now(),
            retire_time: None,
        };
        Ok(keys::StoredKey {
            published,
            sealed_private_key: [nonce.as_slice(), &sealed].concat(),
        })
    }

    fn open(&self, key_id: KeyId, sealed: &[u8]) -> Result<EncodingKey, Error> {
        let broken = || {
            Error::Internal(format!(
                "signing key {key_id} cannot be opened: auth's secret is another one than when it was made"
            ))
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut seed = sealed.to_vec();
        let aad = Aad::from(key_id.uuid().into_bytes());
        let seed = self.seal.open_in_place(nonce, aad, &mut seed).map_err(|_| broken())?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| broken())?;
        let document = pair.to_pkcs8v1().map_err(|_| broken())?;
        Ok(EncodingKey::from_ed_der(document.as_ref()))
    }
}

impl Loaded {
    /// The key for a token that is issued at this time, in seconds since 1970.
    fn signer(&self, issued: i64) -> Option<&Signer> {
        let lifetime = i64::try_from(LIFETIME.as_secs()).expect("600 fits");
        let outlives = |signer: &&Signer| {
            let retired = signer.retire_time.map(OffsetDateTime::unix_timestamp);
            retired.is_none_or(|time| issued + lifetime < time)
        };
        let mut usable = self.signers.iter().filter(outlives);
        let begun = usable
            .clone()
            .find(|signer| signer.sign_time.unix_timestamp() <= issued);
        // The very first key has nobody to wait for, whatever the clock of the node is that made it.
        begun.or_else(|| usable.next_back())
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKeys")
    }
}

#[cfg(test)]
mod tests {
    use tidings_authn::SuiteSecret;
    use tidings_ids::Source;

    use super::SigningKeys;

    #[test]
    fn a_sealed_key_opens_with_the_same_secret_and_under_its_own_id_only() {
        let secret =
            |text: &str| SuiteSecret::new(&format!("{text}-0c9f6ad2b1e84e7fa3d5c7b09d1e2f34")).expect("long enough");
        let (keys, source) = (SigningKeys::new(&secret("a")), Source::seeded(1));
        let stored = keys.generate(&source).expect("made");
        let key_id = stored.published.key_id;
        assert!(keys.open(key_id, &stored.sealed_private_key).is_ok());
        assert!(keys.open(source.new_id(), &stored.sealed_private_key).is_err());
        assert!(
            SigningKeys::new(&secret("b"))
                .open(key_id, &stored.sealed_private_key)
                .is_err()
        );
        let mut tampered = stored.sealed_private_key.clone();
        tampered[20] ^= 1;
        assert!(keys.open(key_id, &tampered).is_err());
        assert!(keys.open(key_id, b"").is_err());
    }
}
