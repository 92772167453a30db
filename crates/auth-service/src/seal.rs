//! Secrets that are needed again, and so cannot be stored as hashes: sealed with a key that is derived from auth's own secret
//! and never stored. Signing keys are sealed in the same way by `signing`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tidings_authn::SuiteSecret;
use tidings_ids::Source;

use crate::Error;

/// Seals and opens secrets of one use.
pub(crate) struct Seal {
    key: LessSafeKey,
}

impl Seal {
    /// The seal for what `label` names.
    pub(crate) fn new(secret: &SuiteSecret, label: &str) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &secret.derive(label)).expect("32 bytes are a key of AES-256");
        Self {
            key: LessSafeKey::new(key),
        }
    }

    /// Seals a secret of its owner: it opens for no other.
    pub(crate) fn seal(&self, source: &Source, owner: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_LEN] = source.random();
        let mut sealed = secret.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(owner), &mut sealed)
            .map_err(|_| Error::Internal("a secret could not be sealed".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed for this owner.
    pub(crate) fn open(&self, owner: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let broken =
            || Error::Internal("a sealed secret cannot be opened: auth's secret is another one than then".to_owned());
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut secret = sealed.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(owner), &mut secret)
            .map_err(|_| broken())?
            .len();
        secret.truncate(length);
        Ok(secret)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use tidings_authn::SuiteSecret;
    use tidings_ids::Source;

    use super::Seal;

    #[test]
    fn a_sealed_secret_opens_for_its_owner_and_its_use_only() {
        let secret = |text: &str| SuiteSecret::new(&format!("{text}-0c9f6ad2b1e84e7fa3d5c7b09d1e2f34")).expect("long");
        let (seal, source) = (Seal::new(&secret("a"), "one"), Source::seeded(1));
        let sealed = seal.seal(&source, b"ada", b"a secret").expect("sealed");
        assert_eq!(seal.open(b"ada", &sealed).expect("opened"), b"a secret");
        assert!(seal.open(b"eve", &sealed).is_err());
        assert!(Seal::new(&secret("b"), "one").open(b"ada", &sealed).is_err());
        assert!(Seal::new(&secret("a"), "two").open(b"ada", &sealed).is_err());
        let mut tampered = sealed.clone();
        tampered[13] ^= 1;
        assert!(seal.open(b"ada", &tampered).is_err());
        for end in 0..sealed.len() {
            assert!(seal.open(b"ada", &sealed[..end]).is_err());
        }
    }
}
