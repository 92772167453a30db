//! What is asked for besides the password: a code of an authenticator app, or a recovery code in its place.
//!
//! A code is [checked](check) first, in a transaction of its own that counts wrong ones, and [spent](spend) in the transaction
//! of what it is for. So a code is used up with its effect or not at all, and of many uses at once one counts.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgConnection;
use tidings_ids::UserId;
use time::OffsetDateTime;

use crate::{
    Error,
    auth::{Auth, Repeatable},
    proof,
    store::{
        proofs::Kind,
        recovery_codes,
        totps::{self, Totp},
    },
    totp::CodeHash,
};

/// A code that somebody shows.
#[derive(Debug, Clone)]
pub(crate) enum Factor {
    Totp(SecretString),
    RecoveryCode(SecretString),
}

/// What was shown to be right, and is still to be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proven {
    /// The account asks for no second factor.
    NotNeeded,
    /// The code of this time step.
    Step(i64),
    /// An unused recovery code.
    RecoveryCode(CodeHash),
}

/// What a login shows besides its proven password. No password is hashed here.
///
/// # Errors
///
/// [`Error::SecondFactorRequired`] where the account asks for a code and none is shown; [`Error::CredentialsInvalid`] where it
/// is wrong; [`Error::RateLimited`].
pub(crate) async fn check(
    auth: &Auth,
    user_id: UserId,
    factor: Option<&Factor>,
    known_device: bool,
) -> Result<Proven, Error> {
    let totp = totps::get(&auth.pool, user_id, auth.now()).await?;
    let Some(totp) = totp.filter(|totp| totp.confirm_time.is_some()) else {
        return Ok(Proven::NotNeeded);
    };
    let factor = factor.ok_or(Error::SecondFactorRequired)?;
    let kind = if known_device {
        Kind::KnownDevice
    } else {
        Kind::SecondFactor
    };
    verify(auth, user_id, &totp, factor, kind, None).await
}

/// Whether the code is right for the app, confirmed or not. `call` is what it is shown for.
pub(crate) async fn verify(
    auth: &Auth,
    user_id: UserId,
    totp: &Totp,
    factor: &Factor,
    kind: Kind,
    call: Option<&Repeatable>,
) -> Result<Proven, Error> {
    let counted = proof::count(auth, user_id, kind).await?;
    let proven = match factor {
        Factor::Totp(code) => auth
            .codes
            .step(user_id, &totp.sealed_secret, code, auth.now())?
            .filter(|step| *step > totp.last_step)
            .map(Proven::Step),
        Factor::RecoveryCode(code) => {
            let hash = auth.codes.recovery_hash(user_id, code.expose_secret());
            let unused = recovery_codes::is_unused(&auth.pool, user_id, &hash).await?;
            unused.then_some(Proven::RecoveryCode(hash))
        }
    };
    let Some(proven) = proven else {
        proof::spare_repeated(auth, user_id, kind, counted, call).await?;
        return Err(Error::CredentialsInvalid);
    };
    proof::forgive(auth, user_id, kind, counted, true).await?;
    Ok(proven)
}

/// Uses the code up, in the transaction of what it is for. The account must be locked.
///
/// # Errors
///
/// [`Error::CredentialsInvalid`] where another call has used it meanwhile; [`Error::SecondFactorRequired`] where the account
/// asks for one only since it was checked.
pub(crate) async fn spend(
    tx: &mut PgConnection,
    user_id: UserId,
    proven: Proven,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let spent = match proven {
        Proven::NotNeeded => {
            let totp = totps::get(&mut *tx, user_id, now).await?;
            let needed = totp.is_some_and(|totp| totp.confirm_time.is_some());
            return if needed {
                Err(Error::SecondFactorRequired)
            } else {
                Ok(())
            };
        }
        Proven::Step(step) => totps::spend(tx, user_id, step).await?,
        Proven::RecoveryCode(hash) => recovery_codes::spend(tx, user_id, &hash, now).await?,
    };
    if spent { Ok(()) } else { Err(Error::CredentialsInvalid) }
}
