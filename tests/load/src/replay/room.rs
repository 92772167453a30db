//! The place where a log is played: its senders signed in, a group of them, and a chat in it.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use tidings_proto_chat::v1::{AddMemberRequest, CreateChatRequest, CreateGroupRequest};
use tokio::task::unconstrained;

use crate::{
    accounts::Accounts,
    client::{Failure, Session},
    dataset::Log,
};

/// Memberships of one group that are made at once. They take turns at its row anyway.
const MEMBERS_AT_ONCE: usize = 4;

/// A chat with its members.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) chat_id: String,
    members: HashMap<String, Session>,
}

impl Room {
    /// Signs the senders in and makes a group, its members and a chat, or finds those of the first time: each call carries the
    /// `request_id` that it had then. The owner is who spoke first.
    pub(super) async fn open(accounts: &Accounts, log: &Log) -> Result<Self, Failure> {
        let ids = accounts.identities();
        let senders = log.senders();
        // All of a log's senders are to stand in the queue for registration before those of the next log. Tokio's budget would
        // end their first turn after 128, with the rest behind everybody else.
        let sessions = unconstrained(try_join_all(senders.iter().map(|sender| accounts.session(sender)))).await?;
        let owner = &sessions[0];
        let group = owner
            .create_group(&CreateGroupRequest {
                display_name: log.name.clone(),
                description: "A log, replayed".to_owned(),
                request_id: ids.request_id("create-group", &[&log.name]),
                ..CreateGroupRequest::default()
            })
            .await?;
        let additions = senders
            .iter()
            .zip(&sessions)
            .skip(1)
            .map(|(sender, session)| AddMemberRequest {
                group_id: group.group_id.clone(),
                user_id: session.user_id().to_owned(),
                request_id: ids.request_id("add-member", &[&log.name, sender]),
                ..AddMemberRequest::default()
            });
        stream::iter(additions.collect::<Vec<_>>())
            .map(|addition| async move { owner.add_member(&addition).await })
            .buffer_unordered(MEMBERS_AT_ONCE)
            .inspect_ok(|()| owner.client().meter().count_member())
            .try_collect::<()>()
            .await?;
        let chat = owner
            .create_chat(&CreateChatRequest {
                group_id: group.group_id,
                title: log.name.clone(),
                request_id: ids.request_id("create-chat", &[&log.name]),
                ..CreateChatRequest::default()
            })
            .await?;
        let members = senders.into_iter().map(ToOwned::to_owned).zip(sessions).collect();
        Ok(Self {
            chat_id: chat.chat_id,
            members,
        })
    }

    /// The login session of a sender of the log.
    pub(super) fn member(&self, nickname: &str) -> &Session {
        &self.members[nickname]
    }
}
