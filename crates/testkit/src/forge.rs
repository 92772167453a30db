use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, EncodingKey};
use tidings_authn::{AUDIENCE, Claims, ISSUER};
use tidings_ids::{KeyId, LoginSessionId, Source, UserId};
use tidings_proto_auth::v1::LogoutAllRequest;
use tidings_proto_chat::v1::ListGroupsRequest;
use tidings_proto_message::v1::GetSyncStateRequest;
use tidings_proto_user::v1::GetCurrentUserRequest;

use crate::{Actor, Suite, until};

/// Signs access tokens that the suite trusts, with a key that was put into auth's schema behind its back: for tokens that auth
/// itself would never issue.
pub struct Forge {
    key_id: String,
    key: EncodingKey,
    public_key: Vec<u8>,
    source: Source,
}

impl Forge {
    /// A forge whose key all services of the suite know.
    ///
    /// # Panics
    ///
    /// When the key cannot be stored, or is not known to all services in time.
    pub async fn set_up(suite: &Suite, witness: &Actor) -> Self {
        let source = Source::system();
        let pair = Ed25519KeyPair::from_seed_unchecked(&source.random::<32>()).expect("any 32 bytes are a seed");
        let key_id: KeyId = source.new_id();
        let retire_time = source.now() + Duration::from_secs(3_600);
        sqlx::query(
            "insert into auth.signing_keys (key_id, public_key, sealed_private_key, create_time, retire_time) \
             values ($1, $2, $3, $4, $5)",
        )
        .bind(key_id)
        .bind(pair.public_key().as_ref())
        .bind(b"not used to sign".as_slice())
        .bind(source.now())
        .bind(retire_time)
        .execute(&suite.database().pool())
        .await
        .expect("stores a key");
        let forge = Self::with(key_id.to_string(), &pair, source);
        forge.known_to_all(suite, witness).await;
        forge
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

    async fn known_to_all(&self, suite: &Suite, witness: &Actor) {
        let token = self.sign(&self.claims(witness));
        let witness = witness.through(&suite.channel()).with_token(token);
        until("every service knows the new key", Duration::from_secs(90), || {
            let witness = witness.clone();
            async move {
                let auth = witness
                    .auth()
                    .logout_all(LogoutAllRequest { keep_current: true })
                    .await
                    .is_ok();
                let user = witness.users().get_current_user(GetCurrentUserRequest {}).await.is_ok();
                let chat = witness.groups().list_groups(ListGroupsRequest::default()).await.is_ok();
                let message = witness
                    .sync()
                    .get_sync_state(GetSyncStateRequest::default())
                    .await
                    .is_ok();
                auth && user && chat && message
            }
        })
        .await;
    }
}
