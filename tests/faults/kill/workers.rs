//! What each of the clients does again and again, until it is to stop.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use prost_types::FieldMask;
use tidings_load::{
    client::{Account, Client, Failure, Session},
    compare::LINE_KEY,
    identity::Identities,
};
use tidings_proto_auth::v1::{
    LoginRequest, RefreshTokenRequest, RegisterRequest, auth_service_client::AuthServiceClient,
};
use tidings_proto_message::v1::{Message, SendMessageRequest, message_service_client::MessageServiceClient};
use tidings_proto_user::v1::{UpdateUserRequest, user_service_client::UserServiceClient};
use tokio::time::Instant;

use super::ledger::{Acknowledged, Founded, Kind, Ledger, Registered, Sent, is_older};

/// A sender's lines begin at a multiple of this, so that no two have the same.
const LINES_PER_SENDER: u64 = 1_000_000;

/// What every worker has.
#[derive(Clone)]
pub struct Worker {
    pub client: Client,
    pub ledger: Arc<Ledger>,
    pub ids: Identities,
    pub stop: Arc<AtomicBool>,
}

impl Worker {
    async fn send(&self, session: &Session, request: &SendMessageRequest) -> Result<Message, Failure> {
        let begun = Mutex::new(self.client.source().now());
        let response = session
            .call("SendMessage", request, |channel, request| {
                *begun.lock() = self.client.source().now();
                let ledger = Arc::clone(&self.ledger);
                async move {
                    let mut messages = MessageServiceClient::new(channel);
                    ledger.fly(Kind::Send, messages.send_message(request)).await
                }
            })
            .await?;
        let message = response.message.expect("an OK carries the message");
        if is_older(&message, *begun.lock()) {
            self.ledger.note(|ledger| ledger.answered_late += 1);
        }
        Ok(message)
    }

    /// Sends one message after the other.
    pub async fn send_on(self, session: Session, chat: usize, chat_id: String, sender: usize) {
        let first = LINES_PER_SENDER * u64::try_from(sender).expect("few senders");
        for line in first.. {
            let (chat_name, line_name) = (chat.to_string(), line.to_string());
            let request = SendMessageRequest {
                chat_id: chat_id.clone(),
                text: format!("line {line} of chat {chat}, {}", self.ids.run()),
                request_id: self.ids.request_id("send", &[&chat_name, &line_name]),
                metadata: BTreeMap::from([(LINE_KEY.to_owned(), line_name)]),
                ..SendMessageRequest::default()
            };
            let invoked = Instant::now();
            let outcome = self.send(&session, &request).await;
            let sent = outcome.map(|message| Sent {
                chat,
                sender_id: session.user_id().to_owned(),
                line,
                request_id: request.request_id,
                text: request.text,
                message_id: message.message_id,
                sequence: message.sequence,
                invoked,
                acknowledged: Instant::now(),
            });
            if self.is_over(sent, |ledger, sent| ledger.sent.push(sent)) {
                return;
            }
        }
    }

    /// Creates one chat after the other, and at once sends the first message in it.
    pub async fn found_on(self, session: Session, founder: usize) {
        let group_id = match self.found_group(&session, &format!("founder {founder}")).await {
            Ok(group_id) => group_id,
            Err(failure) => return self.ledger.note(|ledger| ledger.failures.push(failure)),
        };
        for number in 0.. {
            let title = format!("chat {number} of founder {founder}");
            let founded = self.found(&session, &group_id, title).await;
            let founded = founded.map(|(title, chat_id, first_sequence)| Founded {
                founder,
                title,
                chat_id,
                first_sequence,
            });
            if self.is_over(founded, |ledger, founded| ledger.founded.push(founded)) {
                return;
            }
        }
    }

