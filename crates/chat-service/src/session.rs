use tidings_db::transaction;
use tidings_ids::{ChatId, UserId};
use tidings_rpc::Problem;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Error, Metadata,
    call::{Call, Done},
    change::Change,
    chat::{Chat, ChatPatch, Kind},
    keeper::{Keeper, as_it_is_now, check_etag, own_audience},
    membership::Member,
    role::Role,
    store::{chats, creators, members},
};

/// What a chat between a user and an assistant has beside other chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) user_id: UserId,
    /// Numbers the user's sessions 1, 2, 3 … A deleted session's number is not given again.
    pub(crate) number: i64,
    pub(crate) assistant_user_id: UserId,
    /// When it was closed, if it was.
    pub(crate) close_time: Option<OffsetDateTime>,
}

/// What a caller chooses about a new session.
#[derive(Debug)]
pub(crate) struct NewSession {
    pub(crate) title: String,
    pub(crate) metadata: Metadata,
    /// Who answers; `None` means the deployment's default.
    pub(crate) assistant_user_id: Option<UserId>,
}

/// A session with its chat.
pub(crate) type SessionChat = (Chat, Session);

/// What a call about a session answers: its chat's id in any case, and the session where the caller may still see it.
pub(crate) type SessionAnswer = (ChatId, Option<SessionChat>);

