//! API keys: what a service account proves itself by.
//!
//! A key is `tdk_` and 64 characters of base64url, which hold its id (16 bytes) and a secret (32 bytes). All of it is hashed, so that a
//! key of which any character was cut off, added or altered is another key. Only the hash is stored.
//!
//! A key is exchanged for access tokens. Each carries the key's id as its login session, so that revoking the key ends them by the
//! feed that ends login sessions; what they reach is what the key was given and its account holds when the token is issued.

mod key;

use aws_lc_rs::constant_time;
use secrecy::{ExposeSecret as _, SecretString};
use tidings_audit::{self as audit, Actor, Event};
use tidings_authn::{AUDIENCE, Caller, Claims, ISSUER, LIFETIME};
use tidings_db::{Schema, requests, transaction};
use tidings_ids::{ApiKeyId, LoginSessionId, UserId};
use tidings_proto_common::v1::{AuditCategory, Permission};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use self::key::{generate, hash, hint, read};
use crate::{
    Error,
    auth::{Auth, Repeatable},
    service_accounts,
    store::{
        api_keys::{self, ApiKey, session_of},
        service_accounts as store,
    },
    trail,
    users::{AccountStatus, Standing},
};

/// A service account has so many keys that work at the most: some programs, each with the key that it uses and the one that follows.
pub(crate) const KEYS_MAX: u32 = 20;

/// The last use of a key is written down this often at the most.
const USE_NOTED_EVERY: Duration = Duration::MINUTE;

/// What a key is to be.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub label: String,
    pub permissions: Vec<Permission>,
    pub expire_time: Option<OffsetDateTime>,
}

/// Creates a key. `None` instead of it where the call is a repeated one.
pub(crate) async fn create(
    auth: &Auth,
    caller: &Caller,
    user_id: UserId,
    wanted: Wanted,
    call: Option<&Repeatable>,
) -> Result<(ApiKey, Option<SecretString>), Error> {
    if let Some(earlier) = auth.earlier(call).await? {
        return Ok((recorded(auth, &earlier).await?, None));
    }
    service_accounts::get(auth, user_id).await?;
    auth.users.check_authority(caller.user_id, user_id).await?;
    if let Some(lacking) = wanted.permissions.iter().find(|permission| !caller.holds(**permission)) {
        return Err(Error::PermissionMissing(*lacking));
    }
    let standing = auth.users.standing(user_id).await?;
    if standing.account != AccountStatus::Active {
        return Err(Error::StateUnsuitable);
    }
    let beyond = |permission: &&Permission| !standing.permissions.contains(&i32::from(**permission));
    if let Some(lacking) = wanted.permissions.iter().find(beyond) {
        return Err(Error::PermissionMissing(*lacking));
    }

    let now = auth.now();
    let api_key_id: ApiKeyId = auth.source().new_id();
    let secret = generate(api_key_id, auth.source());
    let mut permissions: Vec<i32> = wanted.permissions.into_iter().map(i32::from).collect();
    permissions.sort_unstable();
    permissions.dedup();
    let key = ApiKey {
        api_key_id,
        user_id,
        label: wanted.label,
        key_hash: hash(&secret).to_vec(),
        hint: hint(&secret),
        permissions,
        creator_user_id: caller.user_id,
        create_time: now,
        expire_time: wanted.expire_time,
        last_use_time: None,
        revoke_time: None,
    };
    let earlier = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if let Some(call) = call {
            let outcome = requests::Outcome::id(api_key_id);
            match requests::claim(&mut *tx, Schema::Auth, &call.key(), &outcome, now).await? {
                requests::Claimed::Fresh => {}
                requests::Claimed::Reused => return Err(Error::RequestIdReused),
                requests::Claimed::Replay(earlier) => return Ok(Some(earlier)),
            }
        }
        if !store::lock(&mut *tx, user_id).await? {
            return Err(Error::NotFound);
        }
        if api_keys::count_live(&mut *tx, user_id, now).await? >= i64::from(KEYS_MAX) {
            return Err(Error::QuotaExceeded {
                quota: "api_keys",
                limit: KEYS_MAX,
            });
        }
        api_keys::insert(&mut *tx, &key).await?;
        let event = event(auth, "auth.create_api_key", &key).detail("permissions", numbers(&key.permissions));
        audit::record(tx, Schema::Auth, &event.request(trail::request_id(call))).await?;
        Ok(None)
    })?;
    match earlier {
        Some(earlier) => Ok((recorded(auth, &earlier).await?, None)),
        None => Ok((key, Some(secret))),
    }
}

/// The record of the key that an earlier call made.
async fn recorded(auth: &Auth, earlier: &requests::Outcome) -> Result<ApiKey, Error> {
    let id = ApiKeyId::from_uuid(earlier.id.unwrap_or_default());
    api_keys::get(&auth.pool, id).await?.ok_or(Error::NotFound)
}

