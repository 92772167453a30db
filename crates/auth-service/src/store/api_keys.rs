use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::{ApiKeyId, LoginSessionId, UserId};
use time::OffsetDateTime;

use super::revocations;

/// A key as it is stored.
#[derive(Clone)]
pub(crate) struct ApiKey {
    pub api_key_id: ApiKeyId,
    pub user_id: UserId,
    pub label: String,
    pub key_hash: Vec<u8>,
    pub hint: String,
    pub permissions: Vec<i32>,
    pub creator_user_id: UserId,
    pub create_time: OffsetDateTime,
    pub expire_time: Option<OffsetDateTime>,
    pub last_use_time: Option<OffsetDateTime>,
    pub revoke_time: Option<OffsetDateTime>,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey {{ {} }}", self.api_key_id)
    }
}

impl ApiKey {
    /// Whether it works.
    pub(crate) fn is_live(&self, now: OffsetDateTime) -> bool {
        self.revoke_time.is_none() && self.expire_time.is_none_or(|time| now < time)
    }
}

/// What stands in access tokens as their login session.
pub(crate) fn session_of(api_key_id: ApiKeyId) -> LoginSessionId {
    LoginSessionId::from_uuid(api_key_id.uuid())
}

pub(crate) async fn insert(tx: &mut PgConnection, key: &ApiKey) -> Result<(), Error> {
    sqlx::query!(
        "insert into auth.api_keys
             (api_key_id, user_id, label, key_hash, hint, permissions, creator_user_id, create_time, expire_time)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        key.api_key_id.uuid(),
        key.user_id.uuid(),
        key.label,
        key.key_hash,
        key.hint,
        &key.permissions,
        key.creator_user_id.uuid(),
        key.create_time,
        key.expire_time,
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    api_key_id: ApiKeyId,
) -> Result<Option<ApiKey>, Error> {
    let key = sqlx::query_as!(
        ApiKey,
        "select api_key_id, user_id, label, key_hash, hint, permissions, creator_user_id, create_time, expire_time,
             last_use_time, revoke_time
         from auth.api_keys
         where api_key_id = $1",
        api_key_id.uuid(),
    );
    Ok(key.fetch_optional(executor).await?)
}

/// Whether an access token with this login session is that of a key, also of one that has ended.
pub(crate) async fn exists<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    session: LoginSessionId,
) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"select exists (select from auth.api_keys where api_key_id = $1) as "exists!""#,
        session.uuid(),
    );
    Ok(exists.fetch_one(executor).await?)
}

/// The keys of a service account after this one, in order of id.
pub(crate) async fn page<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    after: ApiKeyId,
    limit: i64,
) -> Result<Vec<ApiKey>, Error> {
    let keys = sqlx::query_as!(
        ApiKey,
        "select api_key_id, user_id, label, key_hash, hint, permissions, creator_user_id, create_time, expire_time,
             last_use_time, revoke_time
         from auth.api_keys
         where user_id = $1 and api_key_id > $2
         order by api_key_id
         limit $3",
        user_id.uuid(),
        after.uuid(),
        limit,
    );
    Ok(keys.fetch_all(executor).await?)
}

/// How many keys of a service account work.
pub(crate) async fn count_live(tx: &mut PgConnection, user_id: UserId, now: OffsetDateTime) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!"
         from auth.api_keys
         where user_id = $1 and revoke_time is null and (expire_time is null or expire_time > $2)"#,
        user_id.uuid(),
        now,
    );
    Ok(count.fetch_one(tx).await?)
}

/// Notes that a key was used, unless that was noted since `noted_since`. False when it has been revoked.
pub(crate) async fn note_use(
    tx: &mut PgConnection,
    api_key_id: ApiKeyId,
    now: OffsetDateTime,
    noted_since: OffsetDateTime,
) -> Result<bool, Error> {
    // Locked, so that a key which is being revoked gives no token after that.
    let live = sqlx::query_scalar!(
        r#"select revoke_time is null as "live!" from auth.api_keys where api_key_id = $1 for no key update"#,
        api_key_id.uuid(),
    );
    let live = live.fetch_optional(&mut *tx).await?.unwrap_or(false);
    if live {
        sqlx::query!(
            "update auth.api_keys
             set last_use_time = $2
             where api_key_id = $1 and (last_use_time is null or last_use_time <= $3)",
            api_key_id.uuid(),
            now,
            noted_since,
        )
        .execute(tx)
        .await?;
    }
    Ok(live)
}

/// Revokes one key of a service account or all of them, with an entry in the feed for each, and returns those that had not been
/// revoked. The service account must be locked.
pub(crate) async fn revoke(
    tx: &mut PgConnection,
    user_id: UserId,
    only: Option<ApiKeyId>,
    now: OffsetDateTime,
) -> Result<Vec<LoginSessionId>, Error> {
    let revoked = sqlx::query_scalar!(
        "update auth.api_keys
         set revoke_time = $3
         where user_id = $1 and revoke_time is null and ($2::uuid is null or api_key_id = $2)
         returning api_key_id",
        user_id.uuid(),
        only.map(ApiKeyId::uuid),
        now,
    );
    let revoked: Vec<ApiKeyId> = revoked.fetch_all(&mut *tx).await?;
    let revoked: Vec<LoginSessionId> = revoked.into_iter().map(session_of).collect();
    revocations::append(tx, &revoked).await?;
    Ok(revoked)
}

/// Forgets keys that were revoked or expired before `cutoff`.
pub(crate) async fn purge<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    cutoff: OffsetDateTime,
) -> Result<u64, Error> {
    let done = sqlx::query!(
        "delete from auth.api_keys
         where api_key_id = any (array(
             select api_key_id
             from auth.api_keys
             where least(revoke_time, expire_time) < $1
             order by least(revoke_time, expire_time)
             limit 1000
             for update skip locked
         ))",
        cutoff,
    );
    Ok(done.execute(executor).await?.rows_affected())
}
