//! Who is in which audience.

use sqlx::{PgConnection, PgExecutor};
use tidings_db::Error;
use tidings_ids::{AudienceId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{keeper::Seen, membership::Member, role::Role};

struct Row {
    user_id: UserId,
    role: Role,
    mute_end_time: Option<OffsetDateTime>,
    create_time: OffsetDateTime,
    caller_role: Role,
    pending: Option<i64>,
}

impl Row {
    fn into_seen(self, audience_id: AudienceId) -> Seen<Member> {
        Seen {
            audience_id,
            role: Some(self.caller_role),
            pending: self.pending,
            thing: Member {
                user_id: self.user_id,
                role: self.role,
                mute_end_time: self.mute_end_time,
                create_time: self.create_time,
            },
        }
    }
}

/// What the user is in the audience, if it is a group's or is not, as `in_group` says.
pub(crate) async fn role(
    executor: impl PgExecutor<'_>,
    audience_id: AudienceId,
    in_group: bool,
    user_id: UserId,
) -> Result<Option<Role>, Error> {
    let row = sqlx::query!(
        "select role
         from chats.members
         where audience_id = $1 and user_id = $2 and in_group = $3",
        audience_id.uuid(),
        user_id.uuid(),
        in_group,
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| row.role))
}

/// Whether somebody else has put the member there.
pub(crate) async fn was_added(tx: &mut PgConnection, audience_id: AudienceId, user_id: UserId) -> Result<bool, Error> {
    let row = sqlx::query!(
        "select added
         from chats.members
         where audience_id = $1 and user_id = $2",
        audience_id.uuid(),
        user_id.uuid(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some_and(|row| row.added))
}

/// The member, for a transaction that has checked access.
pub(crate) async fn find(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    user_id: UserId,
) -> Result<Option<Member>, Error> {
    let member = sqlx::query_as!(
        Member,
        "select user_id, role, mute_end_time, create_time
         from chats.members
         where audience_id = $1 and user_id = $2",
        audience_id.uuid(),
        user_id.uuid(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(member)
}

/// The member, as another member sees it.
pub(crate) async fn find_seen(
    executor: impl PgExecutor<'_>,
    audience_id: AudienceId,
    caller: UserId,
    user_id: UserId,
) -> Result<Option<Seen<Member>>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select m.user_id, m.role, m.mute_end_time, m.create_time, c.role as "caller_role: Role",
             (select max(o.number) from chats.outbox o where o.audience_id = $1) as pending
         from chats.members m
         join chats.members c on c.audience_id = $1 and c.user_id = $2
         where m.audience_id = $1 and m.user_id = $3"#,
        audience_id.uuid(),
        caller.uuid(),
        user_id.uuid(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(|row| row.into_seen(audience_id)))
}

/// The members in the order of ids, from above `after`, as one of them sees them; nobody to somebody else.
pub(crate) async fn list(
    executor: impl PgExecutor<'_>,
    audience_id: AudienceId,
    caller: UserId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<Seen<Member>>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select m.user_id, m.role, m.mute_end_time, m.create_time, c.role as "caller_role: Role",
             (select max(o.number) from chats.outbox o where o.audience_id = $1) as pending
         from chats.members m
         join chats.members c on c.audience_id = $1 and c.user_id = $2
         where m.audience_id = $1 and ($3::uuid is null or m.user_id > $3)
         order by m.user_id
         limit $4"#,
        audience_id.uuid(),
        caller.uuid(),
        after.map(UserId::uuid),
        i64::from(limit),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_seen(audience_id)).collect())
}

/// Whether the audience has an owner other than this user.
pub(crate) async fn has_other_owner(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    user_id: UserId,
) -> Result<bool, Error> {
    let row = sqlx::query!(
        r#"select exists (
             select from chats.members
             where audience_id = $1 and role = 3 and user_id <> $2
         ) as "exists!""#,
        audience_id.uuid(),
        user_id.uuid(),
    )
    .fetch_one(tx)
    .await?;
    Ok(row.exists)
}

/// Writes new members, who have just joined and are not muted. `by` has put all of them there who are somebody else.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    in_group: bool,
    members: &[Member],
    by: Option<UserId>,
) -> Result<(), Error> {
    let user_ids: Vec<Uuid> = members.iter().map(|member| member.user_id.uuid()).collect();
    let roles: Vec<i16> = members.iter().map(|member| member.role as i16).collect();
    let create_times: Vec<OffsetDateTime> = members.iter().map(|member| member.create_time).collect();
    sqlx::query!(
        "insert into chats.members (audience_id, user_id, in_group, role, added, create_time)
         select $1, member.user_id, $2, member.role, coalesce(member.user_id <> $6::uuid, false), member.create_time
         from unnest($3::uuid[], $4::smallint[], $5::timestamptz[]) as member (user_id, role, create_time)",
        audience_id.uuid(),
        in_group,
        &user_ids,
        &roles,
        &create_times,
        by.map(UserId::uuid),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes a member.
pub(crate) async fn delete(tx: &mut PgConnection, audience_id: AudienceId, user_id: UserId) -> Result<(), Error> {
    sqlx::query!(
        "delete from chats.members
         where audience_id = $1 and user_id = $2",
        audience_id.uuid(),
        user_id.uuid(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes all members: at most 10,000, well within a statement's time.
pub(crate) async fn delete_all(tx: &mut PgConnection, audience_id: AudienceId) -> Result<(), Error> {
    sqlx::query!("delete from chats.members where audience_id = $1", audience_id.uuid())
        .execute(tx)
        .await?;
    Ok(())
}
