//! Groups.

use sqlx::{PgConnection, PgExecutor, types::Json};
use tidings_db::Error;
use tidings_ids::{GroupId, UserId};
use time::OffsetDateTime;

use crate::{
    Metadata,
    group::Group,
    keeper::{Seen, own_audience},
    role::Role,
};

struct Row {
    group_id: GroupId,
    display_name: String,
    description: String,
    metadata: Json<Metadata>,
    revision: i64,
    create_time: OffsetDateTime,
    member_count: i32,
    role: Role,
    pending: Option<i64>,
}

impl From<Row> for Seen<Group> {
    fn from(row: Row) -> Self {
        Self {
            audience_id: own_audience(row.group_id),
            role: Some(row.role),
            pending: row.pending,
            thing: Group {
                group_id: row.group_id,
                display_name: row.display_name,
                description: row.description,
                metadata: row.metadata.0,
                member_count: row.member_count,
                revision: row.revision,
                create_time: row.create_time,
            },
        }
    }
}

/// The group, as one of its members sees it.
pub(crate) async fn find(
    executor: impl PgExecutor<'_>,
    group_id: GroupId,
    caller: UserId,
) -> Result<Option<Seen<Group>>, Error> {
    let row = sqlx::query_as!(
        Row,
        "select g.group_id, g.display_name, g.description, g.metadata, g.revision, g.create_time, a.member_count, m.role,
             (select max(o.number) from chats.outbox o where o.audience_id = g.group_id) as pending
         from chats.groups g
         join chats.audiences a on a.audience_id = g.group_id
         join chats.members m on m.audience_id = g.group_id and m.user_id = $2
         where g.group_id = $1",
        group_id.uuid(),
        caller.uuid(),
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(Seen::from))
}

/// The user's groups in the order of ids, from above `after`. The page is cut from the memberships first, lest it be sought among all
/// groups.
pub(crate) async fn list(
    executor: impl PgExecutor<'_>,
    caller: UserId,
    after: Option<GroupId>,
    limit: u32,
) -> Result<Vec<Seen<Group>>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "select g.group_id, g.display_name, g.description, g.metadata, g.revision, g.create_time, a.member_count, m.role,
             (select max(o.number) from chats.outbox o where o.audience_id = g.group_id) as pending
         from (
             select p.audience_id, p.role
             from chats.members p
             where p.user_id = $1 and p.in_group and ($2::uuid is null or p.audience_id > $2)
             order by p.audience_id
             limit $3
         ) m
         join chats.groups g on g.group_id = m.audience_id
         join chats.audiences a on a.audience_id = m.audience_id
         order by m.audience_id",
        caller.uuid(),
        after.map(GroupId::uuid),
        i64::from(limit),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(Seen::from).collect())
}

/// Writes a new group, whose audience is there.
pub(crate) async fn insert(tx: &mut PgConnection, group: &Group) -> Result<(), Error> {
    sqlx::query!(
        "insert into chats.groups (group_id, display_name, description, metadata, revision, create_time)
         values ($1, $2, $3, $4, $5, $6)",
        group.group_id.uuid(),
        group.display_name,
        group.description,
        Json(&group.metadata) as _,
        group.revision,
        group.create_time,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes a group's own fields.
pub(crate) async fn update(tx: &mut PgConnection, group: &Group) -> Result<(), Error> {
    sqlx::query!(
        "update chats.groups
         set display_name = $2, description = $3, metadata = $4, revision = $5
         where group_id = $1",
        group.group_id.uuid(),
        group.display_name,
        group.description,
        Json(&group.metadata) as _,
        group.revision,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes a group.
pub(crate) async fn delete(tx: &mut PgConnection, group_id: GroupId) -> Result<(), Error> {
    sqlx::query!("delete from chats.groups where group_id = $1", group_id.uuid())
        .execute(tx)
        .await?;
    Ok(())
}
