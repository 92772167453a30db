//! Those who call with an access token.

use tidings_proto_message::v1::{
    GetMessageRequest, ListMessagesRequest, ListMessagesResponse, Message, SendMessageRequest,
    attachment_service_client::AttachmentServiceClient, message_service_client::MessageServiceClient,
    response_service_client::ResponseServiceClient,
};
use tidings_rpc::Peer;
use tonic::{Request, Status};

use super::Actor;

impl Actor {
    /// A request with the actor's token.
    pub fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub fn messages(&self) -> MessageServiceClient<Peer> {
        MessageServiceClient::new(self.peer()).max_decoding_message_size(16 * 1024 * 1024)
    }

    pub fn responses(&self) -> ResponseServiceClient<Peer> {
        ResponseServiceClient::new(self.peer())
    }

    pub fn attachments(&self) -> AttachmentServiceClient<Peer> {
        AttachmentServiceClient::new(self.peer())
    }

    /// The connection that the actor calls by.
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    pub fn request_id(&self) -> String {
        self.source.new_id::<tidings_ids::kind::Request>().to_string()
    }

    pub async fn send(&self, chat_id: &str, text: &str) -> Result<Message, Status> {
        self.send_as(self.message(chat_id, text)).await
    }

    /// A message with an id for repetitions, not sent yet.
    pub fn message(&self, chat_id: &str, text: &str) -> SendMessageRequest {
        SendMessageRequest {
            chat_id: chat_id.to_owned(),
            text: text.to_owned(),
            request_id: self.request_id(),
            ..SendMessageRequest::default()
        }
    }

    pub async fn send_as(&self, request: SendMessageRequest) -> Result<Message, Status> {
        let response = self.messages().send_message(self.asks(request)).await?;
        Ok(response.into_inner().message.expect("a message"))
    }

    pub async fn get(&self, chat_id: &str, message_id: &str) -> Result<Message, Status> {
        let request = GetMessageRequest {
            chat_id: chat_id.to_owned(),
            message_id: message_id.to_owned(),
        };
        let response = self.messages().get_message(self.asks(request)).await?;
        Ok(response.into_inner().message.expect("a message"))
    }

    pub async fn list(&self, request: ListMessagesRequest) -> Result<ListMessagesResponse, Status> {
        Ok(self.messages().list_messages(self.asks(request)).await?.into_inner())
    }

    /// The texts of one page, oldest first.
    pub async fn texts(&self, chat_id: &str) -> Result<Vec<String>, Status> {
        let request = ListMessagesRequest {
            chat_id: chat_id.to_owned(),
            page_size: 200,
            ..ListMessagesRequest::default()
        };
        Ok(self
            .list(request)
            .await?
            .messages
            .into_iter()
            .map(|message| message.text)
            .collect())
    }

    /// The id of a chat that does not exist.
    pub fn nowhere(&self) -> String {
        self.source.new_id::<tidings_ids::kind::Chat>().to_string()
    }
}
