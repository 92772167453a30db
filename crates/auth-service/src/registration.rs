//! Registration: a user and a credential in two services, or neither.
//!
//! 1. The intent is stored (`open`), with the `user_id` that it will have and, where there is one, the `request_id`.
//! 2. The user service creates a pending user under that id: invisible, its name and address reserved.
//! 3. The credential is stored in the transaction that moves the intent from `open` to `done`.
//! 4. The user service makes the user active: at once, or with verified registration when the address is proven.
//!
//! Whoever stops between 1 and 3 leaves an open intent, which is moved to `failed` and only then discarded at the user
//! service ([`sweep`]); a request that wakes after that finds its intent no longer open and is refused. Whoever stops
//! between 3 and 4 leaves `activation_due`, which is made good until it holds.
//!
//! With verified registration nobody may learn whether an address is in use. A registration with another's address
//! therefore takes the same steps: the user service creates a pending user without an address, and the account here has none
//! either, but the password and a claim to the address ([`claims`]). Until it is proven or given up its name is taken, for
//! everybody and in both services, as any other's. Where the holder has proven it, the mail says so and the claim comes to
//! nothing. Where nobody has, each applicant gets a mail with a token for that applicant's account: a name and password of
//! somebody who was quicker become no account by it. The first proof moves the address to its account ([`claims::prove`])
//! and ends the others; then the user service takes it from the user who had it, who stays pending without one, and gives it
//! to the one who has proven it ([`settle`]).

use secrecy::SecretString;
use tidings_audit::{Actor, Event};
use tidings_db::{Schema, requests, transaction};
use tidings_ids::UserId;
use time::Duration;

use crate::{
    Error, Registration, Step,
    account::{Email, Username},
    auth::{Auth, Repeatable},
    recovery,
    store::{
        accounts::{self, NewAccount},
        claims::{self, NewClaim},
        mails,
        registrations::{self, State},
        user_states,
    },
    trail,
    users::{NewUser, Refused},
};

/// An open intent is given up after this long: longer than a call lasts by default, and a round of the sweeper before
/// the 60 s within which `reliability.md` G24 wants it settled.
const STALE_AFTER: Duration = Duration::seconds(30);

/// An address that nobody has verified for so long holds its username no longer.
const UNVERIFIED_FOR: Duration = Duration::hours(72);

/// Who wants to be registered.
#[derive(Debug)]
pub(crate) struct Applicant {
    pub username: Username,
    pub email: Email,
    pub password: SecretString,
    pub display_name: String,
    pub bio: String,
}

/// On which terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terms {
    /// By themselves, as the deployment permits.
    Public(Registration),
    /// By the operator, who answers for the address: active at once.
    Operator(Holder),
}

/// Whom an operator makes an account for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Admin,
    /// A program, which answers messages and nothing else.
    Bot,
}

impl Terms {
    fn awaits_verification(self) -> bool {
        self == Self::Public(Registration::Verified)
    }

    fn role_names(self) -> Vec<String> {
        match self {
            Self::Public(_) => Vec::new(),
            Self::Operator(Holder::Admin) => vec!["admin".to_owned(), "member".to_owned()],
            Self::Operator(Holder::Bot) => vec!["bot".to_owned()],
        }
    }

    fn is_bot(self) -> bool {
        self == Self::Operator(Holder::Bot)
    }
}

/// Registers a user. With verified registration the answer is the same where the address is in use.
pub(crate) async fn register(
    auth: &Auth,
    applicant: Applicant,
    terms: Terms,
    call: Option<&Repeatable>,
) -> Result<UserId, Error> {
    if let Some(user_id) = repeated(auth, call).await? {
        return conclude(auth, user_id).await;
    }
    if terms == Terms::Public(Registration::Closed) {
        return Err(Error::RegistrationClosed);
    }
    // Hashed before anything is stored, on every path alike; refused for overload, nothing has happened.
    let password_hash = auth.passwords.hash(applicant.password.clone(), auth.source()).await?;
    let user_id = match begin(auth, &applicant.username, call).await? {
        Begun::Open(user_id) => user_id,
        Begun::Done(user_id) => return conclude(auth, user_id).await,
    };
    auth.crash_point(Step::IntentStored).await?;

    let concealed = create_user(auth, &applicant, user_id, terms, call).await?;
    auth.crash_point(Step::UserCreated).await?;

    store_credential(auth, &applicant, user_id, &password_hash, (terms, concealed), call).await?;
    auth.crash_point(Step::CredentialStored).await?;
    conclude(auth, user_id).await
}

/// The user of an earlier call with this `request_id` that came to its end.
pub(crate) async fn repeated(auth: &Auth, call: Option<&Repeatable>) -> Result<Option<UserId>, Error> {
    let Some(user_id) = auth
        .earlier(call)
        .await?
        .and_then(|outcome| outcome.id)
        .map(UserId::from_uuid)
    else {
        return Ok(None);
    };
    let state = registrations::state(&auth.pool, user_id).await?;
    Ok(matches!(state, Some(State::Done) | None).then_some(user_id))
}

