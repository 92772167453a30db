//! What the audit trail is told of sign-ins: which call, from where, and which ids it concerned. No name, no address, no secret.

use sqlx::PgConnection;
use tidings_audit::{self as audit, Actor, Event};
use tidings_db::{Schema, transaction};
use tidings_ids::{LoginSessionId, UserId};
use tidings_proto_common::v1::{AuditCategory, ErrorReason};

use crate::{
    Error,
    auth::{Auth, Repeatable},
    store::sessions::EndReason,
};

/// The call as an event, to which its subjects are to be added. The name counts where no RPC is behind it.
pub(crate) fn event(auth: &Auth, action: &'static str) -> Event {
    Event::of_call(auth.source(), AuditCategory::Authentication, action)
}

/// The same, done by somebody whom the call has proven to be this user.
pub(crate) fn event_by(auth: &Auth, action: &'static str, user_id: UserId, session: Option<LoginSessionId>) -> Event {
    event(auth, action)
        .actor(Actor::User(user_id, session))
        .subject(user_id)
}

/// The id by which a call may be repeated.
pub(crate) fn request_id(call: Option<&Repeatable>) -> Option<uuid::Uuid> {
    call.map(|call| call.request_id.uuid())
}

/// Notes with a new password that it gave up a change of address.
pub(crate) fn given_up_email(event: Event, given_up: bool) -> Event {
    if given_up {
        event.detail("given_up", "email_change")
    } else {
        event
    }
}

/// Writes an event in the transaction of its effect.
pub(crate) async fn record(tx: &mut PgConnection, event: &Event) -> Result<(), Error> {
    Ok(audit::record(tx, Schema::Auth, event).await?)
}

/// Writes down that a login came to nothing: which account was meant, if there is one, and why. It costs the same where there is
/// none. Returns what the caller is told.
pub(crate) async fn refused_login(auth: &Auth, user_id: Option<UserId>, error: Error) -> Error {
    let reason = match error {
        Error::CredentialsInvalid => ErrorReason::CredentialsInvalid,
        Error::EmailUnverified => ErrorReason::EmailUnverified,
        Error::SecondFactorRequired => ErrorReason::SecondFactorRequired,
        // Written down by the middleware, as every `PERMISSION_DENIED`; the rest tells nothing about who tried.
        _ => return error,
    };
    let event = event(auth, "auth.login").subjects(user_id).refused(reason);
    let written = transaction!(&auth.pool, |tx| -> Result<(), Error> { record(&mut *tx, &event).await });
    written.err().unwrap_or(error)
}

/// Writes down that login sessions have ended, in their transaction. Where none has, there is nothing to tell.
pub(crate) async fn record_ended(
    auth: &Auth,
    tx: &mut PgConnection,
    user_id: UserId,
    ended: &[LoginSessionId],
    reason: EndReason,
) -> Result<(), Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let event = event(auth, "auth.end_login_sessions")
        .subject(user_id)
        .subjects(ended.iter().copied());
    let event = match reason {
        EndReason::Reuse => event.refused(ErrorReason::RefreshTokenReused),
        _ => event,
    };
    record(tx, &event).await
}
