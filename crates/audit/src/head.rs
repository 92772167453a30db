//! How far the chain went, signed.
//!
//! The signature is Ed25519 over these fields in this order, each as its length in bytes (4 bytes, big endian) and its bytes:
//! `tidings.audit.head.v1/<schema>`, `number`, `previous_number`, `hash`, `sign_time`, numbers and times as in `encoding.rs`. The
//! key's seed is derived from the suite's secret by HKDF under the label `audit heads of <schema>`: a key for each service.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use tidings_authn::SuiteSecret;
use tidings_db::Schema;
use time::OffsetDateTime;

use crate::{
    encoding::{Bytes, Hash},
    store::Head,
};

/// Signs the heads of a service's trail.
pub(crate) struct Signer {
    schema: Schema,
    key: Ed25519KeyPair,
}

/// What a head is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    /// We signed it.
    Ours,
    /// It does not carry its signature.
    Altered,
    /// It is signed with another key.
    OtherKey,
}

impl Signer {
    pub(crate) fn new(secret: &SuiteSecret, schema: Schema) -> Self {
        let seed = secret.derive(&format!("audit heads of {schema}"));
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
        Self { schema, key }
    }

    pub(crate) fn sign(&self, number: i64, previous_number: i64, hash: Hash, now: OffsetDateTime) -> Head {
        let mut head = Head {
            number,
            previous_number,
            hash: hash.to_vec(),
            sign_time: now,
            public_key: self.public_key().to_vec(),
            signature: Vec::new(),
        };
        head.signature = self.key.sign(&self.bytes(&head)).as_ref().to_vec();
        head
    }

    pub(crate) fn judge(&self, head: &Head) -> Worth {
        let key = UnparsedPublicKey::new(&ED25519, &head.public_key);
        if key.verify(&self.bytes(head), &head.signature).is_err() {
            Worth::Altered
        } else if head.public_key == self.public_key() {
            Worth::Ours
        } else {
            Worth::OtherKey
        }
    }

    fn public_key(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn bytes(&self, head: &Head) -> Vec<u8> {
        let mut bytes = Bytes::default();
        bytes.text(&format!("tidings.audit.head.v1/{}", self.schema));
        bytes.number(head.number);
        bytes.number(head.previous_number);
        bytes.field(&head.hash);
        bytes.time(head.sign_time);
        bytes.0
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer {{ {} }}", self.schema)
    }
}

#[cfg(test)]
mod tests {
    use tidings_authn::SuiteSecret;
    use tidings_db::Schema;
    use tidings_ids::Source;

    use super::{Signer, Worth};

    fn signer(secret: &str, schema: Schema) -> Signer {
        Signer::new(&SuiteSecret::new(secret).expect("long enough"), schema)
    }

    const SECRET: &str = "0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8";

    #[test]
    fn a_head_is_worth_what_it_says_and_nothing_else() {
        let (signer, source) = (signer(SECRET, Schema::Auth), Source::seeded(1));
        let head = signer.sign(7, 3, [9; 32], source.now());
        assert_eq!(signer.judge(&head), Worth::Ours);
        let mut changed = [head.clone(), head.clone(), head.clone(), head.clone(), head.clone()];
        changed[0].number = 8;
        changed[1].previous_number = 4;
        changed[2].hash[0] ^= 1;
        changed[3].sign_time += time::Duration::microseconds(1);
        changed[4].signature[0] ^= 1;
        for head in changed {
            assert_eq!(signer.judge(&head), Worth::Altered, "{head:?}");
        }
    }

    #[test]
    fn another_service_or_secret_signs_with_another_key() {
        let source = Source::seeded(1);
        let head = signer(SECRET, Schema::Auth).sign(7, 3, [9; 32], source.now());
        let other_secret = signer("9d1e2f34a5b6c7d80c9f6ad2b1e84e7fa3d5c7b0", Schema::Auth);
        assert_eq!(other_secret.judge(&head), Worth::OtherKey);
        // The head names its service, so that it is none of another's.
        assert_eq!(signer(SECRET, Schema::Users).judge(&head), Worth::Altered);
    }
}
