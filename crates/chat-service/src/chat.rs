use tidings_db::transaction;
use tidings_ids::{AudienceId, ChatId, GroupId, UserId};
use tidings_proto_message::v1::{ChatActivity, ChatActivityCursor};
use tidings_rpc::{Problem, text::TextRule};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Error, Metadata,
    call::{Call, Done},
    change::Change,
    keeper::{Keeper, as_it_is_now, check_etag, others, own_audience},
    membership::Member,
    role::Role,
    session::Session,
    store::{chats, members},
};

/// Where messages are.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    pub(crate) chat_id: ChatId,
    pub(crate) kind: Kind,
    pub(crate) title: String,
    pub(crate) metadata: Metadata,
    pub(crate) history: History,
    pub(crate) archived: bool,
    pub(crate) slow_mode_interval_secs: u32,
    pub(crate) revision: i64,
    pub(crate) create_time: OffsetDateTime,
}

/// What a chat is, with what only such chats have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Between two users, in the order of their ids.
    Direct(UserId, UserId),
    /// A group's.
    Group(GroupId),
    /// Between some users.
    Conversation,
    /// Between a user and an assistant.
    Session(Session),
}

/// The kind as a number, as in `tidings.common.v1.ChatKind` and the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub(crate) enum KindCode {
    Direct = 1,
    Group = 2,
    Conversation = 3,
    Session = 4,
}

/// What members may read of the time before they joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[repr(i16)]
pub(crate) enum History {
    Full = 1,
    FromJoining = 2,
}

impl Kind {
    pub(crate) fn code(&self) -> KindCode {
        match self {
            Self::Direct(..) => KindCode::Direct,
            Self::Group(_) => KindCode::Group,
            Self::Conversation => KindCode::Conversation,
            Self::Session(_) => KindCode::Session,
        }
    }
}

impl Chat {
    /// A chat in its first state.
    pub(crate) fn new(chat_id: ChatId, kind: Kind, now: OffsetDateTime) -> Self {
        Self {
            chat_id,
            kind,
            title: String::new(),
            metadata: Metadata::default(),
            history: History::Full,
            archived: false,
            slow_mode_interval_secs: 0,
            revision: 1,
            create_time: now,
        }
    }

    /// Whose membership decides it.
    pub(crate) fn audience_id(&self) -> AudienceId {
        match &self.kind {
            Kind::Group(group_id) => own_audience(*group_id),
            Kind::Direct(..) | Kind::Conversation | Kind::Session(_) => own_audience(self.chat_id),
        }
    }
}

/// What a caller chooses about a new chat.
#[derive(Debug)]
pub(crate) struct NewChat {
    pub(crate) title: String,
    pub(crate) metadata: Metadata,
    pub(crate) history: History,
}

/// What a caller changes about a chat.
#[derive(Debug, Default)]
pub(crate) struct ChatPatch {
    pub(crate) title: Option<String>,
    pub(crate) metadata: Option<Metadata>,
}

impl ChatPatch {
    /// Writes the changes into the chat. Whether there are any.
    pub(crate) fn apply(&self, chat: &mut Chat) -> bool {
        if self.title.is_none() && self.metadata.is_none() {
            return false;
        }
        chat.revision += 1;
        if let Some(title) = &self.title {
            chat.title.clone_from(title);
        }
        if let Some(metadata) = &self.metadata {
            chat.metadata.clone_from(metadata);
        }
        true
    }
}

/// What a call about a chat answers: its id in any case, and the chat where the caller may still see it.
pub(crate) type ChatAnswer = (ChatId, Option<Chat>);

/// A chat with what the message service knows of it.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) chat: Chat,
    pub(crate) activity: ChatActivity,
}

