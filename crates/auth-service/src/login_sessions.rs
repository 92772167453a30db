//! Login sessions as users and operators see and end them.

use tidings_audit::Event;
use tidings_authn::Caller;
use tidings_db::transaction;
use tidings_ids::{LoginSessionId, UserId};
use tidings_proto_common::v1::{AuditCategory, Permission};

use crate::{
    Error,
    auth::{Auth, Repeatable},
    login, standing,
    store::{
        accounts, service_accounts,
        session_views::{self, View},
        sessions::{EndReason, Which},
    },
    trail,
};

impl View {
    /// Changes with the label.
    pub(crate) fn etag(&self) -> String {
        format!("{:x}", self.revision)
    }

    /// Whether it is as the caller knows it; an empty etag means however it is.
    fn check(&self, etag: &str) -> Result<(), Error> {
        if etag.is_empty() || etag == self.etag() {
            Ok(())
        } else {
            Err(Error::EtagMismatch)
        }
    }
}

/// One of the user's own.
pub(crate) async fn get(auth: &Auth, user_id: UserId, session: LoginSessionId) -> Result<View, Error> {
    let view = session_views::get(&auth.pool, user_id, session, auth.now()).await?;
    view.ok_or(Error::NotFound)
}

/// Those of the caller, or of another user for an operator: at most `limit` by id, after the one with the id `after`.
pub(crate) async fn list(
    auth: &Auth,
    caller: &Caller,
    user_id: UserId,
    after: Option<LoginSessionId>,
    limit: u32,
) -> Result<Vec<View>, Error> {
    if user_id != caller.user_id {
        if !caller.holds(Permission::CredentialsManage) {
            return Err(Error::PermissionMissing(Permission::CredentialsManage));
        }
        if !accounts::exists(&auth.pool, user_id).await? {
            return Err(Error::NotFound);
        }
    }
    Ok(session_views::list(&auth.pool, user_id, after, limit, auth.now()).await?)
}

/// Gives one of the user's own another label, where one is given. `None` in a repetition that comes after it has ended.
pub(crate) async fn relabel(
    auth: &Auth,
    user_id: UserId,
    session: LoginSessionId,
    label: Option<&str>,
    etag: &str,
    call: Option<&Repeatable>,
) -> Result<Option<View>, Error> {
    let now = auth.now();
    if auth.earlier(call).await?.is_none() {
        transaction!(&auth.pool, |tx| -> Result<_, Error> {
            if !auth.claim(&mut *tx, call).await? {
                return Ok(());
            }
            let view = session_views::lock(&mut *tx, user_id, session, now).await?;
            let view = view.ok_or(Error::NotFound)?;
            view.check(etag)?;
            let Some(label) = label.filter(|label| *label != view.device_label) else {
                return Ok(());
            };
            session_views::relabel(&mut *tx, session, label).await?;
            let event = trail::event(auth, "auth.update_login_session")
                .subject(user_id)
                .subject(session)
                .request(trail::request_id(call));
            trail::record(&mut *tx, &event.detail("field", "device_label")).await
        })?;
    }
    Ok(session_views::get(&auth.pool, user_id, session, now).await?)
}

/// Ends one of the user's own.
pub(crate) async fn revoke(
    auth: &Auth,
    user_id: UserId,
    session: LoginSessionId,
    etag: &str,
    call: Option<&Repeatable>,
) -> Result<(), Error> {
    if auth.earlier(call).await?.is_some() {
        return Ok(());
    }
    let now = auth.now();
    let (ended, statement) = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok((Vec::new(), None));
        }
        accounts::lock(&mut *tx, user_id).await?.ok_or(Error::NotFound)?;
        let view = session_views::lock(&mut *tx, user_id, session, now).await?;
        view.ok_or(Error::NotFound)?.check(etag)?;
        let event = trail::event(auth, "auth.revoke_login_session")
            .subject(user_id)
            .subject(session)
            .request(trail::request_id(call));
        trail::record(&mut *tx, &event).await?;
        login::end_in(&mut *tx, user_id, Which::One(session), EndReason::Revoked, now).await
    })?;
    auth.announce_ended(&ended);
    standing::tell_soon(auth, statement).await;
    Ok(())
}

/// Ends all of a user's, at an operator's word, and returns how many.
pub(crate) async fn revoke_all_of(
    auth: &Auth,
    operator: UserId,
    user_id: UserId,
    call: Option<&Repeatable>,
) -> Result<usize, Error> {
    if auth.earlier(call).await?.is_some() {
        return Ok(0);
    }
    auth.users.check_authority(operator, user_id).await?;
    if service_accounts::get(&auth.pool, user_id).await?.is_some() {
        // It has none, and its keys' tokens would go on though all seems to be ended.
        return Err(Error::KindUnsuitable);
    }
    let now = auth.now();
    let (ended, statement) = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if !auth.claim(&mut *tx, call).await? {
            return Ok((Vec::new(), None));
        }
        accounts::lock(&mut *tx, user_id).await?.ok_or(Error::NotFound)?;
        let (ended, statement) = login::end_in(&mut *tx, user_id, Which::All, EndReason::Revoked, now).await?;
        let event = Event::of_call(
            auth.source(),
            AuditCategory::Administration,
            "auth.revoke_user_login_sessions",
        );
        let event = event.subject(user_id).request(trail::request_id(call));
        let event = event.detail("login_sessions", ended.len());
        trail::record(&mut *tx, &event).await?;
        Ok((ended, statement))
    })?;
    auth.announce_ended(&ended);
    standing::tell_soon(auth, statement).await;
    Ok(ended.len())
}