/// How far the intent of a call is.
pub(crate) enum Begun {
    /// The intent is open: ours, or that of an earlier call which has not come to its end.
    Open(UserId),
    /// An earlier call did it all.
    Done(UserId),
}

/// Stores the intent, or finds that of an earlier call.
pub(crate) async fn begin(auth: &Auth, username: &Username, call: Option<&Repeatable>) -> Result<Begun, Error> {
    let now = auth.now();
    let username = username.as_str();
    let fresh: UserId = auth.source().new_id();
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if let Some(call) = call {
            let outcome = requests::Outcome::id(fresh);
            match requests::claim(&mut *tx, Schema::Auth, &call.key(), &outcome, now).await? {
                requests::Claimed::Fresh => {}
                requests::Claimed::Reused => return Err(Error::RequestIdReused),
                requests::Claimed::Replay(earlier) => {
                    let user_id = UserId::from_uuid(earlier.id.unwrap_or_default());
                    match registrations::state(&mut *tx, user_id).await? {
                        Some(State::Open) => return Ok(Begun::Open(user_id)),
                        Some(State::Done) | None => return Ok(Begun::Done(user_id)),
                        // It came to nothing, so this is the first call that may come to something.
                        Some(State::Failed) => {
                            requests::set_outcome(&mut *tx, Schema::Auth, &call.key(), &outcome).await?
                        }
                    }
                }
            }
        }
        registrations::insert(&mut *tx, fresh, username, now).await?;
        Ok(Begun::Open(fresh))
    })
}

/// Has the user service create the user. True when the address is another's and that must not be told.
async fn create_user(
    auth: &Auth,
    applicant: &Applicant,
    user_id: UserId,
    terms: Terms,
    call: Option<&Repeatable>,
) -> Result<bool, Error> {
    let user = NewUser {
        user_id,
        username: applicant.username.as_str().to_owned(),
        email: applicant.email.as_str().to_owned(),
        display_name: applicant.display_name.clone(),
        bio: applicant.bio.clone(),
        role_names: terms.role_names(),
        is_bot: terms.is_bot(),
        may_lack_email: terms.awaits_verification(),
    };
    match auth.users.create(&user).await {
        Ok(concealed) => Ok(concealed),
        Err(Refused::Failed(error)) => {
            // Perhaps it was created. With a request_id the caller can go on with this intent; without one it is given
            // up now, so that another attempt does not meet its own ghost for long.
            if call.is_none() {
                give_up(auth, user_id, false, None).await;
            }
            Err(error)
        }
        Err(refused) => {
            give_up(auth, user_id, true, call).await;
            Err(refused.into())
        }
    }
}

/// Stores the credential and closes the intent.
async fn store_credential(
    auth: &Auth,
    applicant: &Applicant,
    user_id: UserId,
    password_hash: &str,
    (terms, concealed): (Terms, bool),
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    let stored = try_store_credential(auth, applicant, user_id, password_hash, terms, concealed).await;
    match stored.as_ref().err().and_then(Error::constraint) {
        None => stored,
        Some("accounts_email_key_key") if terms.awaits_verification() && !concealed => {
            // Created there in the moment in which the address changed hands here: it must not be held by two.
            auth.users.withdraw_email(user_id).await?;
            let concealed = (terms, true);
            Box::pin(store_credential(
                auth,
                applicant,
                user_id,
                password_hash,
                concealed,
                call,
            ))
            .await
        }
        Some(constraint) => {
            let taken = if constraint == "accounts_email_key_key" {
                Error::EmailTaken
            } else {
                Error::UsernameTaken
            };
            give_up(auth, user_id, false, call).await;
            Err(taken)
        }
    }
}

async fn try_store_credential(
    auth: &Auth,
    applicant: &Applicant,
    user_id: UserId,
    password_hash: &str,
    terms: Terms,
    concealed: bool,
) -> Result<(), Error> {
    let now = auth.now();
    let email = &applicant.email;
    let account = NewAccount {
        user_id,
        username: applicant.username.as_str(),
        email: (!concealed).then_some((email.as_str(), email.key())),
        password_hash,
        active: !terms.awaits_verification(),
        email_verified: matches!(terms, Terms::Operator(_)),
    };
    let kind = if concealed {
        mails::Kind::AddressInUse
    } else {
        mails::Kind::VerifyEmail
    };
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !registrations::finish(&mut *tx, user_id, now).await? {
            // Another attempt with the same request_id was faster, or the sweeper has given it up.
            return match registrations::state(&mut *tx, user_id).await? {
                Some(State::Done) => Ok(()),
                _ => Err(Error::Conflict),
            };
        }
        // Whoever had the name until a moment ago has it here still, until the feed is read.
        user_states::take_stale_name(&mut *tx, account.username, user_id).await?;
        accounts::insert(&mut *tx, &account, now).await?;
        trail::record(&mut *tx, &registered(auth, user_id, terms)).await?;
        if concealed {
            let claim = NewClaim {
                user_id,
                email: email.as_str(),
                email_key: email.key(),
                display_name: &applicant.display_name,
                bio: &applicant.bio,
            };
            claims::insert(&mut *tx, &claim, now).await?;
        }
        if terms.awaits_verification() {
            recovery::enqueue(auth, &mut *tx, kind, email.key(), Some(user_id)).await?;
        }
        Ok(())
    })?;
    auth.wake.mails.notify_one();
    Ok(())
}

