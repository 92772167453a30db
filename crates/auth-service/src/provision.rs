//! Accounts that nobody registers: of service accounts, and of users who come from another system. They have no password and no
//! address.
//!
//! It goes as in [`registration`](crate::registration): the intent is stored, the user service creates a pending user, the account is
//! stored in the transaction that closes the intent, and the user is made active. Whatever stops half way is made good or discarded by
//! the same sweeper.

use secrecy::SecretString;
use tidings_audit::{self as audit, Event};
use tidings_db::{Schema, transaction};
use tidings_ids::UserId;
use tidings_proto_common::v1::AuditCategory;
use time::OffsetDateTime;

use crate::{
    Error, Step,
    account::Username,
    auth::{Auth, Repeatable},
    registration::{self, Begun},
    store::{
        accounts::{self, NewAccount},
        registrations::{self, State},
        service_accounts::{self, NewServiceAccount},
        user_states,
    },
    trail,
    users::{NewForeigner, Refused},
};

/// Whom an account is made for.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub username: Username,
    pub display_name: String,
    pub role_names: Vec<String>,
    /// Who gives the roles, and what their token reaches.
    pub giver: Option<(UserId, Vec<i32>)>,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// A program, which gets API keys.
    ServiceAccount { description: String, creator: UserId },
    /// A user of another system, who calls them so.
    Foreigner { external_id: String },
}

/// Whether there is an account now.
#[derive(Debug)]
pub(crate) enum Provided {
    Yes(UserId),
    /// Another call has brought a user with this external id in.
    ExternalIdTaken,
}

/// Makes the account, or nothing at all.
pub(crate) async fn provide(auth: &Auth, newcomer: &Newcomer, call: Option<&Repeatable>) -> Result<Provided, Error> {
    // Hashed before anything is stored: refused for overload, nothing has happened.
    let hash = auth
        .unknowable
        .get_or_try_init(async || hash_of_nothing_known(auth).await)
        .await?;
    let user_id = match registration::begin(auth, &newcomer.username, call).await? {
        Begun::Open(user_id) => user_id,
        Begun::Done(user_id) => return conclude(auth, user_id).await,
    };
    auth.crash_point(Step::IntentStored).await?;
    let (is_bot, external_id) = match &newcomer.kind {
        Kind::ServiceAccount { .. } => (true, None),
        Kind::Foreigner { external_id } => (false, Some(external_id.clone())),
    };
    let user = NewForeigner {
        user_id,
        username: newcomer.username.as_str().to_owned(),
        display_name: newcomer.display_name.clone(),
        role_names: newcomer.role_names.clone(),
        is_bot,
        external_id,
        giver: newcomer.giver.clone(),
    };
    match auth.users.create_foreigner(&user).await {
        Ok(()) => {}
        Err(Refused::Failed(error)) if !is_certain(&error) => {
            // Perhaps it was created. With a request_id the caller can go on with this intent.
            if call.is_none() {
                registration::give_up(auth, user_id, false, None).await;
            }
            return Err(error);
        }
        Err(refused) => {
            registration::give_up(auth, user_id, true, call).await;
            return match refused {
                Refused::NameTaken => Ok(Provided::ExternalIdTaken),
                refused => Err(refused.into()),
            };
        }
    }
    auth.crash_point(Step::UserCreated).await?;
    let stored = store(auth, newcomer, user_id, hash, call).await;
    match stored.as_ref().err().and_then(Error::constraint) {
        None => stored?,
        Some(_) => {
            registration::give_up(auth, user_id, false, call).await;
            return Err(Error::UsernameTaken);
        }
    }
    auth.crash_point(Step::CredentialStored).await?;
    conclude(auth, user_id).await
}

/// The hash of a password that nobody ever learns. One does for all: logging in to such an account takes a hash as everywhere, and no
/// password has it.
async fn hash_of_nothing_known(auth: &Auth) -> Result<String, Error> {
    let unknowable: [u8; 32] = auth.source().random();
    let unknowable: String = unknowable.iter().map(|byte| format!("{byte:02x}")).collect();
    auth.passwords.hash(SecretString::from(unknowable), auth.source()).await
}

/// Whether the user service has refused, and not merely failed to answer.
fn is_certain(error: &Error) -> bool {
    matches!(
        error,
        Error::RankTooLow | Error::PermissionMissing(_) | Error::LoginSessionEnded
    )
}

/// The account that an earlier call with this `request_id` made, made active.
pub(crate) async fn repeated(auth: &Auth, call: Option<&Repeatable>) -> Result<Option<UserId>, Error> {
    match registration::repeated(auth, call).await? {
        Some(user_id) => Ok(Some(registration::conclude(auth, user_id).await?)),
        None => Ok(None),
    }
}

async fn conclude(auth: &Auth, user_id: UserId) -> Result<Provided, Error> {
    Ok(Provided::Yes(registration::conclude(auth, user_id).await?))
}

/// Stores the account and closes the intent.
async fn store(
    auth: &Auth,
    newcomer: &Newcomer,
    user_id: UserId,
    password_hash: &str,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    let now = auth.now();
    transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !registrations::finish(&mut *tx, user_id, now).await? {
            // Another attempt with the same request_id was faster, or the sweeper has given it up.
            return match registrations::state(&mut *tx, user_id).await? {
                Some(State::Done) => Ok(()),
                _ => Err(Error::Conflict),
            };
        }
        store_account(&mut *tx, newcomer, user_id, password_hash, now).await?;
        let event = Event::of_call(auth.source(), AuditCategory::Administration, "auth.provide").subject(user_id);
        Ok(audit::record(tx, Schema::Auth, &event.request(trail::request_id(call))).await?)
    })
}

async fn store_account(
    tx: &mut sqlx::PgConnection,
    newcomer: &Newcomer,
    user_id: UserId,
    password_hash: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let account = NewAccount {
        user_id,
        username: newcomer.username.as_str(),
        email: None,
        password_hash,
        active: true,
        email_verified: false,
    };
    user_states::take_stale_name(&mut *tx, account.username, user_id).await?;
    accounts::insert(&mut *tx, &account, now).await?;
    accounts::set_without_password(&mut *tx, user_id).await?;
    if let Kind::ServiceAccount { description, creator } = &newcomer.kind {
        let new = NewServiceAccount {
            user_id,
            description,
            creator_user_id: *creator,
        };
        service_accounts::insert(tx, &new, now).await?;
    }
    Ok(())
}
