//! Applies changes of an audience in their order.
//!
//! A change may concern 500 chats or 10,000 members, so it is applied in pieces, each a bounded transaction. The first piece is what
//! everything is decided by (the member's row, the audience's row, the chat's row): from its commit on, sends and reads that begin
//! go by it. The others write the change into the logs. Only when all are done does the audience's `applied_number` move, and
//! only then is the change answered as applied. Whoever delivers it again, after a crash, after the call's time or beside us, goes on
//! where the pieces stopped: each is fenced by what it wrote, under the lock of the audience's row.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use tidings_audit::{self as audit, Event};
use tidings_db::{Pool, Schema, transaction};
use tidings_ids::{AudienceId, ChatId, Source, UserId};
use tidings_proto_common::v1::{AuditCategory, ErrorReason};
use tidings_rpc::Problem;
use tokio::time::Instant;

use super::{
    audience,
    change::{AudienceChange, Change, Turn, turn},
    chats,
    members::{self, MemberStep},
    user_log::{self, Entry},
};
use crate::{Error, bus::Bus};

/// Rows of logs that one transaction writes at the most, so that it holds the rows of chats for some milliseconds only.
const PIECE_ROWS_MAX: usize = 200;

/// One transaction's work.
pub(super) struct Piece {
    /// Rows that may still be written.
    pub(super) left: usize,
    /// Chats whose logs have moved.
    pub(super) chats: BTreeSet<ChatId>,
    /// Entries of users' logs, written at the end, in the order of the users.
    pub(super) entries: Vec<Entry>,
}

/// Applies what is due of `changes`, which are in the order of their numbers, and returns the number of the last change of the
/// audience that is applied.
///
/// # Errors
///
/// When Postgres does not do it, and `DEADLINE_EXCEEDED` where the call's time is over before all is written: nobody waits for it any
/// more, and whoever hands the changes over again should find nobody at work. What was applied stays, and a repetition goes on from
/// there. Each call applies one piece at least, so that repetitions come to an end. `REQUEST_ID_REUSED` where a number comes a second
/// time for another change: the chat service has forgotten what it gave out, since a backup of its database was restored. Nothing
/// is applied then, which would make the two decide by different members.
pub(crate) async fn apply(
    pool: &Pool,
    bus: &Bus,
    source: &Source,
    audience_id: AudienceId,
    changes: &[AudienceChange],
) -> Result<i64, Error> {
    loop {
        let (applied_number, goes_on, piece) = transaction!(pool, |tx| -> Result<_, Error> {
            apply_piece(tx, source, audience_id, changes).await
        })?;
        let users: BTreeSet<UserId> = piece.entries.iter().map(|entry| entry.user_id).collect();
        bus.moved(piece.chats, users);
        if !goes_on {
            return Ok(applied_number);
        }
        if tidings_rpc::deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Problem::new(ErrorReason::DeadlineExceeded).into());
        }
    }
}

/// One transaction: as many changes as its rows allow, or a part of one. Says how far the audience is, and whether more is due.
async fn apply_piece(
    tx: &mut PgConnection,
    source: &Source,
    audience_id: AudienceId,
    changes: &[AudienceChange],
) -> Result<(i64, bool, Piece), Error> {
    let mut applied = audience::lock_audience(tx, audience_id).await?;
    if !applied.agrees(changes) {
        return Err(Problem::new(ErrorReason::RequestIdReused).into());
    }
    let before = applied.number;
    let mut piece = Piece {
        left: PIECE_ROWS_MAX,
        chats: BTreeSet::new(),
        entries: Vec::new(),
    };
    let mut goes_on = false;
    for change in changes {
        match turn(applied.number, change.number) {
            Turn::Applied => continue,
            Turn::Early => break,
            Turn::Due if piece.left == 0 => {
                goes_on = true;
                break;
            }
            Turn::Due => {}
        }
        if !apply_change(tx, audience_id, change, &mut piece).await? {
            goes_on = true;
            break;
        }
        applied.apply(change);
    }
    audience::set_applied(tx, audience_id, &applied).await?;
    if applied.number > before {
        let event = Event::of_call(source, AuditCategory::Membership, "message.apply_membership_changes")
            .subject(audience_id)
            .detail("first_number", before + 1)
            .detail("last_number", applied.number);
        audit::record(&mut *tx, Schema::Messages, &event).await?;
    }
    user_log::append(tx, &piece.entries).await?;
    Ok((applied.number, goes_on, piece))
}

/// Applies a change as far as the piece allows; whether it is applied wholly.
async fn apply_change(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    change: &AudienceChange,
    piece: &mut Piece,
) -> Result<bool, Error> {
    match &change.change {
        Change::ChatAdded(facts) => {
            if chats::insert_chat(tx, audience_id, change, facts).await? {
                piece.wrote(facts.chat_id);
            }
            chats::tell_members_of_chat(tx, audience_id, change, facts.chat_id, piece).await
        }
        Change::ChatUpdated(facts) => {
            if chats::update_chat(tx, audience_id, change, facts).await? {
                piece.wrote(facts.chat_id);
            }
            Ok(true)
        }
        Change::ChatRemoved(chat_id) => chats::remove_chat(tx, audience_id, change, *chat_id, piece).await,
        Change::MemberPut(member) => match members::put_member(tx, audience_id, change.number, member).await? {
            MemberStep::Nothing => Ok(true),
            step => members::write_into_chats(tx, audience_id, change, member.user_id, step, piece).await,
        },
        Change::MemberRemoved { user_id, reason } => {
            match members::remove_member(tx, audience_id, change.number, *user_id, *reason).await? {
                MemberStep::Nothing => Ok(true),
                step => members::write_into_chats(tx, audience_id, change, *user_id, step, piece).await,
            }
        }
        Change::AudienceRemoved => remove_audience(tx, audience_id, change, piece).await,
        Change::ChatBlocked { chat_id, blocked } => {
            chats::set_blocked(tx, audience_id, *chat_id, *blocked).await?;
            piece.left = piece.left.saturating_sub(1);
            Ok(true)
        }
    }
}

/// The audience's row first, alone: from its commit on every check fails. Then its chats one by one, then its members.
async fn remove_audience(
    tx: &mut PgConnection,
    audience_id: AudienceId,
    change: &AudienceChange,
    piece: &mut Piece,
) -> Result<bool, Error> {
    if audience::close_audience(tx, audience_id).await? {
        return Ok(false);
    }
    while let Some(chat_id) = chats::next_chat(tx, audience_id).await? {
        if !chats::remove_chat(tx, audience_id, change, chat_id, piece).await? {
            return Ok(false);
        }
    }
    members::end_members(tx, audience_id, change.number, piece).await
}

impl Piece {
    /// An entry of a chat's log was written.
    pub(super) fn wrote(&mut self, chat_id: ChatId) {
        self.chats.insert(chat_id);
        self.left = self.left.saturating_sub(1);
    }

    /// An entry of a user's log is to be written.
    pub(super) fn tell(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.left = self.left.saturating_sub(1);
    }
}
