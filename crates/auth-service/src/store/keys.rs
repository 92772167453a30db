use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::KeyId;
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
        "select key_id, public_key, sealed_private_key, create_time, sign_time, retire_time
         from auth.signing_keys
         where retire_time is null or retire_time > $1
         order by sign_time desc, key_id desc
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
                sign_time: row.sign_time,
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
        "insert into auth.signing_keys (key_id, public_key, sealed_private_key, create_time, sign_time)
         values ($1, $2, $3, $4, $5)
         on conflict ((retire_time is null)) where retire_time is null do nothing",
        key.published.key_id.uuid(),
        key.published.public_key,
        key.sealed_private_key,
        key.published.create_time,
        key.published.sign_time,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// The key that signs last of all, locked for the rest of the transaction, and from when on it signs.
pub(crate) async fn lock_newest(tx: &mut PgConnection) -> Result<Option<(KeyId, OffsetDateTime)>, Error> {
    let row = sqlx::query!("select key_id, sign_time from auth.signing_keys where retire_time is null for update")
        .fetch_optional(tx)
        .await?;
    Ok(row.map(|row| (row.key_id, row.sign_time)))
}

/// Retires the newest key for the next one. The newest must be locked.
pub(crate) async fn replace(
    tx: &mut PgConnection,
    newest: KeyId,
    retire_time: OffsetDateTime,
    next: &StoredKey,
) -> Result<(), Error> {
    sqlx::query!(
        "update auth.signing_keys set retire_time = $2 where key_id = $1",
        newest.uuid(),
        retire_time,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into auth.signing_keys (key_id, public_key, sealed_private_key, create_time, sign_time)
         values ($1, $2, $3, $4, $5)",
        next.published.key_id.uuid(),
        next.published.public_key,
        next.sealed_private_key,
        next.published.create_time,
        next.published.sign_time,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The public half of a key, if it is kept.
pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    key_id: KeyId,
) -> Result<Option<PublishedKey>, Error> {
    let key = sqlx::query_as!(
        PublishedKey,
        "select key_id, public_key, create_time, sign_time, retire_time from auth.signing_keys where key_id = $1",
        key_id.uuid(),
    );
    Ok(key.fetch_optional(executor).await?)
}

/// Forgets keys that verify nothing any more since `cutoff`.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    cutoff: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!("delete from auth.signing_keys where retire_time < $1", cutoff);
    Ok(done.execute(executor).await?.rows_affected())
}
