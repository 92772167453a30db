use sqlx::PgExecutor;
use tidings_db::transaction;
use tidings_ids::{AudienceId, ChatId, GroupId, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Error,
    call::{Call, Done},
    change::{Change, Removal},
    chat::KindCode,
    keeper::{Keeper, Seen, as_it_is_now, own_audience},
    role::Role,
    store::{audiences::Audience, chats, members},
};

/// A user in an audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) user_id: UserId,
    pub(crate) role: Role,
    pub(crate) mute_end_time: Option<OffsetDateTime>,
    pub(crate) create_time: OffsetDateTime,
}

impl Member {
    pub(crate) fn new(user_id: UserId, role: Role, now: OffsetDateTime) -> Self {
        Self {
            user_id,
            role,
            mute_end_time: None,
            create_time: now,
        }
    }
}

/// An audience whose members come and go: a group, or a conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Circle {
    Group(GroupId),
    Conversation(ChatId),
}

impl Circle {
    fn audience_id(self) -> AudienceId {
        match self {
            Self::Group(group_id) => own_audience(group_id),
            Self::Conversation(chat_id) => own_audience(chat_id),
        }
    }

    fn is_group(self) -> bool {
        matches!(self, Self::Group(_))
    }
}

impl Keeper {
    /// What the caller is in the circle, for a member.
    async fn standing(&self, executor: impl PgExecutor<'_>, circle: Circle, caller: UserId) -> Result<Role, Error> {
        match circle {
            Circle::Group(group_id) => members::role(executor, own_audience(group_id), true, caller)
                .await?
                .ok_or(Error::NotFound),
            Circle::Conversation(chat_id) => {
                let (chat, role) = chats::find(executor, chat_id, caller)
                    .await?
                    .ok_or(Error::NotFound)?
                    .into_member()?;
                // Members of groups' chats are the group's; those of direct chats and sessions never change.
                if chat.kind.code() == KindCode::Conversation {
                    Ok(role)
                } else {
                    Err(Error::KindUnsuitable)
                }
            }
        }
    }

