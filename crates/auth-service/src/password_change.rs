//! New passwords: by their owner, who knows the old one, or by an operator.

use secrecy::SecretString;
use sqlx::PgConnection;
use tidings_audit::Event;
use tidings_authn::Caller;
use tidings_db::transaction;
use tidings_ids::{LoginSessionId, UserId};
use tidings_rpc::Violations;

use crate::{
    Error,
    auth::{Auth, Repeatable},
    blocklist, email_change, login, notice, proof, standing,
    store::{
        accounts::{self, Account},
        mails::Notice,
        proofs, service_accounts,
        sessions::{EndReason, Statement, Which},
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

/// The name of what was done, where no RPC is behind it.
fn action(reason: EndReason) -> &'static str {
    match reason {
        EndReason::PasswordSet => "auth.set_password",
        _ => "auth.change_password",
    }
}

async fn replace(
    auth: &Auth,
    account: &Account,
    version: Option<i64>,
    new: SecretString,
    ends: Which,
    reason: EndReason,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    permit_for(account, &new)?;
    let user_id = account.user_id;
    let password_hash = auth.passwords.hash(new, auth.source()).await?;
    let done = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(None);
        }
        let locked = accounts::lock(&mut *tx, user_id).await?.ok_or(Error::NotFound)?;
        if version.is_some_and(|version| version != locked) {
            return Err(Error::CredentialsInvalid);
        }
        proofs::clear(&mut *tx, user_id).await?;
        let new = NewPassword {
            user_id,
            hash: &password_hash,
            ends,
            reason,
        };
        let event = trail::event(auth, action(reason)).subject(user_id);
        let event = event.request(trail::request_id(call));
        set_in(auth, &mut *tx, &new, event).await.map(Some)
    })?;
    if let Some(done) = done {
        done.announce(auth).await;
    }
    Ok(())
}

/// A password that takes the place of another.
#[derive(Debug)]
pub(crate) struct NewPassword<'a> {
    pub user_id: UserId,
    pub hash: &'a str,
    /// Which login sessions end by it, and why.
    pub ends: Which,
    pub reason: EndReason,
}

/// What is to be [announced](Self::announce) once it is committed.
#[derive(Debug)]
pub(crate) struct Replaced {
    ended: Vec<LoginSessionId>,
    statement: Option<Statement>,
}

/// Sets a password, ends all that came by the one before, and has the account's owner told. The account must be locked, and noted
/// that its address is proven, if it is by this call. The event is told of what ended.
pub(crate) async fn set_in(
    auth: &Auth,
    tx: &mut PgConnection,
    new: &NewPassword<'_>,
    event: Event,
) -> Result<Replaced, Error> {
    let (user_id, now) = (new.user_id, auth.now());
    accounts::set_password(&mut *tx, user_id, new.hash, now).await?;
    throttle::forgive(auth, &mut *tx, user_id).await?;
    for purpose in [Purpose::ResetPassword, Purpose::ChangeEmail] {
        tokens::spend(&mut *tx, user_id, purpose).await?;
    }
    let given_up = email_change::give_up(auth, &mut *tx, user_id).await?;
    let notice = match new.reason {
        EndReason::PasswordReset => Notice::PasswordReset,
        EndReason::PasswordSet => Notice::PasswordSet,
        _ => Notice::PasswordChanged,
    };
    notice::enqueue(auth, &mut *tx, user_id, notice).await?;
    let (ended, statement) = login::end_in(&mut *tx, user_id, new.ends, new.reason, now).await?;
    let event = trail::given_up_email(event.subjects(ended.iter().copied()), given_up);
    trail::record(tx, &event).await?;
    Ok(Replaced { ended, statement })
}

impl Replaced {
    /// Tells those who are to know at once.
    pub(crate) async fn announce(self, auth: &Auth) {
        auth.announce_ended(&self.ended);
        auth.wake.mails.notify_one();
        standing::tell_soon(auth, self.statement).await;
        // The user service may have to be told an address again, or that it is proven.
        auth.wake.upkeep.notify_one();
    }
}
