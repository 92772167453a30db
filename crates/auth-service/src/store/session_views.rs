use sqlx::{Executor, PgConnection, Postgres};
use tidings_db::Error;
use tidings_ids::{LoginSessionId, UserId};
use time::OffsetDateTime;

/// A login session that is alive, as its user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub login_session_id: LoginSessionId,
    pub user_id: UserId,
    pub device_label: String,
    pub create_time: OffsetDateTime,
    pub refresh_time: OffsetDateTime,
    pub expire_time: OffsetDateTime,
    pub client_prefix: String,
    pub user_agent: String,
    pub revision: i64,
}

/// The user's login session, if it is alive.
pub(crate) async fn get<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    session: LoginSessionId,
    now: OffsetDateTime,
) -> Result<Option<View>, Error> {
    let view = sqlx::query_as!(
        View,
        r#"select login_session_id, user_id, device_label, create_time, refresh_time,
             least(idle_expire_time, expire_time) as "expire_time!", client_prefix, user_agent, revision
         from auth.login_sessions
         where login_session_id = $1
             and user_id = $2
             and end_time is null
             and least(idle_expire_time, expire_time) > $3"#,
        session.uuid(),
        user_id.uuid(),
        now,
    );
    Ok(view.fetch_optional(executor).await?)
}

/// The same, locked for the rest of the transaction.
pub(crate) async fn lock(
    tx: &mut PgConnection,
    user_id: UserId,
    session: LoginSessionId,
    now: OffsetDateTime,
) -> Result<Option<View>, Error> {
    let view = sqlx::query_as!(
        View,
        r#"select login_session_id, user_id, device_label, create_time, refresh_time,
             least(idle_expire_time, expire_time) as "expire_time!", client_prefix, user_agent, revision
         from auth.login_sessions
         where login_session_id = $1
             and user_id = $2
             and end_time is null
             and least(idle_expire_time, expire_time) > $3
         for update"#,
        session.uuid(),
        user_id.uuid(),
        now,
    );
    Ok(view.fetch_optional(tx).await?)
}

/// The user's login sessions that are alive, by id: at most `limit`, after the one with the id `after`.
pub(crate) async fn list<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    user_id: UserId,
    after: Option<LoginSessionId>,
    limit: u32,
    now: OffsetDateTime,
) -> Result<Vec<View>, Error> {
    let views = sqlx::query_as!(
        View,
        r#"select login_session_id, user_id, device_label, create_time, refresh_time,
             least(idle_expire_time, expire_time) as "expire_time!", client_prefix, user_agent, revision
         from auth.login_sessions
         where user_id = $1
             and end_time is null
             and least(idle_expire_time, expire_time) > $2
             and ($3::uuid is null or login_session_id > $3)
         order by login_session_id
         limit $4"#,
        user_id.uuid(),
        now,
        after.map(|id| id.uuid()),
        i64::from(limit),
    );
    Ok(views.fetch_all(executor).await?)
}

/// Changes the label, and the revision with it. The login session must be locked.
pub(crate) async fn relabel(tx: &mut PgConnection, session: LoginSessionId, device_label: &str) -> Result<(), Error> {
    sqlx::query!(
        "update auth.login_sessions
         set device_label = $2, revision = revision + 1
         where login_session_id = $1",
        session.uuid(),
        device_label,
    )
    .execute(tx)
    .await?;
    Ok(())
}