impl Keeper {
    /// Makes a chat in a group.
    pub(crate) async fn create_chat(&self, call: &Call, group_id: GroupId, new: &NewChat) -> Result<ChatAnswer, Error> {
        let done = match self.replay(call).await? {
            Some(done) => done,
            None => {
                let chat_id: ChatId = self.source.new_id();
                let mut chat = Chat::new(chat_id, Kind::Group(group_id), self.source.now());
                chat.title.clone_from(&new.title);
                chat.metadata.clone_from(&new.metadata);
                chat.history = new.history;
                let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
                    let mut audience = self.enter(tx, call, own_audience(group_id)).await?;
                    let role = members::role(&mut *tx, audience.id, true, call.caller).await?;
                    role.ok_or(Error::NotFound)?.require_admin()?;
                    let limit = self.config.group_chats_max;
                    if i64::from(audience.chat_count) >= i64::from(limit) {
                        return Err(Error::QuotaExceeded {
                            quota: "group_chats",
                            limit,
                        });
                    }
                    self.check_growth_quota(tx, audience.id, call.caller).await?;
                    chats::insert(tx, &chat).await?;
                    audience.chat_count += 1;
                    audience.log(Change::ChatAdded(chat.clone()));
                    self.finish(tx, call, audience, chat_id.uuid()).await
                });
                self.delivered(stored).await?
            }
        };
        self.chat_answer(call.caller, ChatId::from_uuid(done.id)).await
    }

    /// Makes a chat of some users, whose owner is the caller.
    pub(crate) async fn create_conversation(
        &self,
        call: &Call,
        user_ids: &[UserId],
        new: &NewChat,
    ) -> Result<ChatAnswer, Error> {
        let done = match self.replay(call).await? {
            Some(done) => done,
            None => {
                let others = others(call.caller, user_ids);
                self.users.require(&others).await?;
                let chat_id: ChatId = self.source.new_id();
                let now = self.source.now();
                let mut chat = Chat::new(chat_id, Kind::Conversation, now);
                chat.title.clone_from(&new.title);
                chat.metadata.clone_from(&new.metadata);
                chat.history = new.history;
                let owner = Member::new(call.caller, Role::Owner, now);
                let rest = others.iter().map(|user_id| Member::new(*user_id, Role::Member, now));
                let list: Vec<Member> = std::iter::once(owner).chain(rest).collect();
                let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
                    let mut audience = self.found(tx, call, own_audience(chat_id)).await?;
                    self.check_blocks(tx, call.caller, &others).await?;
                    self.check_conversation_quota(tx, call.caller, &others).await?;
                    chats::insert(tx, &chat).await?;
                    members::insert(tx, audience.id, false, &list, Some(call.caller)).await?;
                    audience.begin(&chat, &list);
                    self.finish(tx, call, audience, chat_id.uuid()).await
                });
                self.delivered(stored).await?
            }
        };
        self.chat_answer(call.caller, ChatId::from_uuid(done.id)).await
    }

    /// The chat of any kind, for a member.
    pub(crate) async fn get_chat(&self, caller: UserId, chat_id: ChatId) -> Result<Chat, Error> {
        let seen = chats::find(&self.pool, chat_id, caller).await?.ok_or(Error::NotFound)?;
        Ok(self.settled(seen).await?.into_member()?.0)
    }

    /// A page of the caller's chats, the latest active first, and where the next page begins. The message service has the page and its
    /// order; this one has the titles, and the last word on membership.
    pub(crate) async fn list_chats(
        &self,
        caller: UserId,
        after: Option<ChatActivityCursor>,
        page_size: u32,
    ) -> Result<(Vec<Summary>, Option<ChatActivityCursor>), Error> {
        let page = self.log.activity(caller, page_size, after).await?;
        let ids: Vec<Option<ChatId>> = page
            .activities
            .iter()
            .map(|entry| ChatId::parse(&entry.chat_id).ok())
            .collect();
        let known: Vec<ChatId> = ids.iter().copied().flatten().collect();
        let found = self
            .all_settled(chats::find_all(&self.pool, &known, caller).await?)
            .await?;
        let mut found: std::collections::HashMap<ChatId, Chat> = found
            .into_iter()
            .filter(|seen| seen.role.is_some())
            .map(|seen| (seen.thing.chat_id, seen.thing))
            .collect();
        let next = page.activities.last().filter(|_| page.more).map(cursor);
        let summaries = ids.into_iter().zip(page.activities).filter_map(|(chat_id, activity)| {
            // What is missing here was deleted or left a moment ago, and the message service is being told.
            Some(Summary {
                chat: found.remove(&chat_id?)?,
                activity,
            })
        });
        Ok((summaries.collect(), next))
    }

    /// Changes a chat's own fields.
    pub(crate) async fn update_chat(
        &self,
        call: &Call,
        chat_id: ChatId,
        patch: &ChatPatch,
        etag: &str,
    ) -> Result<ChatAnswer, Error> {
        // Read before the look-up and judged after it: a duplicate that is at work may delete what it rests on.
        let audience_id = chats::audience_of(&self.pool, chat_id).await;
        if self.replay(call).await?.is_none() {
            let audience_id = audience_id?.ok_or(Error::NotFound)?;
            let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
                let mut audience = self.enter(tx, call, audience_id).await?;
                let seen = chats::find(&mut *tx, chat_id, call.caller)
                    .await?
                    .ok_or(Error::NotFound)?;
                let (mut chat, role) = seen.into_member()?;
                check_update(&chat, role, patch)?;
                check_etag(etag, chat.revision)?;
                if patch.apply(&mut chat) {
                    chats::update(tx, &chat).await?;
                    audience.log(Change::ChatUpdated(chat));
                }
                self.finish(tx, call, audience, Uuid::nil()).await
            });
            self.delivered(stored).await?;
        }
        self.chat_answer(call.caller, chat_id).await
    }

    /// Deletes a group's chat or a conversation.
    pub(crate) async fn delete_chat(&self, call: &Call, chat_id: ChatId, etag: &str) -> Result<(), Error> {
        let audience_id = chats::audience_of(&self.pool, chat_id).await;
        if self.replay(call).await?.is_some() {
            return Ok(());
        }
        let audience_id = audience_id?.ok_or(Error::NotFound)?;
        let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
            let mut audience = self.enter(tx, call, audience_id).await?;
            let seen = chats::find(&mut *tx, chat_id, call.caller)
                .await?
                .ok_or(Error::NotFound)?;
            let (chat, role) = seen.into_member()?;
            match chat.kind {
                Kind::Group(_) => role.require_admin()?,
                Kind::Conversation => role.require_owner()?,
                Kind::Direct(..) | Kind::Session(_) => return Err(Error::KindUnsuitable),
            }
            check_etag(etag, chat.revision)?;
            if matches!(chat.kind, Kind::Group(_)) {
                chats::delete(tx, chat_id).await?;
                audience.chat_count -= 1;
                audience.log(Change::ChatRemoved(chat_id));
            } else {
                chats::delete_all(tx, audience.id).await?;
                members::delete_all(tx, audience.id).await?;
                audience.end();
            }
            self.finish(tx, call, audience, Uuid::nil()).await
        });
        self.delivered(stored).await?;
        Ok(())
    }

    pub(crate) async fn chat_answer(&self, caller: UserId, chat_id: ChatId) -> Result<ChatAnswer, Error> {
        Ok((chat_id, as_it_is_now(self.get_chat(caller, chat_id).await)?))
    }
}

/// Who may change what of a chat.
fn check_update(chat: &Chat, role: Role, patch: &ChatPatch) -> Result<(), Error> {
    match chat.kind {
        Kind::Session(_) => Err(Error::KindUnsuitable),
        Kind::Direct(..) if patch.title.is_some() => Err(Error::KindUnsuitable),
        Kind::Direct(..) => Ok(()),
        Kind::Conversation => role.require_admin(),
        Kind::Group(_) => {
            role.require_admin()?;
            // A group's chat cannot be without a title, and one that shows nothing is none.
            match patch.title.as_deref().map(|title| TextRule::NAME.check(title)) {
                Some(Err(error)) => Err(Problem::field("title", error.to_string()).into()),
                _ => Ok(()),
            }
        }
    }
}

/// The place of an entry in the order of a user's chats.
pub(crate) fn cursor(activity: &ChatActivity) -> ChatActivityCursor {
    ChatActivityCursor {
        activity: activity.activity,
        chat_id: activity.chat_id.clone(),
    }
}
