//! Authenticator apps and recovery codes: how they are set up, and taken away.

use secrecy::SecretString;
use sqlx::PgConnection;
use tidings_authn::Caller;
use tidings_db::transaction;
use tidings_ids::UserId;
use tidings_proto_common::v1::Permission;
use time::OffsetDateTime;

use crate::{
    Error,
    auth::{Auth, Repeatable},
    notice, proof,
    second_factor::{self, Factor, Proven},
    store::{
        accounts,
        mails::Notice,
        proofs::Kind,
        recovery_codes,
        totps::{self, Totp},
    },
    totp::{Codes, Enrolment},
    trail,
};

/// What the owner of an account shows before a second factor changes.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    Password(SecretString),
    Factor(Factor),
}

/// A proof that is to be held against the account once that is locked.
enum Shown {
    /// The password of this version.
    Password(i64),
    Factor(Proven),
}

/// Makes a secret that counts for nothing until it is [confirmed](confirm).
pub(crate) async fn enrol(auth: &Auth, caller: &Caller, password: SecretString) -> Result<Enrolment, Error> {
    let account = proof::by_password(auth, caller.user_id, password, None).await?;
    let user_id = account.user_id;
    let enrolment = auth.codes.enrol(auth.source(), user_id, &account.username)?;
    let now = auth.now();
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        hold(&mut *tx, user_id, &Shown::Password(account.password_version), now).await?;
        if !totps::put(&mut *tx, user_id, &enrolment.sealed, now).await? {
            return Err(Error::StateUnsuitable);
        }
        record(auth, &mut *tx, "auth.enroll_totp", user_id, None).await
    })?;
    Ok(enrolment)
}

/// From here on a login asks for a code.
pub(crate) async fn confirm(
    auth: &Auth,
    caller: &Caller,
    code: SecretString,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    auth.once(call, confirm_now(auth, caller.user_id, code, call))
        .await
        .map(drop)
}

async fn confirm_now(auth: &Auth, user_id: UserId, code: SecretString, call: Option<&Repeatable>) -> Result<(), Error> {
    let now = auth.now();
    let waiting = totps::get(&auth.pool, user_id, now).await?;
    let waiting = waiting
        .filter(|totp| totp.confirm_time.is_none())
        .ok_or(Error::StateUnsuitable)?;
    let factor = Factor::Totp(code);
    let Proven::Step(step) = prove(auth, user_id, &waiting, &factor, call).await? else {
        return Err(Error::CredentialsInvalid);
    };
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(());
        }
        accounts::lock(&mut *tx, user_id).await?.ok_or(Error::StateUnsuitable)?;
        if !totps::confirm(&mut *tx, user_id, &waiting.sealed_secret, step, now).await? {
            return Err(Error::StateUnsuitable);
        }
        record(auth, &mut *tx, "auth.confirm_totp", user_id, call).await?;
        notice::enqueue(auth, &mut *tx, user_id, Notice::TotpConfirmed).await
    })?;
    auth.wake.mails.notify_one();
    Ok(())
}

/// Takes the caller's own app away, and the recovery codes with it.
pub(crate) async fn remove(
    auth: &Auth,
    caller: &Caller,
    proof: Option<Proof>,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    let work = async {
        let shown = show(auth, caller.user_id, proof, call).await?;
        remove_from(auth, caller.user_id, Some(&shown), call).await
    };
    auth.once(call, work).await.map(drop)
}

/// Takes another user's app away, for an operator.
pub(crate) async fn remove_others(
    auth: &Auth,
    caller: &Caller,
    user_id: UserId,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    if auth.earlier(call).await?.is_some() {
        return Ok(());
    }
    if !caller.holds(Permission::CredentialsManage) {
        return Err(Error::PermissionMissing(Permission::CredentialsManage));
    }
    auth.users.check_take_over(caller, user_id).await?;
    remove_from(auth, user_id, None, call).await
}

