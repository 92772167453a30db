use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tidings_proto_message::v1::{SendMessageRequest, message_service_client::MessageServiceClient};
use tokio::{sync::watch, task::JoinHandle};
use tonic::{Code, transport::Channel};

use super::stage::{Stage, User};
use crate::client::authorized;

/// Users who send all the while, to the processes in turn.
pub struct Background {
    stop: watch::Sender<bool>,
    senders: Vec<JoinHandle<Result<u64>>>,
}

impl Background {
    pub async fn begin(stage: &Arc<Stage>, senders: usize) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut background = Self {
            stop,
            senders: Vec::new(),
        };
        if senders == 0 {
            return Ok(background);
        }
        let other = stage.user().await?;
        for number in 0..senders {
            let user = stage.user_with_chat(&other).await?;
            let node = stage.nodes[number % stage.nodes.len()].clone();
            let sending = send(Arc::clone(stage), node, user, stopped.clone());
            background.senders.push(tokio::spawn(sending));
        }
        Ok(background)
    }

    /// Stops, and returns how many messages were stored.
    pub async fn end(self) -> Result<u64> {
        self.stop.send_replace(true);
        let mut sends = 0;
        let any = !self.senders.is_empty();
        for sender in self.senders {
            sends += sender.await.context("a sender panicked")??;
        }
        ensure!(sends > 0 || !any, "nobody sent anything, so there was no load");
        Ok(sends)
    }
}

async fn send(stage: Arc<Stage>, node: Channel, mut user: User, stopped: watch::Receiver<bool>) -> Result<u64> {
    let mut messages = MessageServiceClient::new(node);
    let mut sends = 0;
    while !*stopped.borrow() {
        let request = SendMessageRequest {
            chat_id: user.chat_id.clone(),
            text: format!("message {sends} of those who go on"),
            request_id: stage.request_id(),
            ..SendMessageRequest::default()
        };
        match messages.send_message(authorized(request, &user.access_token)).await {
            Ok(_) => sends += 1,
            // A token lives ten minutes.
            Err(status) if status.code() == Code::Unauthenticated => {
                user.access_token = stage.log_in(&user).await?.access_token;
            }
            Err(status) => return Err(status).context("a sender of the load was refused"),
        }
    }
    Ok(sends)
}
