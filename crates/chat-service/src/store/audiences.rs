//! The row that every change of an audience locks first, and where its changes get their numbers.

use sqlx::PgConnection;
use tidings_db::Error;
use tidings_ids::{AudienceId, UserId};
use time::OffsetDateTime;

use crate::{change::Change, chat::Chat, convert, membership::Member, store::outbox};

/// An audience whose row this transaction holds. What is changed here is written by [`store`](Self::store).
#[derive(Debug)]
pub(crate) struct Audience {
    pub(crate) id: AudienceId,
    pub(crate) member_count: i32,
    pub(crate) chat_count: i32,
    last_number: i64,
    ended: bool,
    changes: Vec<Change>,
}

/// Makes an audience without chats and members.
pub(crate) async fn create(tx: &mut PgConnection, id: AudienceId, now: OffsetDateTime) -> Result<Audience, Error> {
    sqlx::query!(
        "insert into chats.audiences (audience_id, last_number, member_count, chat_count, create_time)
         values ($1, 0, 0, 0, $2)",
        id.uuid(),
        now,
    )
    .execute(tx)
    .await?;
    Ok(Audience {
        id,
        member_count: 0,
        chat_count: 0,
        last_number: 0,
        ended: false,
        changes: Vec::new(),
    })
}

/// Locks an audience until the transaction ends; also one that has ended. What is read after this is what the transaction before has
/// left.
pub(crate) async fn lock(tx: &mut PgConnection, id: AudienceId) -> Result<Option<Audience>, Error> {
    let row = sqlx::query!(
        "select last_number, member_count, chat_count, delete_time
         from chats.audiences
         where audience_id = $1
         for update",
        id.uuid(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Audience {
        id,
        member_count: row.member_count,
        chat_count: row.chat_count,
        last_number: row.last_number,
        ended: row.delete_time.is_some(),
        changes: Vec::new(),
    }))
}

impl Audience {
    /// Whether it is there no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What the message service is to be told so far.
    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Adds a change to what the message service is told.
    pub(crate) fn log(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Begins the audience of a chat without a group: the chat, then its members.
    pub(crate) fn begin(&mut self, chat: &Chat, members: &[Member]) {
        self.chat_count = 1;
        self.member_count = i32::try_from(members.len()).unwrap_or(i32::MAX);
        self.log(Change::ChatAdded(chat.clone()));
        self.changes.extend(members.iter().cloned().map(Change::MemberPut));
    }

    /// Ends the audience with all that it has.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.member_count = 0;
        self.chat_count = 0;
        self.log(Change::AudienceRemoved);
    }

    /// Numbers the changes, puts them into the outbox, and writes the row. Returns the number of the audience's last change, which
    /// is an earlier call's where this one has made none.
    pub(crate) async fn store(self, tx: &mut PgConnection, actor: UserId, now: OffsetDateTime) -> Result<i64, Error> {
        if self.changes.is_empty() {
            return Ok(self.last_number);
        }
        let numbers: Vec<i64> = (self.last_number + 1..).take(self.changes.len()).collect();
        let encoded: Vec<Vec<u8>> = numbers
            .iter()
            .zip(&self.changes)
            .map(|(number, change)| convert::audience_change(*number, actor, now, change))
            .collect();
        outbox::insert(tx, self.id, &numbers, &encoded, now).await?;
        let last_number = numbers.last().copied().unwrap_or(self.last_number);
        sqlx::query!(
            "update chats.audiences
             set last_number = $2, member_count = $3, chat_count = $4, delete_time = $5
             where audience_id = $1",
            self.id.uuid(),
            last_number,
            self.member_count,
            self.chat_count,
            self.ended.then_some(now),
        )
        .execute(tx)
        .await?;
        Ok(last_number)
    }
}
