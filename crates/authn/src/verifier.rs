use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use moka::sync::Cache;
use parking_lot::Mutex;
use serde::Deserialize;
use tidings_ids::{LoginSessionId, Source, UserId};
use tidings_proto_common::v1::Permission;
use time::OffsetDateTime;
use tokio::{sync::Notify, time::Instant};

use crate::{AUDIENCE, Claims, ISSUER, Refusal, Revocations, TYPE};

/// The user that a call acts for, as a valid access token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The login session that the token belongs to.
    pub login_session_id: LoginSessionId,
    /// The user's token epoch when the token was issued.
    pub token_epoch: i64,
    /// What the user may do in the deployment.
    pub permissions: Vec<Permission>,
    /// Whether the user is a bot.
    pub is_bot: bool,
    /// When the token expires, which ends streams too.
    pub expire_time: OffsetDateTime,
}

impl Caller {
    /// Whether the user holds the permission.
    #[must_use]
    pub fn holds(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }
}

/// A public key that access tokens are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The `kid` of tokens signed with its private half.
    pub key_id: String,
    /// The 32 bytes of the Ed25519 public key.
    pub bytes: [u8; 32],
}

/// Checks access tokens, offline.
///
/// A token is looked up by the SHA-256 of all its bytes, so that a tampered copy never meets a cached one. What can change
/// while a token is valid (its expiry, revocations) is asked at every call.
pub struct Verifier {
    keys: ArcSwap<HashMap<String, DecodingKey>>,
    verified: Cache<[u8; 32], Arc<Caller>>,
    revocations: Arc<Revocations>,
    source: Source,
    validation: Validation,
    /// When the keys were last replaced, as auth listed them then.
    keys_heard: Mutex<Option<Instant>>,
    /// Tells the follower of the keys that a token named one that is not known.
    unknown_key: Notify,
}

/// The header of our tokens, nothing more and nothing less: no `jku`, `jwk`, `x5u` or `crit` is ever looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
    kid: String,
}

impl Verifier {
    /// Longer tokens are not looked at; ours have about 500 bytes.
    const TOKEN_BYTES_MAX: usize = 4096;

    /// Verified tokens that are kept: about 300 bytes each.
    const CACHE_ENTRIES_MAX: u64 = 100_000;

    /// A key that is not among keys of this age is none. Older ones do not tell: auth may have a new one, which it publishes for 30
    /// seconds before it signs.
    pub const KEYS_CURRENT_FOR: Duration = Duration::from_secs(10);

