//! New passwords: by their owner, who knows the old one, or by an operator.

use secrecy::SecretString;
use tidings_authn::Caller;
use tidings_db::transaction;
use tidings_ids::UserId;
use tidings_rpc::Violations;

use crate::{
    Error,
    auth::{Auth, Repeatable},
    blocklist, email_change, login, notice, proof, standing,
    store::{
        accounts::{self, Account},
        mails::Notice,
        proofs, service_accounts,
        sessions::{EndReason, Which},
        tokens::{self, Purpose},
    },
    throttle, trail,
};

/// The field that a new password stands in, in every request that has one besides registration.
pub(crate) const FIELD: &str = "new_password";

/// Sets the caller's password, and ends the other login sessions, or all.
pub(crate) async fn change(
    auth: &Auth,
    caller: &Caller,
    current: SecretString,
    new: SecretString,
    end_current: bool,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    let which = if end_current {
        Which::All
    } else {
        Which::AllBut(caller.login_session_id)
    };
    let work = async {
        let account = proof::by_password(auth, caller.user_id, current, call).await?;
        // A password that was changed meanwhile is not a proof any more.
        let version = Some(account.password_version);
        replace(auth, &account, version, new, which, EndReason::PasswordChange, call).await
    };
    auth.once(call, work).await.map(drop)
}

/// Sets another user's password, and ends all login sessions of that user.
pub(crate) async fn set(
    auth: &Auth,
    caller: &Caller,
    user_id: UserId,
    new: SecretString,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    if auth.earlier(call).await?.is_some() {
        return Ok(());
    }
    if service_accounts::get(&auth.pool, user_id).await?.is_some() {
        // A program's rights end where those of its keys do, and its keys end one by one. Everybody sees that it is one.
        return Err(Error::KindUnsuitable);
    }
    auth.users.check_take_over(caller, user_id).await?;
    let account = accounts::get(&auth.pool, user_id).await?.ok_or(Error::NotFound)?;
    replace(auth, &account, None, new, Which::All, EndReason::PasswordSet, call).await
}

/// Whether the account may have this password, as far as its own names go.
///
/// # Errors
///
/// [`Error::Fields`] where it may not.
pub(crate) fn permit_for(account: &Account, new: &SecretString) -> Result<(), Error> {
    let mut violations = Violations::new();
    blocklist::check_names(&mut violations, FIELD, new, &account.username, account.email.as_deref());
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Error::Fields(violations))
    }
}

/// The name of what was done, where no RPC is behind it, and what the account's owner is told.
fn action(reason: EndReason) -> (&'static str, Notice) {
    match reason {
        EndReason::PasswordSet => ("auth.set_password", Notice::PasswordSet),
        _ => ("auth.change_password", Notice::PasswordChanged),
    }
}

async fn replace(
    auth: &Auth,
    account: &Account,
    version: Option<i64>,
    new: SecretString,
    which: Which,
    reason: EndReason,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    permit_for(account, &new)?;
    let user_id = account.user_id;
    let (action, notice) = action(reason);
    let password_hash = auth.passwords.hash(new, auth.source()).await?;
    let now = auth.now();
    let done = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(None);
        }
        let locked = accounts::lock(&mut *tx, user_id).await?.ok_or(Error::NotFound)?;
        if version.is_some_and(|version| version != locked) {
            return Err(Error::CredentialsInvalid);
        }
        accounts::set_password(&mut *tx, user_id, &password_hash, now).await?;
        proofs::clear(&mut *tx, user_id).await?;
        let given_up = email_change::give_up(auth, &mut *tx, user_id).await?;
        throttle::forgive(auth, &mut *tx, user_id).await?;
        for purpose in [Purpose::ResetPassword, Purpose::ChangeEmail] {
            tokens::spend(&mut *tx, user_id, purpose).await?;
        }
        let (ended, statement) = login::end_in(&mut *tx, user_id, which, reason, now).await?;
        let event = trail::event(auth, action).subject(user_id);
        let event = event.subjects(ended.iter().copied()).request(trail::request_id(call));
        trail::record(&mut *tx, &trail::given_up_email(event, given_up)).await?;
        notice::enqueue(auth, &mut *tx, user_id, notice).await?;
        Ok(Some((ended, statement)))
    })?;
    if let Some((ended, statement)) = done {
        auth.announce_ended(&ended);
        auth.wake.mails.notify_one();
        standing::tell_soon(auth, statement).await;
        auth.wake.upkeep.notify_one();
    }
    Ok(())
}
