//! The keys that access tokens are signed with.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use jsonwebtoken::EncodingKey;
use tidings_authn::{Claims, SuiteSecret};
use tidings_db::Pool;
use tidings_ids::{KeyId, Source};
use time::OffsetDateTime;

use crate::{Error, store::keys};

/// The public half of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedKey {
    pub key_id: KeyId,
    pub public_key: Vec<u8>,
    pub create_time: OffsetDateTime,
    pub retire_time: Option<OffsetDateTime>,
}

/// The keys in use, kept in memory and read again by [`load`](Self::load).
pub(crate) struct SigningKeys {
    seal: LessSafeKey,
    loaded: ArcSwapOption<Loaded>,
}

struct Loaded {
    key_id: String,
    key: EncodingKey,
    published: Vec<PublishedKey>,
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
        let mut stored = keys::list(pool, source.now()).await?;
        if !stored.iter().any(|key| key.published.retire_time.is_none()) {
            keys::insert_first(pool, &self.generate(source)?).await?;
            stored = keys::list(pool, source.now()).await?;
        }
        let active = stored.iter().find(|key| key.published.retire_time.is_none());
        let active =
            active.ok_or_else(|| Error::Internal("there is no signing key though one was just made".to_owned()))?;
        let key_id = active.published.key_id;
        // Unsealing costs little, but a key that is known already need not be opened every few seconds.
        let known = self
            .loaded
            .load_full()
            .filter(|loaded| loaded.key_id == key_id.to_string());
        let key = match known {
            Some(loaded) => loaded.key.clone(),
            None => self.open(key_id, &active.sealed_private_key)?,
        };
        let published = stored.into_iter().map(|key| key.published).collect();
        self.loaded.store(Some(Arc::new(Loaded {
            key_id: key_id.to_string(),
            key,
            published,
        })));
        Ok(())
    }

    /// The public keys, the newest first.
    pub(crate) fn published(&self, now: OffsetDateTime) -> Result<Vec<PublishedKey>, Error> {
        let loaded = self.loaded()?;
        Ok(loaded
            .published
            .iter()
            .filter(|key| key.retire_time.is_none_or(|time| now < time))
            .cloned()
            .collect())
    }

    /// Signs an access token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let loaded = self.loaded()?;
        tidings_authn::sign(claims, &loaded.key_id, &loaded.key)
            .map_err(|error| Error::Internal(format!("an access token could not be signed: {error}")))
    }

    fn loaded(&self) -> Result<Arc<Loaded>, Error> {
        self.loaded.load_full().ok_or(Error::Unavailable("the signing key"))
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