/// Ends a key of a service account.
pub(crate) async fn revoke(
    auth: &Auth,
    caller: &Caller,
    user_id: UserId,
    api_key_id: ApiKeyId,
    call: Option<&Repeatable>,
) -> Result<ApiKey, Error> {
    if auth.earlier(call).await?.is_none() {
        let key = of_account(auth, user_id, api_key_id).await?;
        auth.users.check_authority(caller.user_id, user_id).await?;
        let now = auth.now();
        let revoked = transaction!(&auth.pool, |tx| -> Result<_, Error> {
            if !auth.claim(&mut *tx, call).await? {
                return Ok(Vec::new());
            }
            if !store::lock(&mut *tx, user_id).await? {
                return Err(Error::NotFound);
            }
            let revoked = api_keys::revoke(&mut *tx, user_id, Some(api_key_id), now).await?;
            if !revoked.is_empty() {
                let event = event(auth, "auth.revoke_api_key", &key).request(trail::request_id(call));
                audit::record(tx, Schema::Auth, &event).await?;
            }
            Ok(revoked)
        })?;
        auth.announce_ended(&revoked);
    }
    of_account(auth, user_id, api_key_id).await
}

/// The key, if it is one of this service account.
async fn of_account(auth: &Auth, user_id: UserId, api_key_id: ApiKeyId) -> Result<ApiKey, Error> {
    service_accounts::get(auth, user_id).await?;
    let key = api_keys::get(&auth.pool, api_key_id).await?;
    key.filter(|key| key.user_id == user_id).ok_or(Error::NotFound)
}

/// An access token for its owner.
pub(crate) struct Exchanged {
    pub access_token: String,
    pub expire_time: OffsetDateTime,
    pub api_key_id: ApiKeyId,
    pub user_id: UserId,
}

impl std::fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exchanged {{ api_key_id: {} }}", self.api_key_id)
    }
}

/// Exchanges a key for an access token.
pub(crate) async fn exchange(auth: &Auth, text: &SecretString) -> Result<Exchanged, Error> {
    let Some(key) = proven(auth, text).await? else {
        return Err(trail::refused_login(auth, None, Error::CredentialsInvalid).await);
    };
    let standing = auth.users.standing(key.user_id).await?;
    match standing.account {
        AccountStatus::Active => {}
        AccountStatus::Suspended => return Err(Error::AccountSuspended),
        AccountStatus::Pending | AccountStatus::Gone => return Err(Error::CredentialsInvalid),
    }
    let now = auth.now();
    let live = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let live = api_keys::note_use(&mut *tx, key.api_key_id, now, now - USE_NOTED_EVERY).await?;
        if live {
            let event = event(auth, "auth.exchange_api_key", &key);
            let actor = Actor::Bot(key.user_id, Some(session_of(key.api_key_id)));
            audit::record(tx, Schema::Auth, &event.actor(actor)).await?;
        }
        Ok(live)
    })?;
    if !live {
        return Err(Error::CredentialsInvalid);
    }
    let expire_time = key.expire_time.map_or(now + LIFETIME, |end| end.min(now + LIFETIME));
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: key.user_id,
        sid: session_of(key.api_key_id),
        epoch: standing.token_epoch,
        perms: reach(&key, &standing),
        bot: true,
        iat: now.unix_timestamp(),
        nbf: now.unix_timestamp(),
        exp: expire_time.unix_timestamp(),
    };
    if claims.exp <= claims.iat {
        // Less than a second is left of the key.
        return Err(Error::CredentialsInvalid);
    }
    let expire_time = OffsetDateTime::from_unix_timestamp(claims.exp)
        .map_err(|error| Error::Internal(format!("an expiry is no time: {error}")))?;
    Ok(Exchanged {
        access_token: auth.signing.sign(&claims)?,
        expire_time,
        api_key_id: key.api_key_id,
        user_id: key.user_id,
    })
}

/// The key that the text is, if it works now. `None` for every other text, whatever is wrong with it. Says nothing about the user:
/// for `ExchangeApiKey` and `IntrospectToken`.
pub(crate) async fn proven(auth: &Auth, text: &SecretString) -> Result<Option<ApiKey>, Error> {
    // A text that cannot be a key takes the same steps as one that is unknown.
    let id = read(text.expose_secret()).unwrap_or_else(|| ApiKeyId::from_uuid(Uuid::nil()));
    let key = api_keys::get(&auth.pool, id).await?;
    let hash = hash(text);
    let stored = key.as_ref().map_or([0; 32].as_slice(), |key| key.key_hash.as_slice());
    let same = constant_time::verify_slices_are_equal(&hash, stored).is_ok();
    Ok(key.filter(|key| same && key.is_live(auth.now())))
}

/// The key of an access token whose login session has this id; `None` where it is a login session. For a token that was verified.
pub(crate) async fn of_session(auth: &Auth, session: LoginSessionId) -> Result<Option<ApiKey>, Error> {
    Ok(api_keys::get(&auth.pool, ApiKeyId::from_uuid(session.uuid())).await?)
}

/// What both the key and its account allow.
fn reach(key: &ApiKey, standing: &Standing) -> Vec<i32> {
    let held = standing.permissions.iter().copied();
    held.filter(|number| key.permissions.contains(number)).collect()
}

/// A set of permissions by number, as an event has it.
fn numbers(permissions: &[i32]) -> String {
    let numbers: Vec<String> = permissions.iter().map(ToString::to_string).collect();
    numbers.join(",")
}

fn event(auth: &Auth, action: &'static str, key: &ApiKey) -> Event {
    Event::of_call(auth.source(), AuditCategory::Administration, action)
        .subject(key.user_id)
        .subject(key.api_key_id)
}