    /// A verifier that knows no keys yet.
    #[must_use]
    pub fn new(revocations: Arc<Revocations>, source: Source) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Each claim is required by its type in `Claims`; times are compared with the given clock, without leeway.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let verified = Cache::builder()
            .max_capacity(Self::CACHE_ENTRIES_MAX)
            .time_to_live(crate::LIFETIME)
            .build();
        Self {
            keys: ArcSwap::default(),
            verified,
            revocations,
            source,
            validation,
            keys_heard: Mutex::default(),
            unknown_key: Notify::new(),
        }
    }

    /// What has been revoked, as this verifier knows it.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Replaces the keys that tokens are verified with. Tokens verified with a key that is gone are verified again.
    pub fn set_keys(&self, keys: &[PublicKey]) {
        let keys: HashMap<String, DecodingKey> = keys
            .iter()
            .map(|key| (key.key_id.clone(), DecodingKey::from_ed_der(&key.bytes)))
            .collect();
        *self.keys_heard.lock() = Some(Instant::now());
        let removed = self.keys.load().keys().any(|known| !keys.contains_key(known));
        self.keys.store(Arc::new(keys));
        if removed {
            self.verified.invalidate_all();
        }
    }

    /// Whether any key is known.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.load().is_empty()
    }

    /// Whether a key is known by its id, for those who wait for a new one.
    #[must_use]
    pub fn knows_key(&self, key_id: &str) -> bool {
        self.keys.load().contains_key(key_id)
    }

    /// Returns when a token named a key that is not known.
    pub async fn unknown_key_seen(&self) {
        self.unknown_key.notified().await;
    }

    /// The caller that the token proves.
    ///
    /// # Errors
    ///
    /// Says why it proves none now.
    pub fn verify(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        self.verify_if(token, || Ok(()))
    }

    /// The caller that the token proves. Where that takes the check of a signature, which costs more than all else,
    /// `permit` is asked before.
    ///
    /// # Errors
    ///
    /// Says why it proves none now; or what `permit` said.
    pub fn verify_if<E: From<Refusal>>(
        &self,
        token: &str,
        permit: impl FnOnce() -> Result<(), E>,
    ) -> Result<Arc<Caller>, E> {
        if token.len() > Self::TOKEN_BYTES_MAX {
            return Err(Refusal::TokenInvalid.into());
        }
        let fingerprint: [u8; 32] = digest(&SHA256, token.as_bytes())
            .as_ref()
            .try_into()
            .expect("SHA-256 has 32 bytes");
        let caller = match self.verified.get(&fingerprint) {
            Some(caller) => caller,
            None => {
                permit()?;
                let keys = self.keys.load_full();
                let caller = Arc::new(self.verify_signature(token, &keys)?);
                self.verified.insert(fingerprint, Arc::clone(&caller));
                // Keys that were replaced since have taken with them what stood in the cache, which this did not.
                if !Arc::ptr_eq(&keys, &self.keys.load()) {
                    self.verified.invalidate(&fingerprint);
                }
                caller
            }
        };
        if self.source.now() >= caller.expire_time {
            return Err(Refusal::TokenExpired.into());
        }
        self.revocations.check(&caller)?;
        Ok(caller)
    }

    /// Waits until the caller may no longer act, for a stream that acts for them, and says why.
    pub async fn ended(&self, caller: &Caller) -> Refusal {
        let left = (caller.expire_time - self.source.now()).max(time::Duration::ZERO);
        let left = Duration::try_from(left).unwrap_or_default();
        tokio::select! {
            refusal = self.revocations.ended(caller) => refusal,
            () = tokio::time::sleep(left) => Refusal::TokenExpired,
        }
    }

    fn verify_signature(&self, token: &str, keys: &HashMap<String, DecodingKey>) -> Result<Caller, Refusal> {
        let header = strict_header(token).ok_or(Refusal::TokenInvalid)?;
        if header.alg != "EdDSA" || header.typ != TYPE {
            return Err(Refusal::TokenInvalid);
        }
        if keys.is_empty() {
            return Err(Refusal::Untrusted);
        }
        let Some(key) = keys.get(&header.kid) else {
            self.unknown_key.notify_one();
            // A good token is never called invalid because we have not heard of its key.
            let heard = *self.keys_heard.lock();
            let current = heard.is_some_and(|at| at.elapsed() < Self::KEYS_CURRENT_FOR);
            return Err(if current {
                Refusal::TokenInvalid
            } else {
                Refusal::Untrusted
            });
        };
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|_| Refusal::TokenInvalid)?
            .claims;
        self.accept(claims)
    }

    fn accept(&self, claims: Claims) -> Result<Caller, Refusal> {
        let now = self.source.now().unix_timestamp();
        // Clocks of two nodes may differ by a little: `iat` and `nbf` get the five seconds that G22 allows, `exp` none.
        let begun = claims.iat <= now + 5 && claims.nbf <= now + 5;
        let lifetime = i64::try_from(crate::LIFETIME.as_secs()).expect("600 fits");
        let bounded = claims
            .exp
            .checked_sub(claims.iat)
            .is_some_and(|life| (1..=lifetime).contains(&life));
        if claims.iss != ISSUER || claims.aud != AUDIENCE || !begun || !bounded {
            return Err(Refusal::TokenInvalid);
        }
        let expire_time = OffsetDateTime::from_unix_timestamp(claims.exp).map_err(|_| Refusal::TokenInvalid)?;
        let permissions = claims
            .perms
            .iter()
            .filter_map(|number| Permission::try_from(*number).ok())
            .collect();
        Ok(Caller {
            user_id: claims.sub,
            login_session_id: claims.sid,
            token_epoch: claims.epoch,
            permissions,
            is_bot: claims.bot,
            expire_time,
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier {{ keys: {} }}", self.keys.load().len())
    }
}

fn strict_header(token: &str) -> Option<StrictHeader> {
    let (header, rest) = token.split_once('.')?;
    if rest.split('.').count() != 2 {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()
}
