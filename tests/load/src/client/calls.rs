//! The calls that a replay makes, by the names of the API.

use tidings_proto_chat::v1::{
    AddMemberRequest, Chat, CreateChatRequest, CreateGroupRequest, Group, chat_service_client::ChatServiceClient,
    group_service_client::GroupServiceClient, membership_service_client::MembershipServiceClient,
};
use tidings_proto_gateway::v1::{
    GetServerInfoRequest, GetServerInfoResponse, gateway_service_client::GatewayServiceClient,
};
use tidings_proto_message::v1::{
    ListMessagesRequest, ListMessagesResponse, Message, SendMessageRequest, SyncChangesRequest, SyncChangesResponse,
    message_service_client::MessageServiceClient, sync_service_client::SyncServiceClient,
};

use super::{Client, Failure, Session};

/// The largest answer that is taken: a page of changes ends at 3 MiB, and its snapshots come on top.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Client {
    /// `GatewayService.GetServerInfo`: what runs there, and that it runs.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn server_info(&self) -> Result<GetServerInfoResponse, Failure> {
        self.call(
            "GetServerInfo",
            &GetServerInfoRequest {},
            |channel, request| async move { GatewayServiceClient::new(channel).get_server_info(request).await },
        )
        .await
    }
}

impl Session {
    /// `GroupService.CreateGroup`.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn create_group(&self, request: &CreateGroupRequest) -> Result<Group, Failure> {
        let answer = self
            .call("CreateGroup", request, |channel, request| async move {
                GroupServiceClient::new(channel).create_group(request).await
            })
            .await?;
        answer.group.ok_or_else(|| Failure::malformed("CreateGroup", "group"))
    }

    /// `MembershipService.AddMember`.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn add_member(&self, request: &AddMemberRequest) -> Result<(), Failure> {
        self.call("AddMember", request, |channel, request| async move {
            MembershipServiceClient::new(channel).add_member(request).await
        })
        .await?;
        Ok(())
    }

    /// `ChatService.CreateChat`.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn create_chat(&self, request: &CreateChatRequest) -> Result<Chat, Failure> {
        let answer = self
            .call("CreateChat", request, |channel, request| async move {
                ChatServiceClient::new(channel).create_chat(request).await
            })
            .await?;
        answer.chat.ok_or_else(|| Failure::malformed("CreateChat", "chat"))
    }

    /// `MessageService.SendMessage`.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn send_message(&self, request: &SendMessageRequest) -> Result<Message, Failure> {
        let answer = self
            .call("SendMessage", request, |channel, request| async move {
                MessageServiceClient::new(channel).send_message(request).await
            })
            .await?;
        answer
            .message
            .ok_or_else(|| Failure::malformed("SendMessage", "message"))
    }

    /// `MessageService.ListMessages`: one page.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn list_messages(&self, request: &ListMessagesRequest) -> Result<ListMessagesResponse, Failure> {
        self.call("ListMessages", request, |channel, request| async move {
            MessageServiceClient::new(channel).list_messages(request).await
        })
        .await
    }

    /// `SyncService.SyncChanges`: one page.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn sync_changes(&self, request: &SyncChangesRequest) -> Result<SyncChangesResponse, Failure> {
        self.call("SyncChanges", request, |channel, request| async move {
            SyncServiceClient::new(channel)
                .max_decoding_message_size(ANSWER_BYTES_MAX)
                .sync_changes(request)
                .await
        })
        .await
    }
}
