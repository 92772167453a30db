use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tidings_ids::{Source, kind};
use tidings_proto_auth::v1::{LoginRequest, LoginResponse, RegisterRequest, auth_service_client::AuthServiceClient};
use tidings_proto_chat::v1::{CreateConversationRequest, chat_service_client::ChatServiceClient};
use tidings_proto_common::v1::Permission;
use tidings_proto_user::v1::{AssignRoleRequest, CreateRoleRequest, role_service_client::RoleServiceClient};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use super::Options;
use crate::client::{authorized, channel};

/// A mail is written within this, or the outbox stands still.
const MAIL_LIMIT: Duration = Duration::from_secs(20);

/// What all rounds have in common.
pub struct Stage {
    pub gateway: Channel,
    /// One for each process of the message service.
    pub nodes: Vec<Channel>,
    pub mail_dir: Option<PathBuf>,
    pub admin_token: String,
    /// What is taken from users whose role is removed.
    pub role_id: String,
    source: Source,
}

/// Somebody who is logged in and has a chat.
#[derive(Debug, Clone)]
pub struct User {
    pub user_id: String,
    pub username: String,
    pub email: String,
    pub password: String,
    pub access_token: String,
    pub login_session_id: String,
    pub chat_id: String,
}

impl Stage {
    pub async fn set(options: &Options) -> Result<Self> {
        let mut stage = Self {
            gateway: channel(&options.gateway)?,
            nodes: options
                .nodes
                .iter()
                .map(|node| channel(node))
                .collect::<Result<_, _>>()?,
            mail_dir: options.mail_dir.clone(),
            admin_token: String::new(),
            role_id: String::new(),
            source: Source::system(),
        };
        let admin = &options.admin;
        let session = stage.session_of(&admin.username, &admin.password).await;
        stage.admin_token = session.context("the administrator cannot log in")?.access_token;
        let create = CreateRoleRequest {
            name: format!("measured-{}", stage.fresh()),
            permissions: vec![Permission::UsersReadPrivate.into()],
            request_id: stage.request_id(),
            ..CreateRoleRequest::default()
        };
        let create = authorized(create, &stage.admin_token);
        let created = RoleServiceClient::new(stage.gateway.clone())
            .create_role(create)
            .await?;
        stage.role_id = created.into_inner().role.context("no role")?.role_id;
        Ok(stage)
    }

    /// A new user, with the role.
    pub async fn user(&self) -> Result<User> {
        let username = format!("measured-{}", self.fresh());
        let mut user = User {
            user_id: String::new(),
            email: format!("{username}@load.invalid"),
            password: format!("correct horse {username}"),
            access_token: String::new(),
            login_session_id: String::new(),
            chat_id: String::new(),
            username,
        };
        let register = RegisterRequest {
            username: user.username.clone(),
            email: user.email.clone(),
            password: user.password.clone(),
            request_id: self.request_id(),
            ..RegisterRequest::default()
        };
        let registered = AuthServiceClient::new(self.gateway.clone()).register(register).await?;
        user.user_id = registered.into_inner().user_id;
        let assign = AssignRoleRequest {
            role_id: self.role_id.clone(),
            user_id: user.user_id.clone(),
            request_id: self.request_id(),
        };
        let assign = authorized(assign, &self.admin_token);
        RoleServiceClient::new(self.gateway.clone()).assign_role(assign).await?;
        let session = self.log_in(&user).await?;
        user.access_token = session.access_token;
        user.login_session_id = session.login_session_id;
        Ok(user)
    }

    /// A new user with a chat with another.
    pub async fn user_with_chat(&self, other: &User) -> Result<User> {
        let mut user = self.user().await?;
        let create = CreateConversationRequest {
            user_ids: vec![other.user_id.clone()],
            request_id: self.request_id(),
            ..CreateConversationRequest::default()
        };
        let create = authorized(create, &user.access_token);
        let created = ChatServiceClient::new(self.gateway.clone())
            .create_conversation(create)
            .await?;
        user.chat_id = created.into_inner().chat.context("no chat")?.chat_id;
        Ok(user)
    }

    /// Another login session of a user.
    pub async fn log_in(&self, user: &User) -> Result<LoginResponse> {
        self.session_of(&user.username, &user.password).await
    }

    async fn session_of(&self, identifier: &str, password: &str) -> Result<LoginResponse> {
        let login = LoginRequest {
            identifier: identifier.to_owned(),
            password: password.to_owned(),
            ..LoginRequest::default()
        };
        let answer = AuthServiceClient::new(self.gateway.clone()).login(login).await?;
        Ok(answer.into_inner())
    }

    pub fn request_id(&self) -> String {
        self.source.new_id::<kind::Request>().to_string()
    }

    /// Ten characters that no other name has.
    fn fresh(&self) -> String {
        self.request_id()[26..].to_owned()
    }
}

/// Waits for the mail to an address, and returns the token in its link.
pub async fn token_mailed_to(folder: &Path, address: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        if let Some(token) = mails(folder).iter().find_map(|mail| token_in(mail, address)) {
            return Ok(token);
        }
        if begun.elapsed() > MAIL_LIMIT {
            bail!("no mail to {address} in {}", folder.display());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn mails(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .collect()
}

/// What follows `token=` in a mail to this address, whose lines are folded as quoted-printable.
fn token_in(mail: &str, address: &str) -> Option<String> {
    let mail = mail.replace("=\r\n", "").replace("=\n", "").replace("=3D", "=");
    let is_to = |line: &str| line.starts_with("To:") && line.contains(address);
    mail.lines().find(|line| is_to(line))?;
    let (_, rest) = mail.split_once("token=")?;
    let token = rest
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')))
        .next()?;
    Some(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::token_in;

    #[test]
    fn the_token_in_a_folded_mail_is_whole() {
        let mail = "To: <ada@load.invalid>\r\nSubject: x\r\n\r\nhttp://h/reset?token=3Dab-c=\r\n_d1&x\r\n";
        assert_eq!(token_in(mail, "ada@load.invalid").as_deref(), Some("ab-c_d1"));
        assert_eq!(token_in(mail, "bob@load.invalid"), None);
    }
}
