//! Mailed tokens: a forgotten password, an address to be verified.
//!
//! Asking for a mail does the same for every address: it is counted, and a row goes into the outbox. Whether an account
//! has the address is found out when the mail is sent; only then is there a token, of which the database keeps the
//! hash.

use secrecy::{ExposeSecret as _, SecretString};
use tidings_db::{Schema, requests, transaction};
use tidings_ids::{EmailChangeId, UserId};

use crate::{
    Error,
    auth::{Auth, Repeatable},
    email_change,
    password_change::{self, NewPassword},
    refresh_tree::{TokenHash, sha256},
    registration,
    store::{
        accounts, claims,
        mails::{self, About},
        sessions::{EndReason, Which},
        tokens::{self, Owner, Purpose},
    },
    trail,
};

/// The hash that a mailed token is known by.
pub(crate) fn token_hash(token: &SecretString) -> TokenHash {
    sha256(token.expose_secret().as_bytes())
}

/// Has a mail sent to the account with this address, if there is one that it concerns.
pub(crate) async fn request_mail(
    auth: &Auth,
    kind: mails::Kind,
    email_key: &str,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    if auth.earlier(call).await?.is_some() {
        return Ok(());
    }
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if auth.claim(&mut *tx, call).await? {
            enqueue(auth, &mut *tx, kind, email_key, None).await?;
            let event = trail::event(auth, "auth.request_mail").request(trail::request_id(call));
            trail::record(&mut *tx, &event).await?;
        }
        Ok(())
    })?;
    auth.wake.mails.notify_one();
    Ok(())
}

/// Puts a mail into the outbox, unless the address has had enough of its kind: about the registration of this user, if one is
/// named.
pub(crate) async fn enqueue(
    auth: &Auth,
    tx: &mut sqlx::PgConnection,
    kind: mails::Kind,
    email_key: &str,
    user_id: Option<UserId>,
) -> Result<(), Error> {
    let about = user_id.map_or(About::Address, About::Registration);
    enqueue_about(auth, tx, kind, email_key, about).await
}

/// The same about a change of address.
pub(crate) async fn enqueue_change(
    auth: &Auth,
    tx: &mut sqlx::PgConnection,
    kind: mails::Kind,
    email_key: &str,
    change_id: EmailChangeId,
) -> Result<(), Error> {
    enqueue_about(auth, tx, kind, email_key, About::Change(change_id)).await
}

/// The same about whatever it may be.
pub(crate) async fn enqueue_about(
    auth: &Auth,
    tx: &mut sqlx::PgConnection,
    kind: mails::Kind,
    email_key: &str,
    about: About<'_>,
) -> Result<(), Error> {
    let now = auth.now();
    if mails::count(&mut *tx, kind, email_key, now).await? {
        mails::insert(&mut *tx, auth.source().new_id(), kind, email_key, about, now).await?;
    }
    Ok(())
}

/// Sets a new password for the account that the token belongs to, and ends all that was proven with the old one.
pub(crate) async fn reset_password(
    auth: &Auth,
    token: &SecretString,
    new_password: SecretString,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    auth.once(call, reset(auth, token, new_password, call)).await.map(drop)
}

async fn reset(
    auth: &Auth,
    token: &SecretString,
    new_password: SecretString,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    let (hash, now) = (token_hash(token), auth.now());
    // Looked at first, so that guesses cost no hash.
    let owner = tokens::owner(&auth.pool, hash, Purpose::ResetPassword, now)
        .await?
        .ok_or(Error::CredentialsInvalid)?;
    let account = accounts::get(&auth.pool, owner.user_id)
        .await?
        .ok_or(Error::CredentialsInvalid)?;
    password_change::permit_for(&account, &new_password)?;
    let password_hash = auth.passwords.hash(new_password, auth.source()).await?;

    let done = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(None);
        }
        let user_id = lock_owner(auth, &mut *tx, hash, Purpose::ResetPassword).await?.user_id;
        // The mail has reached its address.
        accounts::verify_email(&mut *tx, user_id).await?;
        let new = NewPassword {
            user_id,
            hash: &password_hash,
            ends: Which::All,
            reason: EndReason::PasswordReset,
        };
        let event = trail::event_by(auth, "auth.reset_password", user_id, None).request(trail::request_id(call));
        password_change::set_in(auth, &mut *tx, &new, event).await.map(Some)
    })?;
    if let Some(done) = done {
        done.announce(auth).await;
    }
    Ok(())
}

/// The address is proven, for the account that the token belongs to and for no other that was registered with it.
pub(crate) async fn verify_email(auth: &Auth, token: &SecretString, call: Option<&Repeatable>) -> Result<(), Error> {
    if let Some(earlier) = auth.earlier(call).await? {
        return conclude_again(auth, &earlier).await;
    }
    let hash = token_hash(token);
    if let Some(owner) = email_change::owner(auth, hash).await? {
        return email_change::prove(auth, hash, &owner, call).await;
    }
    let user_id = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(None);
        }
        let Owner { user_id, email_key } = lock_owner(auth, &mut *tx, hash, Purpose::VerifyEmail).await?;
        claims::prove(&mut *tx, user_id, &email_key).await?;
        accounts::verify_email(&mut *tx, user_id).await?;
        tokens::spend(&mut *tx, user_id, Purpose::VerifyEmail).await?;
        let event = trail::event_by(auth, "auth.verify_email", user_id, None).request(trail::request_id(call));
        trail::record(&mut *tx, &event).await?;
        if let Some(call) = call {
            requests::set_outcome(&mut *tx, Schema::Auth, &call.key(), &requests::Outcome::id(user_id)).await?;
        }
        Ok(Some(user_id))
    })?;
    match user_id {
        Some(user_id) => registration::activate(auth, user_id).await,
        // A concurrent duplicate was faster; what became of it is the answer.
        None => match auth.earlier(call).await? {
            Some(earlier) => conclude_again(auth, &earlier).await,
            None => Ok(()),
        },
    }
}

/// Carries on with what an earlier call proved, and says what became of it.
async fn conclude_again(auth: &Auth, earlier: &requests::Outcome) -> Result<(), Error> {
    if let Some(concluded) = email_change::repeated(auth, earlier).await {
        return concluded;
    }
    match earlier.id {
        Some(user_id) => registration::activate(auth, UserId::from_uuid(user_id)).await,
        None => Ok(()),
    }
}

/// Locks the address and the account that the token belongs to, and looks again whether the token works: of many at once, one uses it.
async fn lock_owner(
    auth: &Auth,
    tx: &mut sqlx::PgConnection,
    hash: TokenHash,
    purpose: Purpose,
) -> Result<Owner, Error> {
    let now = auth.now();
    let owner = tokens::owner(&mut *tx, hash, purpose, now)
        .await?
        .ok_or(Error::CredentialsInvalid)?;
    claims::lock_address(&mut *tx, &owner.email_key).await?;
    accounts::lock(&mut *tx, owner.user_id)
        .await?
        .ok_or(Error::CredentialsInvalid)?;
    let still = tokens::owner(&mut *tx, hash, purpose, now).await?;
    still.ok_or(Error::CredentialsInvalid)
}
