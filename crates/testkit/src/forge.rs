use std::fs;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use jsonwebtoken::{Algorithm, EncodingKey};
use tidings_authn::{AUDIENCE, Claims, ISSUER, SuiteSecret};
use tidings_ids::{KeyId, LoginSessionId, Source, UserId};

use crate::{Actor, Suite};

/// Signs access tokens with the very key that auth signs with, which it takes from auth's schema and opens with auth's secret: for
/// tokens that auth itself would never issue.
pub struct Forge {
    key_id: String,
    key: EncodingKey,
    public_key: Vec<u8>,
    source: Source,
}

impl Forge {
    /// A forge with the key of this suite's auth.
    ///
    /// # Panics
    ///
    /// When there is no key, or the suite's secret does not open it.
    pub async fn set_up(suite: &Suite) -> Self {
        let source = Source::system();
        let (key_id, sealed): (KeyId, Vec<u8>) = sqlx::query_as(
            "select key_id, sealed_private_key from auth.signing_keys where sign_time <= now() order by sign_time desc limit 1",
        )
        .fetch_one(&suite.database().pool())
        .await
        .expect("auth has a key");
        let secret = fs::read_to_string(suite.folder().join("auth")).expect("auth has a secret");
        let secret = SuiteSecret::new(secret.trim()).expect("auth runs with it");
        let seed = open(&secret, key_id, &sealed);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("the seed of a key");
        Self::with(key_id.to_string(), &pair, source)
    }

    /// A forge whose key nobody knows, under the name of this one's.
    ///
    /// # Panics
    ///
    /// Never: any random bytes make a key.
    #[must_use]
    pub fn impostor(&self) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.source.random::<32>()).expect("any 32 bytes are a seed");
        Self::with(self.key_id.clone(), &pair, self.source.clone())
    }

    fn with(key_id: String, pair: &Ed25519KeyPair, source: Source) -> Self {
        let document = pair.to_pkcs8v1().expect("an Ed25519 key has a PKCS #8 form");
        Self {
            key_id,
            key: EncodingKey::from_ed_der(document.as_ref()),
            public_key: pair.public_key().as_ref().to_vec(),
            source,
        }
    }

    /// What the header `kid` of its tokens says.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public half of its key.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The signature of a text, as it stands in a token.
    ///
    /// # Panics
    ///
    /// Never: the key is a good one.
    #[must_use]
    pub fn signature(&self, text: &str) -> String {
        jsonwebtoken::crypto::sign(text.as_bytes(), &self.key, Algorithm::EdDSA).expect("an Ed25519 key signs any text")
    }

    /// The claims of a valid token of this user.
    ///
    /// # Panics
    ///
    /// When the actor's ids are none.
    #[must_use]
    pub fn claims(&self, actor: &Actor) -> Claims {
        let now = self.source.now().unix_timestamp();
        Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: UserId::parse(&actor.user_id).expect("ids are canonical"),
            sid: LoginSessionId::parse(&actor.login_session_id).expect("ids are canonical"),
            epoch: i64::from(i32::MAX),
            perms: Vec::new(),
            bot: false,
            iat: now,
            nbf: now,
            exp: now + 600,
        }
    }

    /// A signed token.
    ///
    /// # Panics
    ///
    /// Never: the key is a good one.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        tidings_authn::sign(claims, &self.key_id, &self.key).expect("an Ed25519 key signs any claims")
    }

    /// A token of this user that expired a second ago.
    #[must_use]
    pub fn expired(&self, actor: &Actor) -> String {
        let claims = self.claims(actor);
        self.sign(&Claims {
            iat: claims.iat - 600,
            nbf: claims.nbf - 600,
            exp: claims.iat - 1,
            ..claims
        })
    }
}

/// Opens the seed of a signing key as auth does.
fn open(secret: &SuiteSecret, key_id: KeyId, sealed: &[u8]) -> Vec<u8> {
    let key = UnboundKey::new(&AES_256_GCM, &secret.derive("signing keys")).expect("32 bytes are a key of AES-256");
    let (nonce, sealed) = sealed.split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).expect("as long as a nonce is");
    let mut seed = sealed.to_vec();
    let aad = Aad::from(key_id.uuid().into_bytes());
    let opened = LessSafeKey::new(key).open_in_place(nonce, aad, &mut seed);
    opened.expect("auth's secret opens its key").to_vec()
}
