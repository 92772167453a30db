use sqlx::{Executor, Postgres};
use tidings_db::Error;
use time::OffsetDateTime;

use crate::signing::PublishedKey;

/// A key as it is stored.
pub(crate) struct StoredKey {
    pub published: PublishedKey,
    pub sealed_private_key: Vec<u8>,
}

/// The keys that tokens in use can be signed with, the newest first.
pub(crate) async fn list<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    now: OffsetDateTime,
) -> Result<Vec<StoredKey>, Error> {
    let rows = sqlx::query!(
        "select key_id, public_key, sealed_private_key, create_time, retire_time
         from auth.signing_keys
         where retire_time is null or retire_time > $1
         order by create_time desc, key_id desc
         limit 100",
        now,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredKey {
            published: PublishedKey {
                key_id: row.key_id,
                public_key: row.public_key,
                create_time: row.create_time,
                retire_time: row.retire_time,
            },
            sealed_private_key: row.sealed_private_key,
        })
        .collect())
}

/// Stores the first key, unless another node was faster.
pub(crate) async fn insert_first<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    key: &StoredKey,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.signing_keys (key_id, public_key, sealed_private_key, create_time)
         values ($1, $2, $3, $4)
         on conflict ((retire_time is null)) where retire_time is null do nothing",
        key.published.key_id.uuid(),
        key.published.public_key,
        key.sealed_private_key,
        key.published.create_time,
    )
    .execute(executor)
    .await?;
    Ok(())
}
