//! Word to the owner of an account of what has happened to it, by mail: who did not do it finds out, and in time.

use sqlx::PgConnection;
use tidings_ids::UserId;

use crate::{
    Error,
    account::fold,
    auth::Auth,
    recovery,
    store::{
        accounts,
        mails::{About, Kind, Notice},
    },
};

/// Puts a notice into the outbox, in the transaction of what it tells of, which has locked the account. It goes to the address that
/// the account has now, proven or not; of an account without one nobody is told.
///
/// Each kind is counted by itself, and only by what happens: nobody keeps a notice from its owner by asking for other mails, and
/// whoever makes the same thing happen again and again has told the owner of the first times.
pub(crate) async fn enqueue(auth: &Auth, tx: &mut PgConnection, user_id: UserId, notice: Notice) -> Result<(), Error> {
    let account = accounts::get(&mut *tx, user_id).await?;
    let Some(address) = account.and_then(|account| account.email) else {
        return Ok(());
    };
    let about = About::Account {
        user_id,
        address: &address,
    };
    recovery::enqueue_about(auth, tx, Kind::Notice(notice), &fold(&address), about).await
}
