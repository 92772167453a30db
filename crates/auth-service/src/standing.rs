//! Statements to the user service about until when a user's login sessions live. Each asks at the same time what tokens
//! are to be issued by.

use std::time::Duration;

use tidings_db::transaction;
use tidings_ids::UserId;
use time::OffsetDateTime;

use crate::{
    Error,
    auth::Auth,
    registration,
    store::sessions::{self, Statement},
    users::{AccountStatus, Standing},
};

/// A statement that announces a login session is repeated after this long unless it was settled: by then the call that
/// made it has stored the login session, or never will.
const ANNOUNCED_FOR: time::Duration = time::Duration::seconds(90);

/// How long a call that ended login sessions waits for the user service to know. The end itself does not depend on it.
const TELL_PATIENCE: Duration = Duration::from_secs(2);

/// Announces that a login session of the user will live until `until`, before it is stored, and asks how the user
/// stands. The statement is settled by whoever stores the login session.
pub(crate) async fn announce(
    auth: &Auth,
    user_id: UserId,
    until: OffsetDateTime,
) -> Result<(Statement, Standing), Error> {
    let now = auth.now();
    let statement = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let statement = sessions::state(&mut *tx, user_id, now + ANNOUNCED_FOR, now).await?;
        Ok(statement)
    })?;
    let mut statement = statement.ok_or(Error::CredentialsInvalid)?;
    statement.until = statement.until.max(Some(until));
    let mut standing = tell(auth, statement).await?;
    if standing.account == AccountStatus::Pending {
        // Registered or verified a moment ago, while the user service was away.
        registration::activate(auth, user_id).await?;
        standing = tell(auth, statement).await?;
    }
    Ok((statement, standing))
}

/// Sends a statement.
pub(crate) async fn tell(auth: &Auth, statement: Statement) -> Result<Standing, Error> {
    auth.users
        .set_logged_in(statement.user_id, statement.until, statement.revision)
        .await
}

/// Tells the user service what a committed statement says. What fails is repeated by the upkeep.
pub(crate) async fn tell_soon(auth: &Auth, statement: Option<Statement>) {
    let Some(statement) = statement else { return };
    let told = tokio::time::timeout(TELL_PATIENCE, tell_and_settle(auth, statement)).await;
    if !matches!(told, Ok(Ok(()))) {
        tracing::info!(user_id = %statement.user_id, "the user service is told later that login sessions have ended");
        auth.wake.upkeep.notify_one();
    }
}

async fn tell_and_settle(auth: &Auth, statement: Statement) -> Result<(), Error> {
    tell(auth, statement).await?;
    Ok(sessions::settle(&auth.pool, statement.user_id, statement.revision).await?)
}

/// Repeats statements that did not arrive, or whose login session was never stored.
pub(crate) async fn sweep(auth: &Auth) -> Result<(), Error> {
    let mut outcome = Ok(());
    for user_id in sessions::statements_due(&auth.pool, auth.now()).await? {
        outcome = outcome.and(repeat(auth, user_id).await);
    }
    outcome
}

async fn repeat(auth: &Auth, user_id: UserId) -> Result<(), Error> {
    let now = auth.now();
    let statement = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        let statement = sessions::state(&mut *tx, user_id, now, now).await?;
        Ok(statement)
    })?;
    match statement {
        Some(statement) => tell_and_settle(auth, statement).await,
        None => Ok(()),
    }
}
