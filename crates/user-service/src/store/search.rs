//! Finding users: by an exact key, and by the words of their names.

use sqlx::{Executor, PgConnection, Postgres};
use tidings_ids::UserId;
use uuid::Uuid;

use crate::{
    error::Error,
    search::{self, Query, range_end},
};

/// What a user is known by, as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupKey {
    /// The name.
    Username(String),
    /// The address.
    Email(String),
    /// What another system says.
    ExternalId(String),
}

/// The user with this key who is seen.
pub async fn look_up<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    key: &LookupKey,
) -> Result<Option<UserId>, Error> {
    let (username, email, external_id) = match key {
        LookupKey::Username(text) => (Some(text), None, None),
        LookupKey::Email(text) => (None, Some(text), None),
        LookupKey::ExternalId(text) => (None, None, Some(text)),
    };
    let user_id = sqlx::query_scalar!(
        "select user_id
         from users.users
         where (username = $1 or email_canonical = $2 or external_id = $3)
           and status in ('active', 'suspended')",
        username,
        email,
        external_id,
    );
    Ok(user_id.fetch_optional(executor).await?)
}

/// Where a page begins: after this word and user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The word by which the user was found.
    pub word: String,
    /// The user.
    pub user_id: UserId,
}

/// What one look into the index found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The users and by which word, in order of both.
    pub hits: Vec<Place>,
    /// The last place that was looked at, where the look ended before the index did.
    pub stopped_at: Option<Place>,
}

struct Row {
    user_ids: Vec<UserId>,
    words: Vec<String>,
    scanned: i64,
    last_word: Option<String>,
    last_user_id: Option<UserId>,
}

/// Looks at the next `scan_max` words that begin with the query's leading one, and keeps up to `limit` users of whom it is the first
/// such word and who have words for the rest of the query.
pub async fn find<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    query: &Query,
    after: Option<&Place>,
    scan_max: i64,
    limit: i64,
) -> Result<Found, Error> {
    let ends: Vec<String> = query.rest.iter().map(|word| range_end(word)).collect();
    let row = sqlx::query_as!(
        Row,
        r#"with scanned as materialized (
               select word, user_id
               from users.search_words
               where word >= $1
                 and word < $2
                 and (word, user_id) > ($3, $4)
               order by word, user_id
               limit $5
           ), hits as materialized (
               select s.word, s.user_id
               from scanned s
               where not exists (
                         select
                         from users.search_words e
                         where e.user_id = s.user_id
                           and e.word >= $1
                           and e.word < s.word
                     )
                 and not exists (
                         select
                         from unnest($6::text[], $7::text[]) as rest (first, last)
                         where not exists (
                             select
                             from users.search_words o
                             where o.user_id = s.user_id
                               and o.word >= rest.first
                               and o.word < rest.last
                         )
                     )
               order by s.word, s.user_id
               limit $8
           )
           select array(select user_id from hits order by word, user_id) as "user_ids!: Vec<UserId>",
                  array(select word from hits order by word, user_id) as "words!: Vec<String>",
                  (select count(*) from scanned) as "scanned!",
                  (select word from scanned order by word desc, user_id desc limit 1) as "last_word",
                  (select user_id from scanned order by word desc, user_id desc limit 1) as "last_user_id: UserId""#,
        query.lead,
        range_end(&query.lead),
        after.map_or("", |place| place.word.as_str()),
        after.map_or(Uuid::nil(), |place| place.user_id.uuid()),
        scan_max,
        &query.rest,
        &ends,
        limit,
    );
    let row = row.fetch_one(executor).await?;
    let last = row.last_word.zip(row.last_user_id);
    Ok(Found {
        hits: row
            .words
            .into_iter()
            .zip(row.user_ids)
            .map(|(word, user_id)| Place { word, user_id })
            .collect(),
        stopped_at: last
            .filter(|_| row.scanned >= scan_max)
            .map(|(word, user_id)| Place { word, user_id }),
    })
}

/// Makes the words that a user is found by those of the name as it is now; of a user who is not seen, none. The row must be locked.
pub async fn refresh(tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
    let name = sqlx::query!(
        "select username, display_name
         from users.users
         where user_id = $1
           and status in ('active', 'suspended')",
        user_id.uuid(),
    );
    let name = name.fetch_optional(&mut *tx).await?;
    let text = name.map(|name| search::text(&name.username.unwrap_or_default(), &name.display_name));
    let words = text.as_deref().map(search::words).unwrap_or_default();
    let delete = sqlx::query!(
        "delete from users.search_words
         where user_id = $1
           and word <> all ($2)",
        user_id.uuid(),
        &words,
    );
    delete.execute(&mut *tx).await?;
    let insert = sqlx::query!(
        "insert into users.search_words (word, user_id)
         select word, $1
         from unnest($2::text[]) as t (word)
         on conflict do nothing",
        user_id.uuid(),
        &words,
    );
    insert.execute(&mut *tx).await?;
    let update = sqlx::query!(
        "update users.users
         set search_text = $2
         where user_id = $1",
        user_id.uuid(),
        text,
    );
    update.execute(tx).await?;
    Ok(())
}

/// Locks some users whose words are not those of their name.
pub async fn lock_stale(tx: &mut PgConnection, limit: i64) -> Result<Vec<UserId>, Error> {
    let user_ids = sqlx::query_scalar!(
        "select user_id
         from users.users
         where status in ('active', 'suspended')
           and search_text is distinct from (username || E'\\n' || display_name)
         order by user_id
         limit $1
         for no key update skip locked",
        limit,
    );
    Ok(user_ids.fetch_all(tx).await?)
}
