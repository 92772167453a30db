use anyhow::{Context as _, Result};
use tidings_ids::{Source, kind};
use tidings_proto_auth::v1::{LoginRequest, RegisterRequest, auth_service_client::AuthServiceClient};
use tidings_proto_chat::v1::{CreateConversationRequest, chat_service_client::ChatServiceClient};
use tidings_proto_message::v1::{SendMessageRequest, message_service_client::MessageServiceClient};
use tidings_proto_user::v1::{DeleteUserRequest, user_service_client::UserServiceClient};
use tonic::{Request, transport::Channel};

use crate::client::{authorized, channel};

/// What there is that the outsider may not see, or ids and a name of nothing.
#[derive(Debug, Clone)]
pub struct Hidden {
    pub chat_id: String,
    pub message_id: String,
    /// Of a user who was deleted.
    pub username: String,
}

/// Some users, what they have, and an outsider.
pub struct Stage {
    gateway: Channel,
    source: Source,
    outsider: User,
    own_chat: String,
    hidden: Vec<Hidden>,
}

#[derive(Debug, Clone)]
struct User {
    user_id: String,
    username: String,
    access_token: String,
}

impl Stage {
    pub async fn set(target: &str, things: usize) -> Result<Self> {
        let source = Source::system();
        let gateway = channel(target)?;
        let makers = Makers {
            gateway: gateway.clone(),
            source: source.clone(),
        };
        let (ada, bob) = (makers.user().await?, makers.user().await?);
        let outsider = makers.user().await?;
        let (own_chat, _) = makers.conversation(&outsider, &ada).await?;
        let mut hidden = Vec::with_capacity(things);
        for _ in 0..things {
            let (chat_id, message_id) = makers.conversation(&ada, &bob).await?;
            let gone = makers.user().await?;
            makers.delete(&gone).await?;
            hidden.push(Hidden {
                chat_id,
                message_id,
                username: gone.username,
            });
        }
        Ok(Self {
            gateway,
            source,
            outsider,
            own_chat,
            hidden,
        })
    }

    pub fn channel(&self) -> Channel {
        self.gateway.clone()
    }

    /// A chat that the outsider is in.
    pub fn own_chat(&self) -> &String {
        &self.own_chat
    }

    pub fn by_outsider<M>(&self, message: M) -> Request<M> {
        authorized(message, &self.outsider.access_token)
    }

    /// What there is, in turn.
    pub fn hidden(&self, turn: usize) -> &Hidden {
        &self.hidden[turn % self.hidden.len()]
    }

    /// Ids and a name as those of what is there, of nothing.
    pub fn absent(&self) -> Hidden {
        Hidden {
            chat_id: self.source.new_id::<kind::Chat>().to_string(),
            message_id: self.source.new_id::<kind::Message>().to_string(),
            username: fresh_name(&self.source),
        }
    }

    pub fn coin(&self) -> bool {
        self.source.random::<1>()[0] & 1 == 0
    }
}

struct Makers {
    gateway: Channel,
    source: Source,
}

impl Makers {
    async fn user(&self) -> Result<User> {
        let username = fresh_name(&self.source);
        let password = format!("correct horse {username}");
        let register = RegisterRequest {
            username: username.clone(),
            email: format!("{username}@load.invalid"),
            password: password.clone(),
            request_id: self.request_id(),
            ..RegisterRequest::default()
        };
        let mut auth = AuthServiceClient::new(self.gateway.clone());
        auth.register(register).await.context("nobody can register")?;
        let login = LoginRequest {
            identifier: username.clone(),
            password,
            ..LoginRequest::default()
        };
        let login = auth
            .login(login)
            .await
            .context("registration is not open")?
            .into_inner();
        Ok(User {
            user_id: login.user_id,
            access_token: login.access_token,
            username,
        })
    }

    /// A conversation of two with a message in it, by their ids.
    async fn conversation(&self, one: &User, other: &User) -> Result<(String, String)> {
        let create = CreateConversationRequest {
            user_ids: vec![other.user_id.clone()],
            request_id: self.request_id(),
            ..CreateConversationRequest::default()
        };
        let created = ChatServiceClient::new(self.gateway.clone())
            .create_conversation(authorized(create, &one.access_token))
            .await?;
        let chat_id = created.into_inner().chat.context("no chat")?.chat_id;
        let send = SendMessageRequest {
            chat_id: chat_id.clone(),
            text: "not for outsiders".to_owned(),
            request_id: self.request_id(),
            ..SendMessageRequest::default()
        };
        let sent = MessageServiceClient::new(self.gateway.clone())
            .send_message(authorized(send, &one.access_token))
            .await?;
        let message = sent.into_inner().message.context("no message")?;
        Ok((chat_id, message.message_id))
    }

    async fn delete(&self, user: &User) -> Result<()> {
        let delete = DeleteUserRequest {
            request_id: self.request_id(),
            ..DeleteUserRequest::default()
        };
        UserServiceClient::new(self.gateway.clone())
            .delete_user(authorized(delete, &user.access_token))
            .await?;
        Ok(())
    }

    fn request_id(&self) -> String {
        self.source.new_id::<kind::Request>().to_string()
    }
}

/// A name that no other user has.
fn fresh_name(source: &Source) -> String {
    let id = source.new_id::<kind::Request>().to_string();
    format!("measured-{}", &id[24..])
}
