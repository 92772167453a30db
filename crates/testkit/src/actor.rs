use tidings_ids::{Source, UserId};
use tidings_proto_auth::v1::{
    LoginRequest, LoginResponse, RegisterRequest, auth_service_client::AuthServiceClient,
    credential_service_client::CredentialServiceClient, service_account_service_client::ServiceAccountServiceClient,
};
use tidings_proto_chat::v1::{
    AddMemberRequest, Chat, CreateChatRequest, CreateConversationRequest, CreateGroupRequest, OpenDirectChatRequest,
    RemoveMemberRequest, chat_service_client::ChatServiceClient, chat_session_service_client::ChatSessionServiceClient,
    group_service_client::GroupServiceClient, membership_service_client::MembershipServiceClient,
};
use tidings_proto_message::v1::{
    ListMessagesRequest, Message, SendMessageRequest, StreamChangesRequest, StreamChangesResponse,
    attachment_service_client::AttachmentServiceClient, message_service_client::MessageServiceClient,
    response_service_client::ResponseServiceClient, sync_service_client::SyncServiceClient,
};
use tidings_proto_user::v1::{
    block_service_client::BlockServiceClient, role_service_client::RoleServiceClient,
    user_service_client::UserServiceClient,
};
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

/// A channel that carries an actor's access token.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Adds an access token to each call.
#[derive(Debug, Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A user who is logged in.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The name that the actor logs in with.
    pub username: String,
    /// The address that mails to the actor go to.
    pub email: String,
    /// The password.
    pub password: String,
    /// The user.
    pub user_id: String,
    /// The login session.
    pub login_session_id: String,
    /// The token of this moment.
    pub access_token: String,
    /// What gets the next token.
    pub refresh_token: String,
    channel: Channel,
}

/// The client of an actor's calls to one service.
macro_rules! clients {
    ($($name:ident: $client:ident, $what:literal;)+) => {$(
        #[doc = concat!("The client of ", $what, ", with the actor's token.")]
        #[must_use]
        pub fn $name(&self) -> $client<Connection> {
            $client::new(self.connection())
        }
    )+};
}

impl Actor {
    /// Registers a new user whose name begins with `name`, and logs in.
    ///
    /// # Panics
    ///
    /// When the suite refuses.
    pub async fn register(channel: &Channel, name: &str) -> Self {
        let username = format!("{name}-{}", fresh());
        let email = format!("{username}@example.org");
        let password = format!("correct horse {username}");
        let register = RegisterRequest {
            username: username.clone(),
            email: email.clone(),
            password: password.clone(),
            display_name: name.to_owned(),
            bio: String::new(),
            request_id: request_id(),
        };
        let mut auth = AuthServiceClient::new(channel.clone());
        auth.register(register)
            .await
            .unwrap_or_else(|status| panic!("{name} cannot register: {status:?}"));
        Self::login(channel, &username, &email, &password)
            .await
            .unwrap_or_else(|status| panic!("{name} cannot log in: {status:?}"))
    }

    /// Logs in as somebody who is registered.
    ///
    /// # Errors
    ///
    /// Why that is refused.
    pub async fn login(channel: &Channel, username: &str, email: &str, password: &str) -> Result<Self, Status> {
        let login = LoginRequest {
            identifier: username.to_owned(),
            password: password.to_owned(),
            device_label: "test".to_owned(),
            ..LoginRequest::default()
        };
        let LoginResponse {
            access_token,
            refresh_token,
            login_session_id,
            user_id,
            ..
        } = AuthServiceClient::new(channel.clone()).login(login).await?.into_inner();
        Ok(Self {
            username: username.to_owned(),
            email: email.to_owned(),
            password: password.to_owned(),
            user_id,
            login_session_id,
            access_token,
            refresh_token,
            channel: channel.clone(),
        })
    }

    /// The same user in another login session.
    ///
    /// # Errors
    ///
    /// Why the login is refused.
    pub async fn login_again(&self) -> Result<Self, Status> {
        Self::login(&self.channel, &self.username, &self.email, &self.password).await
    }

    /// The same user with the same token, over another way to the suite.
    #[must_use]
    pub fn through(&self, channel: &Channel) -> Self {
        Self {
            channel: channel.clone(),
            ..self.clone()
        }
    }

    /// The same user with another token.
    #[must_use]
    pub fn with_token(self, access_token: String) -> Self {
        Self { access_token, ..self }
    }

    fn connection(&self) -> Connection {
        let bearer = format!("Bearer {}", self.access_token)
            .parse()
            .expect("a token is ASCII");
        InterceptedService::new(self.channel.clone(), Bearer(bearer))
    }

