//! The message service: what it is told of audiences, and the order of a user's chats.

use std::time::Duration;

use tidings_ids::{AudienceId, UserId};
use tidings_proto_message::v1::{
    ApplyMembershipChangesRequest, AudienceChange, ChatActivityCursor, ListChatActivityRequest,
    ListChatActivityResponse, membership_log_service_client::MembershipLogServiceClient,
};
use tidings_rpc::{Peer, Problem};
use tonic::Status;

use crate::{Error, users::in_time};

/// A page of 200 chats whose last messages are all as long as they may be (32 KiB of text, 4 KiB of metadata, attachments) has about
/// 8 MiB; tonic's default is 4.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long changes may take to be applied: the time that the message service gives a call without a deadline. A removal from a group
/// with 500 chats is written into each of their logs.
const APPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// The message service's `MembershipLogService`.
#[derive(Clone)]
pub(crate) struct MessageLog {
    client: MembershipLogServiceClient<Peer>,
}

impl MessageLog {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            client: MembershipLogServiceClient::new(peer).max_decoding_message_size(PAGE_BYTES_MAX),
        }
    }

    /// Hands changes of one audience over, and returns the number of the last one that is applied.
    pub(crate) async fn apply(&self, audience_id: AudienceId, changes: Vec<AudienceChange>) -> Result<i64, Status> {
        let request = ApplyMembershipChangesRequest {
            audience_id: audience_id.to_string(),
            changes,
        };
        let mut client = self.client.clone();
        let response = tokio::time::timeout(APPLY_TIMEOUT, client.apply_membership_changes(request)).await;
        let response = response
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("the message service did not answer in time")))?;
        Ok(response.into_inner().applied_number)
    }

    /// A page of a user's chats, the latest active first.
    pub(crate) async fn activity(
        &self,
        user_id: UserId,
        page_size: u32,
        after: Option<ChatActivityCursor>,
    ) -> Result<ListChatActivityResponse, Error> {
        let page_size = i32::try_from(page_size).unwrap_or(i32::MAX);
        let request = ListChatActivityRequest {
            user_id: user_id.to_string(),
            page_size,
            after,
        };
        let mut client = self.client.clone();
        let response = in_time(client.list_chat_activity(request)).await?;
        response
            .map(tonic::Response::into_inner)
            .map_err(|status| Problem::from_peer(&status).into())
    }
}