    /// Makes a user a member. One who is a member with that role stays so. Returns the membership as it is now, where there is one
    /// that the caller may see.
    pub(crate) async fn add_member(
        &self,
        call: &Call,
        circle: Circle,
        user_id: UserId,
        role: Role,
    ) -> Result<Option<Member>, Error> {
        // Read before the look-up and judged after it: a duplicate that is at work may end what the access rests on.
        let access = self.standing(&self.pool, circle, call.caller).await;
        if self.replay(call).await?.is_none() {
            access?.check_grant(role)?;
            self.users.require(&[user_id]).await?;
            let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
                let mut audience = self.enter(tx, call, circle.audience_id()).await?;
                self.standing(&mut *tx, circle, call.caller).await?.check_grant(role)?;
                match members::find(tx, audience.id, user_id).await? {
                    Some(member) if member.role == role => {}
                    Some(_) => return Err(Error::AlreadyMember),
                    None => {
                        self.check_blocks(tx, call.caller, &[user_id]).await?;
                        self.check_member_quota(circle, &audience)?;
                        self.check_addition_quota(tx, user_id, audience.chat_count).await?;
                        let member = Member::new(user_id, role, self.source.now());
                        let list = std::slice::from_ref(&member);
                        members::insert(tx, audience.id, circle.is_group(), list, Some(call.caller)).await?;
                        audience.member_count += 1;
                        audience.log(Change::MemberPut(member));
                    }
                }
                self.finish(tx, call, audience, Uuid::nil()).await
            });
            self.delivered(stored).await?;
        }
        as_it_is_now(self.get_member(call.caller, circle.audience_id(), user_id).await)
    }

    fn check_member_quota(&self, circle: Circle, audience: &Audience) -> Result<(), Error> {
        let (quota, limit) = match circle {
            Circle::Group(_) => ("group_members", self.config.group_members_max),
            Circle::Conversation(_) => ("conversation_members", self.config.conversation_members_max),
        };
        if i64::from(audience.member_count) < i64::from(limit) {
            Ok(())
        } else {
            Err(Error::QuotaExceeded { quota, limit })
        }
    }

    /// Ends a membership. One that does not exist has ended.
    pub(crate) async fn remove_member(&self, call: &Call, circle: Circle, user_id: UserId) -> Result<(), Error> {
        if user_id == call.caller {
            return self.leave(call, circle).await;
        }
        let access = self.standing(&self.pool, circle, call.caller).await;
        if self.replay(call).await?.is_some() {
            return Ok(());
        }
        access?.require_admin()?;
        let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
            let mut audience = self.enter(tx, call, circle.audience_id()).await?;
            let mine = self.standing(&mut *tx, circle, call.caller).await?;
            mine.require_admin()?;
            if let Some(member) = members::find(tx, audience.id, user_id).await? {
                // The caller stays, so that a removed owner is never the last.
                mine.check_removal(member.role)?;
                members::delete(tx, audience.id, user_id).await?;
                audience.member_count -= 1;
                audience.log(Change::MemberRemoved {
                    user_id,
                    removal: Removal::Removed,
                });
            }
            self.finish(tx, call, audience, Uuid::nil()).await
        });
        self.delivered(stored).await?;
        Ok(())
    }

    /// Ends the caller's own membership.
    pub(crate) async fn leave(&self, call: &Call, circle: Circle) -> Result<(), Error> {
        let access = self.standing(&self.pool, circle, call.caller).await;
        if self.replay(call).await?.is_some() {
            return Ok(());
        }
        access?;
        let user_id = call.caller;
        let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
            let mut audience = self.enter(tx, call, circle.audience_id()).await?;
            let mine = self.standing(&mut *tx, circle, user_id).await?;
            if mine == Role::Owner && !members::has_other_owner(tx, audience.id, user_id).await? {
                return Err(Error::LastOwner);
            }
            members::delete(tx, audience.id, user_id).await?;
            audience.member_count -= 1;
            audience.log(Change::MemberRemoved {
                user_id,
                removal: Removal::Left,
            });
            self.finish(tx, call, audience, Uuid::nil()).await
        });
        self.delivered(stored).await?;
        Ok(())
    }

    async fn get_member(&self, caller: UserId, audience_id: AudienceId, user_id: UserId) -> Result<Member, Error> {
        let seen = members::find_seen(&self.pool, audience_id, caller, user_id)
            .await?
            .ok_or(Error::NotFound)?;
        Ok(self.settled(seen).await?.thing)
    }

    /// The members of a group whose ids are above `after`, and whether there are more.
    pub(crate) async fn list_members(
        &self,
        caller: UserId,
        group_id: GroupId,
        after: Option<UserId>,
        page_size: u32,
    ) -> Result<(Vec<Member>, bool), Error> {
        let audience_id = own_audience(group_id);
        // A chat without a group is an audience too, but no group.
        members::role(&self.pool, audience_id, true, caller)
            .await?
            .ok_or(Error::NotFound)?;
        let list = members::list(&self.pool, audience_id, caller, after, page_size + 1).await?;
        self.page_of_members(list, page_size).await
    }

    /// The members of a chat of any kind, the same way.
    pub(crate) async fn list_chat_members(
        &self,
        caller: UserId,
        chat_id: ChatId,
        after: Option<UserId>,
        page_size: u32,
    ) -> Result<(Vec<Member>, bool), Error> {
        let seen = chats::find(&self.pool, chat_id, caller).await?.ok_or(Error::NotFound)?;
        let audience_id = seen.audience_id;
        self.settled(seen).await?.into_member()?;
        let list = members::list(&self.pool, audience_id, caller, after, page_size + 1).await?;
        self.page_of_members(list, page_size).await
    }

    async fn page_of_members(&self, mut list: Vec<Seen<Member>>, page_size: u32) -> Result<(Vec<Member>, bool), Error> {
        let more = list.len() > page_size as usize;
        list.truncate(page_size as usize);
        // One statement read them all, so that one has pending what all have.
        if let Some(Seen {
            audience_id,
            pending: Some(number),
            ..
        }) = list.first()
        {
            self.deliveries.deliver(*audience_id, *number).await?;
        }
        Ok((list.into_iter().map(|seen| seen.thing).collect(), more))
    }
}
