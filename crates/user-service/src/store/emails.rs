//! Addresses, which auth has had proven.

use sqlx::PgConnection;
use tidings_ids::UserId;

use crate::{email::Email, error::Error};

/// Gives the user an address that is proven to be theirs, unless this or a newer statement is stored: then false.
pub async fn set(tx: &mut PgConnection, user_id: UserId, email: &Email, revision: i64) -> Result<bool, Error> {
    let update = sqlx::query!(
        "update users.users
         set email = $2, email_canonical = $3, email_verified = true, email_revision = $4
         where user_id = $1
           and email_revision < $4",
        user_id.uuid(),
        email.as_str(),
        email.canonical(),
        revision,
    );
    Ok(update.execute(tx).await?.rows_affected() > 0)
}
