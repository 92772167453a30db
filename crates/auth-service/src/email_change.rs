//! Another address for an account, true in two services or in neither.
//!
//! 1. The change is stored (`asked`), with a mail to the new address, which carries a token, and a notice to the present one.
//!    Nothing is reserved by it: whoever proves an address first has it.
//! 2. The token comes back: the change is `proven`, and has a number among the account's addresses.
//! 3. The user service is told. Its unique index decides whether the address is free; a late statement undoes no newer one.
//! 4. The account gets the address in the transaction that moves the change to `done`; or it is `refused`.
//!
//! Whoever stops between 2 and 4 leaves a proven change, which the sweeper carries on with: each step can be repeated. Until 4
//! the account logs in and is recovered by its old address.
//!
//! A new password gives up what is not done, whoever asked for it and proved it: they may be who it was changed against. What the user
//! service was never told is `refused` at once. Else it is `recalled`: the user service is told the account's address again, by a higher
//! number, so that the statement of 3 changes nothing however late it arrives. That takes an address which was proven before, as the
//! user service takes none else: where the account has none such, nobody was ever recovered by it, and the change comes to its end. A
//! password that was reset by mail has proven the address.
//!
//! Somebody who registered with the address and never proved it loses it in 2, as among registrations (`store::claims`).
//! Where nobody may learn whether an address is in use, asking is alike for every one: what its owner is told stands in the
//! mail alone.

use std::net::IpAddr;

use secrecy::SecretString;
use sqlx::PgConnection;
use tidings_authn::Caller;
use tidings_db::{Schema, requests, transaction};
use tidings_ids::{EmailChangeId, UserId};
use tidings_rpc::Violations;

use crate::{
    Error, Registration, Step,
    account::{Email, fold},
    auth::{Auth, Repeatable},
    proof, recovery,
    refresh_tree::TokenHash,
    store::{
        accounts, claims,
        email_changes::{self, NewChange, Owner, State},
        mails::Kind,
        tokens::{self, Purpose},
    },
    throttle, trail,
    users::Refused,
};

/// Stands in the outcome of a `VerifyEmail` whose id is that of a change, and not of a user.
const OUTCOME: &[u8] = b"email_change";

/// Asks for another address. Where it tells that one is taken, it tells a network so no more often than a registration does.
pub(crate) async fn ask(
    auth: &Auth,
    caller: &Caller,
    address: Option<IpAddr>,
    email: &Email,
    password: SecretString,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    if auth.earlier(call).await?.is_some() {
        return Ok(());
    }
    let told = auth.config.registration == Registration::Open;
    if told {
        throttle::permit_names(auth, address).await?;
    }
    let account = proof::by_password(auth, caller.user_id, password, call).await?;
    if account.email.as_deref().map(fold).as_deref() == Some(email.key()) {
        let mut violations = Violations::new();
        violations.add("new_email", "must be another address than the present one");
        return Err(Error::Fields(violations));
    }
    if told && accounts::find_by_email(&auth.pool, email.key()).await?.is_some() {
        throttle::count_taken(auth, address).await?;
        return Err(Error::EmailTaken);
    }
    // One that was proven before goes first, so that the account has one at a time. What became of it shows in the account.
    for change_id in email_changes::unsettled(&auth.pool, Some(account.user_id)).await? {
        settle(auth, change_id).await?;
    }

    let (user_id, now) = (account.user_id, auth.now());
    let change = NewChange {
        change_id: auth.source().new_id(),
        user_id,
        email: email.as_str(),
        email_key: email.key(),
        old_email: account.email.as_deref(),
    };
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(());
        }
        if accounts::lock(&mut *tx, user_id).await? != Some(account.password_version) {
            return Err(Error::CredentialsInvalid);
        }
        if !email_changes::unsettled(&mut *tx, Some(user_id)).await?.is_empty() {
            // Proven since: that one goes first.
            return Err(Error::Conflict);
        }
        tokens::spend(&mut *tx, user_id, Purpose::ChangeEmail).await?;
        email_changes::ask(&mut *tx, &change, now).await?;
        let event = trail::event(auth, "auth.change_email").subject(user_id);
        trail::record(&mut *tx, &event.request(trail::request_id(call))).await?;
        recovery::enqueue_change(auth, &mut *tx, Kind::ChangeEmail, email.key(), change.change_id).await?;
        if let Some(old) = &account.email {
            recovery::enqueue_change(auth, &mut *tx, Kind::EmailChangeNotice, &fold(old), change.change_id).await?;
        }
        Ok(())
    })?;
    auth.wake.mails.notify_one();
    Ok(())
}