impl Keeper {
    /// Begins a session of the caller.
    pub(crate) async fn create_session(&self, call: &Call, new: &NewSession) -> Result<SessionAnswer, Error> {
        let done = match self.replay(call).await? {
            Some(done) => done,
            None => {
                let assistant = self.assistant(call.caller, new.assistant_user_id).await?;
                let chat_id: ChatId = self.source.new_id();
                let now = self.source.now();
                let user = Member::new(call.caller, Role::Owner, now);
                let list = [user, Member::new(assistant, Role::Member, now)];
                let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
                    let mut audience = self.found(tx, call, own_audience(chat_id)).await?;
                    self.check_blocks(tx, call.caller, &[assistant]).await?;
                    self.check_session_quota(tx, call.caller).await?;
                    let number = creators::next_session_number(tx, call.caller).await?;
                    let session = Session {
                        user_id: call.caller,
                        number,
                        assistant_user_id: assistant,
                        close_time: None,
                    };
                    let mut chat = Chat::new(chat_id, Kind::Session(session), now);
                    chat.title.clone_from(&new.title);
                    chat.metadata.clone_from(&new.metadata);
                    chats::insert(tx, &chat).await?;
                    members::insert(tx, audience.id, false, &list, None).await?;
                    audience.begin(&chat, &list);
                    self.finish(tx, call, audience, chat_id.uuid()).await
                });
                self.delivered(stored).await?
            }
        };
        self.session_answer(call.caller, ChatId::from_uuid(done.id)).await
    }

    /// Who answers in a new session: a bot, or whomever the operator has made the default. A person is put into nothing that only
    /// somebody else can end.
    async fn assistant(&self, caller: UserId, named: Option<UserId>) -> Result<UserId, Error> {
        let default = self.config.default_assistant;
        let assistant = named.or(default).ok_or(Error::NoAssistant)?;
        if assistant == caller {
            return Err(wrong_assistant("must be somebody else"));
        }
        match self.users.is_bot(assistant).await {
            // The caller named nobody, so that nobody is missing: the deployment's default is.
            Err(Error::NotFound) if named.is_none() => {
                tracing::error!(%assistant, "the default assistant is not a user");
                Err(Error::NoAssistant)
            }
            Ok(false) if default != Some(assistant) => Err(wrong_assistant("must be a bot")),
            outcome => outcome.map(|_| assistant),
        }
    }

    /// The session, for its user and its assistant.
    pub(crate) async fn get_session(&self, caller: UserId, chat_id: ChatId) -> Result<SessionChat, Error> {
        as_session(self.get_chat(caller, chat_id).await?)
    }

    /// The caller's own session with this number.
    pub(crate) async fn get_session_by_number(&self, caller: UserId, number: i64) -> Result<SessionChat, Error> {
        let list = chats::sessions(&self.pool, caller, number - 1, 1).await?;
        let seen = list.into_iter().next().ok_or(Error::NotFound)?;
        let session = as_session(self.settled(seen).await?.into_member()?.0)?;
        if session.1.number == number {
            Ok(session)
        } else {
            Err(Error::NotFound)
        }
    }

    /// The caller's own sessions with numbers above `after`, and whether there are more.
    pub(crate) async fn list_sessions(
        &self,
        caller: UserId,
        after: i64,
        page_size: u32,
    ) -> Result<(Vec<SessionChat>, bool), Error> {
        let mut list = chats::sessions(&self.pool, caller, after, page_size + 1).await?;
        let more = list.len() > page_size as usize;
        list.truncate(page_size as usize);
        let list = self.all_settled(list).await?;
        let sessions = list
            .into_iter()
            .map(|seen| as_session(seen.thing))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((sessions, more))
    }

    /// Changes a session's own fields.
    pub(crate) async fn update_session(
        &self,
        call: &Call,
        chat_id: ChatId,
        patch: &ChatPatch,
        etag: &str,
    ) -> Result<SessionAnswer, Error> {
        if self.replay(call).await?.is_none() {
            let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
                let mut audience = self.enter(tx, call, own_audience(chat_id)).await?;
                let mut chat = own_session(tx, chat_id, call.caller).await?;
                check_etag(etag, chat.revision)?;
                if patch.apply(&mut chat) {
                    chats::update(tx, &chat).await?;
                    audience.log(Change::ChatUpdated(chat));
                }
                self.finish(tx, call, audience, Uuid::nil()).await
            });
            self.delivered(stored).await?;
        }
        self.session_answer(call.caller, chat_id).await
    }

    /// Ends a session, which can still be read; its assistant can end it too, which is how a bot gets out of what it was put into. One
    /// that is closed stays so.
    pub(crate) async fn close_session(&self, call: &Call, chat_id: ChatId, etag: &str) -> Result<SessionAnswer, Error> {
        if self.replay(call).await?.is_none() {
            let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
                let mut audience = self.enter(tx, call, own_audience(chat_id)).await?;
                let (mut chat, _) = session_of(tx, chat_id, call.caller).await?;
                check_etag(etag, chat.revision)?;
                if !chat.archived {
                    chat.archived = true;
                    chat.revision += 1;
                    chats::update(tx, &chat).await?;
                    chats::close_session(tx, chat_id, self.source.now()).await?;
                    audience.log(Change::ChatUpdated(chat));
                }
                self.finish(tx, call, audience, Uuid::nil()).await
            });
            self.delivered(stored).await?;
        }
        self.session_answer(call.caller, chat_id).await
    }

    /// Deletes a session with its messages.
    pub(crate) async fn delete_session(&self, call: &Call, chat_id: ChatId, etag: &str) -> Result<(), Error> {
        if self.replay(call).await?.is_some() {
            return Ok(());
        }
        let stored = transaction!(&self.pool, |tx| -> Result<Done, Error> {
            let mut audience = self.enter(tx, call, own_audience(chat_id)).await?;
            let chat = own_session(tx, chat_id, call.caller).await?;
            check_etag(etag, chat.revision)?;
            chats::delete_all(tx, audience.id).await?;
            members::delete_all(tx, audience.id).await?;
            audience.end();
            self.finish(tx, call, audience, Uuid::nil()).await
        });
        self.delivered(stored).await?;
        Ok(())
    }

    async fn session_answer(&self, caller: UserId, chat_id: ChatId) -> Result<SessionAnswer, Error> {
        Ok((chat_id, as_it_is_now(self.get_session(caller, chat_id).await)?))
    }
}

/// The chat of a session, with what the caller is in it.
async fn session_of(tx: &mut sqlx::PgConnection, chat_id: ChatId, caller: UserId) -> Result<(Chat, Role), Error> {
    let (chat, role) = chats::find(tx, chat_id, caller)
        .await?
        .ok_or(Error::NotFound)?
        .into_member()?;
    Ok((as_session(chat)?.0, role))
}

/// The same for what the session's user may do and its assistant may not.
async fn own_session(tx: &mut sqlx::PgConnection, chat_id: ChatId, caller: UserId) -> Result<Chat, Error> {
    let (chat, role) = session_of(tx, chat_id, caller).await?;
    role.require_owner()?;
    Ok(chat)
}

fn wrong_assistant(why: &str) -> Error {
    Problem::field("assistant_user_id", why).into()
}

/// The chat with its session; a chat that is none is not found among sessions.
fn as_session(chat: Chat) -> Result<SessionChat, Error> {
    match chat.kind {
        Kind::Session(session) => Ok((chat, session)),
        Kind::Direct(..) | Kind::Group(_) | Kind::Conversation => Err(Error::NotFound),
    }
}
