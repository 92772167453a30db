//! Proofs that the caller of a call with an access token is the account's owner, and not just somebody at an open device. Few
//! wrong ones are looked at in a while.

use secrecy::SecretString;
use tidings_db::transaction;
use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason;
use time::OffsetDateTime;

use crate::{
    Error,
    auth::{Auth, Repeatable},
    store::{
        accounts::{self, Account},
        proofs::{self, Kind},
    },
    trail,
};

/// The account, where the password is its password. It is hashed once, whatever comes out. `call` is what it is shown for.
pub(crate) async fn by_password(
    auth: &Auth,
    user_id: UserId,
    password: SecretString,
    call: Option<&Repeatable>,
) -> Result<Account, Error> {
    // Who has no password, such as a bot, shows a wrong one.
    let account = accounts::get(&auth.pool, user_id)
        .await?
        .ok_or(Error::CredentialsInvalid)?;
    let counted = count(auth, user_id, Kind::Password).await?;
    let hash = Some(account.password_hash.clone());
    match auth.passwords.verify(password, hash).await {
        Ok(false) => {
            spare_repeated(auth, user_id, Kind::Password, counted, call).await?;
            Err(refused(auth, user_id, call).await)
        }
        // Also where it was not looked at, for overload.
        looked_at => {
            forgive(auth, user_id, Kind::Password, counted, looked_at.is_ok()).await?;
            looked_at.map(|_| account)
        }
    }
}

/// Counts a proof as wrong until it is [forgiven](forgive).
///
/// # Errors
///
/// [`Error::RateLimited`] where there were too many wrong ones.
pub(crate) async fn count(auth: &Auth, user_id: UserId, kind: Kind) -> Result<OffsetDateTime, Error> {
    let now = auth.now();
    let wait = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        Ok(proofs::count(&mut *tx, user_id, kind, now).await?)
    })?;
    match wait {
        None => Ok(now),
        Some(wait) => Err(Error::RateLimited(wait.unsigned_abs())),
    }
}

/// The proof that was counted then was right, or was not looked at.
pub(crate) async fn forgive(
    auth: &Auth,
    user_id: UserId,
    kind: Kind,
    counted: OffsetDateTime,
    right: bool,
) -> Result<(), Error> {
    let now = auth.now();
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        Ok(proofs::forgive(&mut *tx, user_id, kind, counted, right, now).await?)
    })
}

/// Does not count a wrong proof where it was right for an earlier call of the same `request_id`, which has used it up since:
/// [`Auth::once`] answers such a call.
pub(crate) async fn spare_repeated(
    auth: &Auth,
    user_id: UserId,
    kind: Kind,
    counted: OffsetDateTime,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    match auth.earlier(call).await? {
        Some(_) => forgive(auth, user_id, kind, counted, false).await,
        None => Ok(()),
    }
}

/// Writes down that a proof was wrong, and returns what the caller is told. What was [spared](spare_repeated) is not written down.
pub(crate) async fn refused(auth: &Auth, user_id: UserId, call: Option<&Repeatable>) -> Error {
    match auth.earlier(call).await {
        Ok(None) => {}
        Ok(Some(_)) => return Error::CredentialsInvalid,
        Err(error) => return error,
    }
    let event = trail::event(auth, "auth.prove").subject(user_id);
    let event = event.refused(ErrorReason::CredentialsInvalid);
    let written = transaction!(&auth.pool, |tx| -> Result<(), Error> {
        trail::record(&mut *tx, &event).await
    });
    written.err().unwrap_or(Error::CredentialsInvalid)
}