async fn remove_from(
    auth: &Auth,
    user_id: UserId,
    shown: Option<&Shown>,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    let now = auth.now();
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(());
        }
        match shown {
            Some(shown) => hold(&mut *tx, user_id, shown, now).await?,
            None => {
                accounts::lock(&mut *tx, user_id).await?.ok_or(Error::NotFound)?;
            }
        }
        let removed = totps::remove(&mut *tx, user_id).await?;
        if removed.is_some() {
            record(auth, &mut *tx, "auth.remove_totp", user_id, call).await?;
        }
        // One that was never confirmed counted for nothing.
        if removed == Some(true) {
            notice::enqueue(auth, &mut *tx, user_id, Notice::TotpRemoved).await?;
        }
        Ok(())
    })?;
    auth.wake.mails.notify_one();
    Ok(())
}

/// New recovery codes in place of the old ones. None where the call repeats an earlier one: they are shown once.
pub(crate) async fn generate_recovery_codes(
    auth: &Auth,
    caller: &Caller,
    proof: Option<Proof>,
    call: Option<&Repeatable>,
) -> Result<Vec<String>, Error> {
    let fresh = auth.once(call, generate(auth, caller.user_id, proof, call)).await?;
    Ok(fresh.unwrap_or_default())
}

async fn generate(
    auth: &Auth,
    user_id: UserId,
    proof: Option<Proof>,
    call: Option<&Repeatable>,
) -> Result<Vec<String>, Error> {
    let now = auth.now();
    let shown = show(auth, user_id, proof, call).await?;
    let codes = Codes::recovery_codes(auth.source());
    let hashes = codes.each_ref().map(|code| auth.codes.recovery_hash(user_id, code));
    let fresh = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(false);
        }
        hold(&mut *tx, user_id, &shown, now).await?;
        let totp = totps::get(&mut *tx, user_id, now).await?;
        if totp.is_none_or(|totp| totp.confirm_time.is_none()) {
            return Err(Error::StateUnsuitable);
        }
        recovery_codes::replace(&mut *tx, user_id, &hashes, now).await?;
        record(auth, &mut *tx, "auth.generate_recovery_codes", user_id, call).await?;
        notice::enqueue(auth, &mut *tx, user_id, Notice::RecoveryCodesGenerated).await?;
        Ok(true)
    })?;
    auth.wake.mails.notify_one();
    Ok(if fresh { codes.into() } else { Vec::new() })
}

async fn record(
    auth: &Auth,
    tx: &mut PgConnection,
    action: &'static str,
    user_id: UserId,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    let event = trail::event(auth, action).subject(user_id);
    trail::record(tx, &event.request(trail::request_id(call))).await
}

async fn show(auth: &Auth, user_id: UserId, proof: Option<Proof>, call: Option<&Repeatable>) -> Result<Shown, Error> {
    match proof.ok_or(Error::StepUpRequired)? {
        Proof::Password(password) => {
            let account = proof::by_password(auth, user_id, password, call).await?;
            Ok(Shown::Password(account.password_version))
        }
        Proof::Factor(factor) => {
            let totp = totps::get(&auth.pool, user_id, auth.now()).await?;
            let totp = totp
                .filter(|totp| totp.confirm_time.is_some())
                .ok_or(Error::CredentialsInvalid)?;
            Ok(Shown::Factor(prove(auth, user_id, &totp, &factor, call).await?))
        }
    }
}

/// Looks at a code that the caller shows, and writes a wrong one down.
async fn prove(
    auth: &Auth,
    user_id: UserId,
    totp: &Totp,
    factor: &Factor,
    call: Option<&Repeatable>,
) -> Result<Proven, Error> {
    match second_factor::verify(auth, user_id, totp, factor, Kind::SecondFactor, call).await {
        Err(Error::CredentialsInvalid) => Err(proof::refused(auth, user_id, call).await),
        looked_at => looked_at,
    }
}

/// Locks the account and holds the proof against it as it is now.
async fn hold(tx: &mut PgConnection, user_id: UserId, shown: &Shown, now: OffsetDateTime) -> Result<(), Error> {
    let version = accounts::lock(&mut *tx, user_id)
        .await?
        .ok_or(Error::CredentialsInvalid)?;
    match shown {
        Shown::Password(proven) if *proven == version => Ok(()),
        Shown::Password(_) => Err(Error::CredentialsInvalid),
        Shown::Factor(proven) => second_factor::spend(tx, user_id, *proven, now).await,
    }
}