/// The change that the token proves, if it is one of a change.
pub(crate) async fn owner(auth: &Auth, hash: TokenHash) -> Result<Option<Owner>, Error> {
    Ok(email_changes::owner(&auth.pool, hash, auth.now()).await?)
}

/// The new address is proven.
pub(crate) async fn prove(auth: &Auth, hash: TokenHash, owner: &Owner, call: Option<&Repeatable>) -> Result<(), Error> {
    let now = auth.now();
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            // A concurrent duplicate was faster; what became of it is the answer.
            return Ok(());
        }
        claims::lock_address(&mut *tx, &owner.email_key).await?;
        accounts::lock(&mut *tx, owner.user_id)
            .await?
            .ok_or(Error::CredentialsInvalid)?;
        // Again, now that nobody else can use the token or prove the address.
        let still = email_changes::owner(&mut *tx, hash, now).await?;
        if still.as_ref() != Some(owner) {
            return Err(Error::CredentialsInvalid);
        }
        let displaced = claims::displace(&mut *tx, owner.user_id, &owner.email_key).await?;
        email_changes::prove(&mut *tx, owner, displaced, now).await?;
        tokens::spend(&mut *tx, owner.user_id, Purpose::ChangeEmail).await?;
        let event = trail::event_by(auth, "auth.prove_email", owner.user_id, None);
        trail::record(&mut *tx, &event.request(trail::request_id(call))).await?;
        if let Some(call) = call {
            let outcome = requests::Outcome {
                id: Some(owner.change_id.uuid()),
                data: Some(OUTCOME.to_vec()),
            };
            requests::set_outcome(&mut *tx, Schema::Auth, &call.key(), &outcome).await?;
        }
        Ok(())
    })?;
    conclude(auth, owner.change_id).await
}

/// The answer to a repetition, if the earlier call proved a change.
pub(crate) async fn repeated(auth: &Auth, earlier: &requests::Outcome) -> Option<Result<(), Error>> {
    let change_id = earlier.id.filter(|_| earlier.data.as_deref() == Some(OUTCOME))?;
    Some(conclude(auth, EmailChangeId::from_uuid(change_id)).await)
}

/// Carries a proven change to its end, and says whether the address is the account's.
async fn conclude(auth: &Auth, change_id: EmailChangeId) -> Result<(), Error> {
    match settle(auth, change_id).await? {
        State::Done => Ok(()),
        // The same as for a token that came too late.
        State::Asked | State::Proven | State::Refused | State::Recalled => Err(Error::CredentialsInvalid),
    }
}

/// Gives up what was proven for the account and is not done, if there is such a change: whether there was. In the transaction that
/// sets a password, once it has noted that the present address is proven, if it is by that. The account must be locked, and
/// [`Wake::upkeep`](crate::auth::Wake) be notified after the commit.
pub(crate) async fn give_up(auth: &Auth, tx: &mut PgConnection, user_id: UserId) -> Result<bool, Error> {
    Ok(email_changes::give_up(tx, user_id, auth.now()).await?)
}

/// One round of carrying on with what was proven, and with what was recalled. Returns the first error, after trying everything.
pub(crate) async fn sweep(auth: &Auth) -> Result<(), Error> {
    let mut outcome = Ok(());
    for change_id in email_changes::unsettled(&auth.pool, None).await? {
        outcome = outcome.and(settle(auth, change_id).await.map(|_| ()));
    }
    outcome
}

