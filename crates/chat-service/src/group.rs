use tidings_db::transaction;
use tidings_ids::{GroupId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Error, Metadata,
    call::{Call, Done},
    change::Change,
    keeper::{Keeper, as_it_is_now, check_etag, own_audience},
    membership::Member,
    role::Role,
    store::{chats, groups, members},
    trail,
};

/// A named set of members that owns chats.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) group_id: GroupId,
    pub(crate) display_name: String,
    pub(crate) description: String,
    pub(crate) metadata: Metadata,
    pub(crate) member_count: i32,
    pub(crate) revision: i64,
    pub(crate) create_time: OffsetDateTime,
}

/// What a caller chooses about a new group.
#[derive(Debug)]
pub(crate) struct NewGroup {
    pub(crate) display_name: String,
    pub(crate) description: String,
    pub(crate) metadata: Metadata,
}

/// What a caller changes about a group.
#[derive(Debug, Default)]
pub(crate) struct GroupPatch {
    pub(crate) display_name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Option<Metadata>,
}

impl GroupPatch {
    fn is_empty(&self) -> bool {
        self.display_name.is_none() && self.description.is_none() && self.metadata.is_none()
    }

    /// The names of what it changes.
    fn names(&self) -> String {
        let names = [
            ("display_name", self.display_name.is_some()),
            ("description", self.description.is_some()),
            ("metadata", self.metadata.is_some()),
        ];
        let changed: Vec<&str> = names.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        changed.join(",")
    }
}

/// What a call about a group answers: its id in any case, and the group where the caller may still see it.
pub(crate) type GroupAnswer = (GroupId, Option<Group>);

impl Keeper {
    /// Makes a group whose owner is the caller.
    pub(crate) async fn create_group(&self, call: &Call, new: &NewGroup) -> Result<GroupAnswer, Error> {
        if let Some(done) = self.replay(call).await? {
            return self.group_answer(call.caller, GroupId::from_uuid(done.id)).await;
        }
        let group_id: GroupId = self.source.new_id();
        let now = self.source.now();
        let group = Group {
            group_id,
            display_name: new.display_name.clone(),
            description: new.description.clone(),
            metadata: new.metadata.clone(),
            member_count: 1,
            revision: 1,
            create_time: now,
        };
        let owner = Member::new(call.caller, Role::Owner, now);
        let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
            let mut audience = self.found(tx, call, own_audience(group_id)).await?;
            self.check_group_quota(tx, call.caller).await?;
            groups::insert(tx, &group).await?;
            members::insert(tx, audience.id, true, std::slice::from_ref(&owner), Some(call.caller)).await?;
            audience.member_count = 1;
            audience.log(Change::MemberPut(owner.clone()));
            self.finish(tx, call, audience, group_id.uuid()).await
        });
        let done = self.delivered(stored).await?;
        self.group_answer(call.caller, GroupId::from_uuid(done.id)).await
    }

    /// The group, for a member.
    pub(crate) async fn get_group(&self, caller: UserId, group_id: GroupId) -> Result<Group, Error> {
        let seen = groups::find(&self.pool, group_id, caller)
            .await?
            .ok_or(Error::NotFound)?;
        Ok(self.settled(seen).await?.into_member()?.0)
    }

    /// The caller's groups whose ids are above `after`, and whether there are more.
    pub(crate) async fn list_groups(
        &self,
        caller: UserId,
        after: Option<GroupId>,
        page_size: u32,
    ) -> Result<(Vec<Group>, bool), Error> {
        let mut seen = groups::list(&self.pool, caller, after, page_size + 1).await?;
        let more = seen.len() > page_size as usize;
        seen.truncate(page_size as usize);
        let groups = self
            .all_settled(seen)
            .await?
            .into_iter()
            .map(|seen| seen.thing)
            .collect();
        Ok((groups, more))
    }

    /// Changes a group's own fields.
    pub(crate) async fn update_group(
        &self,
        call: &Call,
        group_id: GroupId,
        patch: &GroupPatch,
        etag: &str,
    ) -> Result<GroupAnswer, Error> {
        if self.replay(call).await?.is_none() {
            let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
                let audience = self.enter(tx, call, own_audience(group_id)).await?;
                let seen = groups::find(&mut *tx, group_id, call.caller)
                    .await?
                    .ok_or(Error::NotFound)?;
                let (mut group, role) = seen.into_member()?;
                role.require_admin()?;
                check_etag(etag, group.revision)?;
                if !patch.is_empty() {
                    group.revision += 1;
                    group.display_name = patch.display_name.clone().unwrap_or(group.display_name);
                    group.description = patch.description.clone().unwrap_or(group.description);
                    group.metadata = patch.metadata.clone().unwrap_or(group.metadata);
                    groups::update(tx, &group).await?;
                    let event = trail::event(&self.source, call).subject(group_id);
                    trail::record(tx, &event.detail("fields", patch.names())).await?;
                }
                self.finish(tx, call, audience, Uuid::nil()).await
            });
            self.delivered(stored).await?;
        }
        self.group_answer(call.caller, group_id).await
    }

    /// Deletes a group with all its chats and memberships.
    pub(crate) async fn delete_group(&self, call: &Call, group_id: GroupId, etag: &str) -> Result<(), Error> {
        if self.replay(call).await?.is_some() {
            return Ok(());
        }
        let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
            let mut audience = self.enter(tx, call, own_audience(group_id)).await?;
            let seen = groups::find(&mut *tx, group_id, call.caller)
                .await?
                .ok_or(Error::NotFound)?;
            let (group, role) = seen.into_member()?;
            role.require_owner()?;
            check_etag(etag, group.revision)?;
            chats::delete_all(tx, audience.id).await?;
            groups::delete(tx, group_id).await?;
            members::delete_all(tx, audience.id).await?;
            audience.end();
            self.finish(tx, call, audience, Uuid::nil()).await
        });
        self.delivered(stored).await?;
        Ok(())
    }

    async fn group_answer(&self, caller: UserId, group_id: GroupId) -> Result<GroupAnswer, Error> {
        Ok((group_id, as_it_is_now(self.get_group(caller, group_id).await)?))
    }
}
