//! What a token is worth.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tidings_authn::{Caller, Refusal};
use tidings_ids::{LoginSessionId, UserId};
use time::OffsetDateTime;

use crate::{
    Error, api_keys,
    auth::Auth,
    refresh_tree::Verdict,
    store::{api_keys::ApiKey, sessions},
    users::AccountStatus,
};

/// A token that would be taken now.
#[derive(Debug, Clone)]
pub(crate) enum Active {
    /// With the API key that it was got with, if it was.
    Access(Arc<Caller>, Option<ApiKey>),
    /// With what its access tokens would reach.
    ApiKey(ApiKey, Vec<i32>),
    Refresh {
        user_id: UserId,
        login_session_id: LoginSessionId,
        expire_time: OffsetDateTime,
    },
}

/// What the token is worth; `None` where it is worth nothing, for whatever reason.
pub(crate) async fn introspect(auth: &Auth, token: &SecretString) -> Result<Option<Active>, Error> {
    match auth.env.verifier.verify(token.expose_secret()) {
        Ok(caller) => {
            let key = api_keys::of_session(auth, caller.login_session_id).await?;
            return Ok(Some(Active::Access(caller, key)));
        }
        // Whether it is one cannot be said now.
        Err(Refusal::Untrusted) => return Err(Error::Unavailable("the feeds of revocations")),
        Err(_) => {}
    }
    match api_key(auth, token).await? {
        Some(active) => Ok(Some(active)),
        None => refresh_token(auth, token).await,
    }
}

async fn api_key(auth: &Auth, token: &SecretString) -> Result<Option<Active>, Error> {
    let Some(key) = api_keys::proven(auth, token).await? else {
        return Ok(None);
    };
    let standing = auth.users.standing(key.user_id).await?;
    if standing.account != AccountStatus::Active {
        return Ok(None);
    }
    let mut reached = standing.permissions;
    reached.retain(|number| key.permissions.contains(number));
    Ok(Some(Active::ApiKey(key, reached)))
}

async fn refresh_token(auth: &Auth, token: &SecretString) -> Result<Option<Active>, Error> {
    let Some(token) = auth.refresh_tokens.read(token.expose_secret()) else {
        return Ok(None);
    };
    let Some(session) = sessions::get(&auth.pool, token.session()).await? else {
        return Ok(None);
    };
    let family = &session.family;
    // Only looked at: neither is the leaf spent, nor does an older token end the family.
    let live = family.judge(token.hash(), None, auth.now()) == Verdict::Spend;
    Ok(live.then(|| Active::Refresh {
        user_id: session.user_id,
        login_session_id: token.session(),
        expire_time: family.idle_expire_time.min(family.expire_time),
    }))
}