    clients! {
        auth: AuthServiceClient, "login sessions";
        credentials: CredentialServiceClient, "credentials";
        service_accounts: ServiceAccountServiceClient, "service accounts";
        users: UserServiceClient, "users";
        roles: RoleServiceClient, "roles";
        blocks: BlockServiceClient, "blocks";
        groups: GroupServiceClient, "groups";
        memberships: MembershipServiceClient, "memberships";
        chats: ChatServiceClient, "chats";
        sessions: ChatSessionServiceClient, "assistant sessions";
        messages: MessageServiceClient, "messages";
        sync: SyncServiceClient, "sync";
        responses: ResponseServiceClient, "responses";
        attachments: AttachmentServiceClient, "attachments";
    }

    /// Opens the direct chat with somebody.
    ///
    /// # Panics
    ///
    /// When the suite refuses.
    pub async fn direct_chat(&self, with: &Self) -> Chat {
        let request = OpenDirectChatRequest {
            user_id: with.user_id.clone(),
        };
        let response = self
            .chats()
            .open_direct_chat(request)
            .await
            .expect("opens a direct chat");
        response.into_inner().chat.expect("a chat")
    }

    /// Creates a conversation with some users.
    ///
    /// # Panics
    ///
    /// When the suite refuses.
    pub async fn conversation(&self, with: &[&Self]) -> Chat {
        let request = CreateConversationRequest {
            user_ids: with.iter().map(|actor| actor.user_id.clone()).collect(),
            title: "a conversation".to_owned(),
            request_id: request_id(),
            ..CreateConversationRequest::default()
        };
        let response = self
            .chats()
            .create_conversation(request)
            .await
            .expect("creates a conversation");
        response.into_inner().chat.expect("a chat")
    }

    /// Creates a group with a chat in it, and adds some users.
    ///
    /// # Panics
    ///
    /// When the suite refuses.
    pub async fn group_chat(&self, with: &[&Self]) -> Chat {
        let create = CreateGroupRequest {
            display_name: "a group".to_owned(),
            request_id: request_id(),
            ..CreateGroupRequest::default()
        };
        let group = self
            .groups()
            .create_group(create)
            .await
            .expect("creates a group")
            .into_inner()
            .group
            .expect("a group");
        for member in with {
            self.add(&group.group_id, member).await.expect("adds a member");
        }
        let create = CreateChatRequest {
            group_id: group.group_id,
            title: "a chat".to_owned(),
            request_id: request_id(),
            ..CreateChatRequest::default()
        };
        self.chats()
            .create_chat(create)
            .await
            .expect("creates a chat")
            .into_inner()
            .chat
            .expect("a chat")
    }

    /// Adds somebody to a group.
    ///
    /// # Errors
    ///
    /// Why that is refused.
    pub async fn add(&self, group_id: &str, member: &Self) -> Result<(), Status> {
        let request = AddMemberRequest {
            group_id: group_id.to_owned(),
            user_id: member.user_id.clone(),
            request_id: request_id(),
            ..AddMemberRequest::default()
        };
        self.memberships().add_member(request).await.map(drop)
    }

    /// Removes somebody from a group.
    ///
    /// # Errors
    ///
    /// Why that is refused.
    pub async fn remove(&self, group_id: &str, member: &Self) -> Result<(), Status> {
        let request = RemoveMemberRequest {
            group_id: group_id.to_owned(),
            user_id: member.user_id.clone(),
            request_id: request_id(),
        };
        self.memberships().remove_member(request).await.map(drop)
    }

    /// Sends a text.
    ///
    /// # Errors
    ///
    /// Why that is refused.
    pub async fn send(&self, chat_id: &str, text: &str) -> Result<Message, Status> {
        let request = SendMessageRequest {
            chat_id: chat_id.to_owned(),
            text: text.to_owned(),
            request_id: request_id(),
            ..SendMessageRequest::default()
        };
        let response = self.messages().send_message(request).await?;
        Ok(response.into_inner().message.expect("an OK carries the message"))
    }

    /// All messages of a chat, oldest first.
    ///
    /// # Errors
    ///
    /// Why they are refused.
    pub async fn list(&self, chat_id: &str) -> Result<Vec<Message>, Status> {
        let mut messages = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListMessagesRequest {
                chat_id: chat_id.to_owned(),
                page_size: 200,
                page_token,
                ..ListMessagesRequest::default()
            };
            let page = self.messages().list_messages(request).await?.into_inner();
            messages.extend(page.messages);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(messages);
            }
        }
    }

    /// Opens a stream of changes from the present on.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub async fn listen(&self) -> Result<Streaming<StreamChangesResponse>, Status> {
        let request = StreamChangesRequest::default();
        Ok(self.sync().stream_changes(request).await?.into_inner())
    }
}

/// A new id for a request.
#[must_use]
pub fn request_id() -> String {
    Source::system().new_id::<tidings_ids::kind::Request>().to_string()
}

/// Ten characters that no other name has.
fn fresh() -> String {
    let id: UserId = Source::system().new_id();
    id.to_string()[26..].to_owned()
}
