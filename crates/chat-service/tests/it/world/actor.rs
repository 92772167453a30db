//! Those who call with an access token.

use tidings_proto_chat::v1::{
    AddChatMemberRequest, AddMemberRequest, Chat, ChatMember, ChatSession, CreateChatRequest, CreateChatSessionRequest,
    CreateConversationRequest, CreateGroupRequest, GetChatRequest, Group, ListChatMembersRequest, ListMembersRequest,
    Membership, OpenDirectChatRequest, RemoveChatMemberRequest, RemoveMemberRequest,
    chat_service_client::ChatServiceClient, chat_session_service_client::ChatSessionServiceClient,
    group_service_client::GroupServiceClient, membership_service_client::MembershipServiceClient,
};
use tidings_proto_common::v1::ChatRole;
use tidings_rpc::Peer;
use tonic::{Request, Status};

use super::{Actor, World};

impl World {
    /// A program with an account, who can be a session's assistant.
    pub async fn bot(&self) -> Actor {
        let bot = self.user().await;
        self.users.bots.lock().await.insert(bot.id.clone());
        bot
    }
}

impl Actor {
    /// A request with the actor's token.
    pub fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub fn groups(&self) -> GroupServiceClient<Peer> {
        GroupServiceClient::new(self.peer.clone())
    }

    pub fn memberships(&self) -> MembershipServiceClient<Peer> {
        MembershipServiceClient::new(self.peer.clone())
    }

    pub fn chats(&self) -> ChatServiceClient<Peer> {
        ChatServiceClient::new(self.peer.clone())
    }

    pub fn sessions(&self) -> ChatSessionServiceClient<Peer> {
        ChatSessionServiceClient::new(self.peer.clone())
    }

    pub fn request_id(&self) -> String {
        self.source.new_id::<tidings_ids::kind::Request>().to_string()
    }

    /// A group of which the actor is the owner.
    pub async fn group(&self) -> Group {
        let request = CreateGroupRequest {
            display_name: "Crew".to_owned(),
            ..CreateGroupRequest::default()
        };
        let response = self.groups().create_group(self.asks(request)).await.expect("a group");
        response.into_inner().group.expect("a group")
    }

    pub async fn add(&self, group: &Group, user: &Actor, role: ChatRole) -> Result<Option<Membership>, Status> {
        let request = AddMemberRequest {
            group_id: group.group_id.clone(),
            user_id: user.id.clone(),
            role: role.into(),
            request_id: self.request_id(),
        };
        Ok(self
            .memberships()
            .add_member(self.asks(request))
            .await?
            .into_inner()
            .membership)
    }

    pub async fn remove(&self, group: &Group, user: &Actor) -> Result<(), Status> {
        let request = RemoveMemberRequest {
            group_id: group.group_id.clone(),
            user_id: user.id.clone(),
            request_id: self.request_id(),
        };
        self.memberships().remove_member(self.asks(request)).await.map(drop)
    }

    /// The members of a group with their roles: one page.
    pub async fn members(&self, group: &Group) -> Result<Vec<(String, ChatRole)>, Status> {
        let request = ListMembersRequest {
            group_id: group.group_id.clone(),
            ..ListMembersRequest::default()
        };
        let list = self
            .memberships()
            .list_members(self.asks(request))
            .await?
            .into_inner()
            .memberships;
        Ok(list
            .into_iter()
            .map(|member| (member.user_id.clone(), member.role()))
            .collect())
    }

    pub async fn chat_in(&self, group: &Group, title: &str) -> Result<Chat, Status> {
        let request = CreateChatRequest {
            group_id: group.group_id.clone(),
            title: title.to_owned(),
            ..CreateChatRequest::default()
        };
        let response = self.chats().create_chat(self.asks(request)).await?;
        Ok(response.into_inner().chat.expect("a chat"))
    }

    pub async fn conversation(&self, others: &[&Actor]) -> Chat {
        let request = CreateConversationRequest {
            user_ids: others.iter().map(|other| other.id.clone()).collect(),
            ..CreateConversationRequest::default()
        };
        let response = self
            .chats()
            .create_conversation(self.asks(request))
            .await
            .expect("a conversation");
        response.into_inner().chat.expect("a chat")
    }

    pub async fn direct(&self, other: &Actor) -> Result<Chat, Status> {
        let request = OpenDirectChatRequest {
            user_id: other.id.clone(),
        };
        let response = self.chats().open_direct_chat(self.asks(request)).await?;
        Ok(response.into_inner().chat.expect("a chat"))
    }

    pub async fn session(&self, assistant: &Actor) -> Result<ChatSession, Status> {
        let request = CreateChatSessionRequest {
            assistant_user_id: assistant.id.clone(),
            ..CreateChatSessionRequest::default()
        };
        let response = self.sessions().create_chat_session(self.asks(request)).await?;
        Ok(response.into_inner().session.expect("a session"))
    }

    pub async fn see(&self, chat_id: &str) -> Result<Chat, Status> {
        let request = GetChatRequest {
            chat_id: chat_id.to_owned(),
        };
        let response = self.chats().get_chat(self.asks(request)).await?;
        Ok(response.into_inner().chat.expect("a chat"))
    }

    pub async fn add_to_chat(&self, chat: &Chat, user: &Actor, role: ChatRole) -> Result<(), Status> {
        let request = AddChatMemberRequest {
            chat_id: chat.chat_id.clone(),
            user_id: user.id.clone(),
            role: role.into(),
            request_id: self.request_id(),
        };
        self.chats().add_chat_member(self.asks(request)).await.map(drop)
    }

    pub async fn remove_from_chat(&self, chat: &Chat, user: &Actor) -> Result<(), Status> {
        let request = RemoveChatMemberRequest {
            chat_id: chat.chat_id.clone(),
            user_id: user.id.clone(),
            request_id: self.request_id(),
        };
        self.chats().remove_chat_member(self.asks(request)).await.map(drop)
    }

    pub async fn chat_members(&self, chat_id: &str) -> Result<Vec<ChatMember>, Status> {
        let request = ListChatMembersRequest {
            chat_id: chat_id.to_owned(),
            ..ListChatMembersRequest::default()
        };
        Ok(self
            .chats()
            .list_chat_members(self.asks(request))
            .await?
            .into_inner()
            .members)
    }
}
