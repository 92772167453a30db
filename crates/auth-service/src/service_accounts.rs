//! Service accounts: accounts that programs act through.

use std::sync::Arc;

use tidings_audit::Event;
use tidings_authn::Caller;
use tidings_db::transaction;
use tidings_ids::UserId;
use tidings_proto_common::v1::AuditCategory;

use crate::{
    Error,
    account::Username,
    auth::{Auth, Repeatable},
    provision::{self, Kind, Newcomer, Provided},
    store::{
        api_keys,
        service_accounts::{self, ServiceAccount},
    },
    trail,
};

/// There are so many service accounts at the most: bots and products are few, and each has a user and keys.
pub(crate) const ACCOUNTS_MAX: u32 = 1_000;

/// What a service account is to be.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub username: Username,
    pub display_name: String,
    pub description: String,
    pub role_names: Vec<String>,
}

/// Creates a service account. Whether the caller may give the roles is decided by the user service, in the transaction that gives
/// them.
pub(crate) async fn create(
    auth: &Auth,
    caller: &Caller,
    wanted: Wanted,
    call: Option<&Repeatable>,
) -> Result<ServiceAccount, Error> {
    if let Some(user_id) = provision::repeated(auth, call).await? {
        return get(auth, user_id).await;
    }
    if service_accounts::count(&auth.pool).await? >= i64::from(ACCOUNTS_MAX) {
        return Err(Error::QuotaExceeded {
            quota: "service_accounts",
            limit: ACCOUNTS_MAX,
        });
    }
    let newcomer = Newcomer {
        username: wanted.username,
        display_name: wanted.display_name,
        role_names: wanted.role_names,
        giver: Some((caller.user_id, reach(caller))),
        kind: Kind::ServiceAccount {
            description: wanted.description,
            creator: caller.user_id,
        },
    };
    match provision::provide(auth, &newcomer, call).await? {
        Provided::Yes(user_id) => get(auth, user_id).await,
        Provided::ExternalIdTaken => Err(Error::Internal(
            "a service account without an external id met another one's".to_owned(),
        )),
    }
}

pub(crate) async fn get(auth: &Auth, user_id: UserId) -> Result<ServiceAccount, Error> {
    service_accounts::get(&auth.pool, user_id).await?.ok_or(Error::NotFound)
}

/// Deletes a service account. Its user goes first, which ends its tokens and decides whether it may be: if this stops there, the
/// keys are worth nothing, and the repeated call goes on.
pub(crate) async fn delete(
    auth: &Auth,
    caller: &Arc<Caller>,
    user_id: UserId,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    auth.once(call, end(auth, caller, user_id, call)).await.map(drop)
}

async fn end(auth: &Auth, caller: &Caller, user_id: UserId, call: Option<&Repeatable>) -> Result<(), Error> {
    get(auth, user_id).await?;
    auth.users.delete_bot(user_id, caller.user_id).await?;
    let now = auth.now();
    let revoked = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok(Vec::new());
        }
        if !service_accounts::lock(&mut *tx, user_id).await? {
            return Err(Error::NotFound);
        }
        service_accounts::delete(&mut *tx, user_id, now).await?;
        let event = Event::of_call(
            auth.source(),
            AuditCategory::Administration,
            "auth.delete_service_account",
        )
        .subject(user_id)
        .request(trail::request_id(call));
        trail::record(&mut *tx, &event).await?;
        Ok(api_keys::revoke(tx, user_id, None, now).await?)
    })?;
    auth.announce_ended(&revoked);
    Ok(())
}

/// What the caller's token reaches, by number.
pub(crate) fn reach(caller: &Caller) -> Vec<i32> {
    caller
        .permissions
        .iter()
        .map(|permission| i32::from(*permission))
        .collect()
}
