//! Login sessions of users whom somebody else vouches for: a product's service account, or an issuer of ID tokens.

use tidings_audit::{Actor, Event};
use tidings_db::transaction;
use tidings_ids::{LoginSessionId, UserId};
use tidings_proto_common::v1::AuditCategory;
use time::OffsetDateTime;

use crate::{
    Error,
    auth::Auth,
    client::Client,
    login::{self, Issued},
    registration, standing,
    store::{
        accounts, exchanged_tokens,
        sessions::{self, NewSession},
    },
    users::Standing,
};

/// A proof that counts once, and until when that is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub token_hash: [u8; 32],
    pub forget_time: OffsetDateTime,
}

/// Begins a login session of the user, unless `may_have` finds by how they stand that they get none.
pub(crate) async fn begin(
    auth: &Auth,
    user_id: UserId,
    device_label: &str,
    client: &Client,
    spent: Option<Spent>,
    may_have: impl Fn(&Standing) -> Result<(), Error>,
) -> Result<Issued, Error> {
    if accounts::get(&auth.pool, user_id).await?.is_none() {
        // The call that brings them in has not come to its end.
        return Err(Error::Conflict);
    }
    registration::activate(auth, user_id).await?;
    let now = auth.now();
    let (statement, standing) = standing::announce(auth, user_id, now + auth.config.idle_lifetime).await?;
    login::permit(&standing, Error::NotFound)?;
    may_have(&standing)?;
    let session: LoginSessionId = auth.source().new_id();
    let token = auth.refresh_tokens.first(session, auth.source());
    let expire_time = now + auth.config.session_lifetime;
    let new = NewSession {
        login_session_id: session,
        user_id,
        device_label,
        client_prefix: &client.prefix(),
        user_agent: &client.agent,
        token_epoch: standing.token_epoch,
        leaf: token.hash(),
        idle_expire_time: (now + auth.config.idle_lifetime).min(expire_time),
        expire_time,
    };
    let mut event = Event::of_call(auth.source(), AuditCategory::Authentication, "auth.begin_vouched").subject(user_id);
    if spent.is_some() {
        // Nobody has called who was known before.
        event = event.actor(Actor::User(user_id, Some(session)));
    }
    let ended = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        accounts::lock(&mut *tx, user_id).await?.ok_or(Error::NotFound)?;
        if let Some(spent) = spent
            && !exchanged_tokens::spend(&mut *tx, &spent.token_hash, spent.forget_time).await?
        {
            return Err(Error::CredentialsInvalid);
        }
        sessions::settle(&mut *tx, user_id, statement.revision).await?;
        login::begin_in(&mut *tx, &new, event.clone(), now).await
    })?;
    auth.announce_ended(&ended);
    login::issue(auth, user_id, session, expire_time, &standing, token)
}