    async fn found(&self, session: &Session, group_id: &str, title: String) -> Result<(String, String, i64), Failure> {
        let chat_id = self.create_chat(session, group_id, &title).await?;
        let request = SendMessageRequest {
            chat_id: chat_id.clone(),
            text: format!("first in {title}"),
            request_id: self.ids.request_id("send", &[&title]),
            ..SendMessageRequest::default()
        };
        let first = self.send(session, &request).await?;
        Ok((title, chat_id, first.sequence))
    }

    /// Registers one user after the other.
    pub async fn register_on(self, registrar: usize) {
        for number in 0.. {
            let account = self.account(&format!("newcomer-{registrar}-{number}"));
            let request = RegisterRequest {
                username: account.username.clone(),
                email: account.email,
                password: account.password.clone(),
                display_name: account.display_name,
                request_id: account.request_id,
                ..RegisterRequest::default()
            };
            let outcome = self.client.call("Register", &request, |channel, request| {
                let ledger = Arc::clone(&self.ledger);
                async move {
                    let mut auth = AuthServiceClient::new(channel);
                    ledger.fly(Kind::Register, auth.register(request)).await
                }
            });
            let registered = outcome.await.map(|response| Registered {
                username: account.username,
                password: account.password,
                user_id: response.user_id,
            });
            if self.is_over(registered, |ledger, registered| ledger.registered.push(registered)) {
                return;
            }
        }
    }

    /// Changes the same profile again and again.
    pub async fn update_on(self, session: Session, editor: usize) {
        for number in 0_u64.. {
            let bio = format!("version {number}");
            let request = UpdateUserRequest {
                user_id: session.user_id().to_owned(),
                bio: bio.clone(),
                update_mask: Some(FieldMask {
                    paths: vec!["bio".to_owned()],
                }),
                request_id: self.ids.request_id("update", &[session.user_id(), &bio]),
                ..UpdateUserRequest::default()
            };
            let outcome = session.call("UpdateUser", &request, |channel, request| {
                let ledger = Arc::clone(&self.ledger);
                async move {
                    let mut users = UserServiceClient::new(channel);
                    ledger.fly(Kind::Update, users.update_user(request)).await
                }
            });
            let updated = outcome.await.map(|_user| (editor, bio));
            if self.is_over(updated, |ledger, updated| ledger.updated.push(updated)) {
                return;
            }
        }
    }

    /// Refreshes one token after the other. Where an answer is lost, the same request gets it again, and the login session lives.
    pub async fn refresh_on(self, account: Account) {
        let login = LoginRequest {
            identifier: account.username,
            password: account.password,
            ..LoginRequest::default()
        };
        let login = self.client.call("Login", &login, |channel, request| async move {
            AuthServiceClient::new(channel).login(request).await
        });
        let mut token = match login.await {
            Ok(login) => login.refresh_token,
            Err(failure) => return self.ledger.note(|ledger| ledger.failures.push(failure)),
        };
        for number in 0_u64.. {
            let request = RefreshTokenRequest {
                refresh_token: token,
                request_id: self.ids.request_id("refresh", &[&number.to_string()]),
            };
            let outcome = self.client.call("RefreshToken", &request, |channel, request| {
                let ledger = Arc::clone(&self.ledger);
                async move {
                    let mut auth = AuthServiceClient::new(channel);
                    ledger.fly(Kind::Refresh, auth.refresh_token(request)).await
                }
            });
            let mut next = String::new();
            let refreshed = outcome.await.map(|response| next = response.refresh_token);
            if self.is_over(refreshed, |ledger, ()| ledger.refreshed += 1) {
                return;
            }
            token = next;
        }
    }

    /// Notes the outcome of a call, and says whether the worker is to stop.
    fn is_over<T>(&self, outcome: Result<T, Failure>, note: impl FnOnce(&mut Acknowledged, T)) -> bool {
        let refused = outcome.is_err();
        self.ledger.note(|ledger| match outcome {
            Ok(acknowledged) => note(ledger, acknowledged),
            Err(failure) => ledger.failures.push(failure),
        });
        refused || self.stop.load(Ordering::Relaxed)
    }
}