/// What the audit trail is told of a new account.
fn registered(auth: &Auth, user_id: UserId, terms: Terms) -> Event {
    let (event, by) = match terms {
        Terms::Public(_) => (trail::event(auth, "auth.register"), Actor::Anonymous),
        Terms::Operator(Holder::Admin) => (trail::event(auth, "auth.create_admin"), Actor::Operator),
        Terms::Operator(Holder::Bot) => (trail::event(auth, "auth.ensure_bot"), Actor::Operator),
    };
    event.actor(by).subject(user_id)
}

/// Makes the user active where that is due, and answers.
pub(crate) async fn conclude(auth: &Auth, user_id: UserId) -> Result<UserId, Error> {
    activate(auth, user_id).await?;
    Ok(user_id)
}

/// Tells the user service that the user is active, if it is still to be told.
pub(crate) async fn activate(auth: &Auth, user_id: UserId) -> Result<(), Error> {
    let Some(due) = accounts::activation_due_of(&auth.pool, user_id).await? else {
        return Ok(());
    };
    tell_active(auth, due).await
}

async fn tell_active(auth: &Auth, due: accounts::Due) -> Result<(), Error> {
    settle(auth, due).await?;
    match auth.users.activate(due.user_id, due.email_verified).await {
        // Deleted since: there is nobody to make active.
        Ok(()) | Err(Refused::Unsuitable | Refused::NotFound) => {}
        Err(refused) => return Err(refused.into()),
    }
    Ok(accounts::set_activated(&auth.pool, due).await?)
}

/// Has the user service follow an address that was proven for another account than the one that held it. Each step can be
/// repeated.
async fn settle(auth: &Auth, due: accounts::Due) -> Result<(), Error> {
    let Some(claim) = claims::proven(&auth.pool, due).await? else {
        return Ok(());
    };
    if let Some(displaced) = claim.displaced_user_id {
        auth.users.withdraw_email(displaced).await?;
    }
    let user = NewUser {
        user_id: due.user_id,
        username: claim.username,
        email: claim.email,
        display_name: claim.display_name,
        bio: claim.bio,
        role_names: Vec::new(),
        is_bot: false,
        may_lack_email: false,
    };
    match auth.users.create(&user).await {
        Ok(_) => {}
        // Somebody registers with the address at this moment, and will find that it is taken.
        Err(Refused::EmailTaken) => return Err(Error::Conflict),
        Err(refused) => return Err(refused.into()),
    }
    Ok(claims::settle(&auth.pool, due.user_id).await?)
}

/// Gives an intent up, and with it the `request_id` of the refused call: it is stored with an effect or not at all, so that the
/// corrected call may have it. What fails here is made good by the sweeper.
pub(crate) async fn give_up(auth: &Auth, user_id: UserId, discarded: bool, refused: Option<&Repeatable>) {
    if let Err(error) = try_give_up(auth, user_id, discarded, refused).await {
        tracing::warn!(%error, %user_id, "a registration could not be given up yet");
    }
    auth.wake.upkeep.notify_one();
}

async fn try_give_up(auth: &Auth, user_id: UserId, discarded: bool, refused: Option<&Repeatable>) -> Result<(), Error> {
    let now = auth.now();
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        registrations::fail(&mut *tx, user_id, discarded, now).await?;
        let Some(call) = refused else { return Ok(()) };
        // A concurrent duplicate may have come to its end all the same.
        if registrations::state(&mut *tx, user_id).await? == Some(State::Failed) {
            requests::release(tx, Schema::Auth, &call.key(), user_id.uuid()).await?;
        }
        Ok(())
    })
}

/// One round of making good what stopped half way. Returns the first error, after trying everything.
pub(crate) async fn sweep(auth: &Auth) -> Result<(), Error> {
    let now = auth.now();
    // First no longer open, then discarded: in the other order a request that wakes between would store its credential.
    registrations::fail_stale(&auth.pool, now - STALE_AFTER, now).await?;
    registrations::fail_unverified(&auth.pool, now - UNVERIFIED_FOR, now).await?;
    let mut outcome = Ok(());
    for user_id in registrations::undiscarded(&auth.pool).await? {
        outcome = outcome.and(discard(auth, user_id).await);
    }
    for due in accounts::activation_due(&auth.pool).await? {
        outcome = outcome.and(tell_active(auth, due).await);
    }
    outcome
}

async fn discard(auth: &Auth, user_id: UserId) -> Result<(), Error> {
    match auth.users.discard(user_id).await {
        Ok(()) => {}
        Err(Refused::Unsuitable) => {
            // Only ActivateUser makes a user active, and that is called for stored credentials only.
            tracing::error!(%user_id, "a failed registration belongs to an active user, who is left alone");
        }
        Err(refused) => return Err(refused.into()),
    }
    Ok(registrations::set_discarded(&auth.pool, user_id).await?)
}
