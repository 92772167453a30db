//! How many groups and chats one user is in.
//!
//! What somebody makes and what others put somebody into are counted apart, so that nobody can take another's room: `chats_per_user`
//! and `groups_per_user` are used up by the user alone, `joined_chats` by those who add the user, and the user gets room again by
//! leaving. Direct chats are bounded by the number of users and a session counts for its user, so that neither uses up anything of
//! whoever is opened or asked.
//!
//! A group counts with its chats. That it grows later is nothing its members can refuse; who makes a chat in it needs room for it,
//! in the quota in which the group counts for that one. So what one account can do to others is bounded by what it can do to itself.
//!
//! Everybody's count is read under a lock of that user's row, after the audience's: of two who add somebody at once, one sees what the
//! other has done.

use sqlx::PgConnection;
use tidings_ids::{AudienceId, UserId};

use crate::{
    Error,
    keeper::Keeper,
    store::{creators, members},
};

impl Keeper {
    /// Whether the caller may make another group.
    pub(crate) async fn check_group_quota(&self, tx: &mut PgConnection, caller: UserId) -> Result<(), Error> {
        creators::lock(tx, &[caller]).await?;
        let made = creators::groups_made(tx, caller).await?;
        within("groups_per_user", self.config.groups_per_user_max, made, 1)
    }

    /// Whether the caller may make another session.
    pub(crate) async fn check_session_quota(&self, tx: &mut PgConnection, caller: UserId) -> Result<(), Error> {
        creators::lock(tx, &[caller]).await?;
        self.check_chats_made(tx, caller).await
    }

    /// Whether the caller may make another conversation, and put these others into it.
    pub(crate) async fn check_conversation_quota(
        &self,
        tx: &mut PgConnection,
        caller: UserId,
        others: &[UserId],
    ) -> Result<(), Error> {
        let everybody: Vec<UserId> = others.iter().copied().chain([caller]).collect();
        creators::lock(tx, &everybody).await?;
        self.check_chats_made(tx, caller).await?;
        self.check_chats_joined(tx, others, 1).await
    }

    /// Whether the caller may make another chat in a group, whose row is locked.
    pub(crate) async fn check_growth_quota(
        &self,
        tx: &mut PgConnection,
        group: AudienceId,
        caller: UserId,
    ) -> Result<(), Error> {
        creators::lock(tx, &[caller]).await?;
        if members::was_added(tx, group, caller).await? {
            self.check_chats_joined(tx, &[caller], 1).await
        } else {
            self.check_chats_made(tx, caller).await
        }
    }

    /// Whether a user may be put into an audience of so many chats. One without any counts as one: it may get some.
    pub(crate) async fn check_addition_quota(
        &self,
        tx: &mut PgConnection,
        user_id: UserId,
        chat_count: i32,
    ) -> Result<(), Error> {
        creators::lock(tx, &[user_id]).await?;
        self.check_chats_joined(tx, &[user_id], i64::from(chat_count.max(1)))
            .await
    }

    async fn check_chats_made(&self, tx: &mut PgConnection, user_id: UserId) -> Result<(), Error> {
        let made = creators::chats_made(tx, user_id).await?;
        within("chats_per_user", self.config.chats_per_user_max, made, 1)
    }

    /// Whether so many chats more are within what each of these users can be put into.
    async fn check_chats_joined(&self, tx: &mut PgConnection, user_ids: &[UserId], more: i64) -> Result<(), Error> {
        let most = creators::chats_joined(tx, user_ids).await?;
        within("joined_chats", self.config.joined_chats_max, most, more)
    }
}

fn within(quota: &'static str, limit: u32, count: i64, more: i64) -> Result<(), Error> {
    if count + more <= i64::from(limit) {
        Ok(())
    } else {
        Err(Error::QuotaExceeded { quota, limit })
    }
}