/// Carries a proven change to its end, or a recalled one. How far it is then; what cannot be reached leaves it as it is, and is an
/// error.
async fn settle(auth: &Auth, change_id: EmailChangeId) -> Result<State, Error> {
    let Some(change) = email_changes::get(&auth.pool, change_id).await? else {
        return Ok(State::Refused);
    };
    match change.state {
        State::Proven => {}
        State::Recalled => return recall(auth, change_id, &change).await,
        ended => return Ok(ended),
    }
    auth.crash_point(Step::EmailProven).await?;
    if !email_changes::begin_telling(&auth.pool, change_id).await? {
        return state(auth, change_id).await;
    }
    if !tell(auth, &change).await? {
        email_changes::refuse(&auth.pool, change_id, State::Proven, auth.now()).await?;
        return state(auth, change_id).await;
    }
    auth.crash_point(Step::UserEmailChanged).await?;
    let now = auth.now();
    let finished = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let finished = accounts::lock(&mut *tx, change.user_id).await?.is_some()
            && email_changes::finish(&mut *tx, change_id, now).await?;
        if finished {
            // Tokens for the old address are worth nothing by now; they need not wait for their end.
            for purpose in [Purpose::ResetPassword, Purpose::VerifyEmail] {
                tokens::spend(&mut *tx, change.user_id, purpose).await?;
            }
            let event = trail::event(auth, "auth.finish_email_change").subject(change.user_id);
            trail::record(&mut *tx, &event.detail("fields", "email")).await?;
        }
        Ok(finished)
    })?;
    if finished {
        Ok(State::Done)
    } else {
        // Another call was faster, or the change was given up.
        state(auth, change_id).await
    }
}

/// How far the change is by now.
async fn state(auth: &Auth, change_id: EmailChangeId) -> Result<State, Error> {
    let change = email_changes::get(&auth.pool, change_id).await?;
    Ok(change.map_or(State::Refused, |change| change.state))
}

/// Has the user service take the account's address back, in place of the one that was given up.
async fn recall(auth: &Auth, change_id: EmailChangeId, change: &email_changes::Change) -> Result<State, Error> {
    let account = accounts::get(&auth.pool, change.user_id).await?;
    if let Some(email) = account.and_then(|account| account.email) {
        match auth.users.change_email(change.user_id, &email, change.revision).await {
            Ok(()) | Err(Refused::NotFound) => {}
            // Deleted, and may come back.
            Err(Refused::Unsuitable) => return Ok(State::Recalled),
            // Somebody registers with it at this moment, and will find that it is taken.
            Err(Refused::EmailTaken) => return Err(Error::Conflict),
            Err(refused) => return Err(refused.into()),
        }
    }
    email_changes::refuse(&auth.pool, change_id, State::Recalled, auth.now()).await?;
    Ok(State::Refused)
}

/// Has the user service follow. False where the address is another's there, or the user gone.
async fn tell(auth: &Auth, change: &email_changes::Change) -> Result<bool, Error> {
    if let Some(displaced) = change.displaced_user_id {
        withdraw(auth, displaced).await?;
    }
    match auth
        .users
        .change_email(change.user_id, &change.email, change.revision)
        .await
    {
        Ok(()) => Ok(true),
        Err(Refused::EmailTaken | Refused::Unsuitable | Refused::NotFound) => Ok(false),
        Err(refused) => Err(refused.into()),
    }
}

async fn withdraw(auth: &Auth, user_id: UserId) -> Result<(), Error> {
    match auth.users.withdraw_email(user_id).await {
        Ok(()) => Ok(()),
        Err(Refused::Unsuitable) => {
            // Only stored credentials are activated, and this account waited for its address: then that one keeps it.
            tracing::error!(%user_id, "an account that had not proven its address belongs to an active user");
            Ok(())
        }
        Err(refused) => Err(refused.into()),
    }
}
