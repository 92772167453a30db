//! The stream, the messages and the responses of the one session.

use futures_util::stream;
use tidings_ids::kind;
use tidings_proto_message::v1::{
    self as message, Message, ResponseReference, StreamChangesResponse, message_service_server::MessageService,
    response_service_server::ResponseService, sync_service_server::SyncService,
};
use tonic::{Request, Response, Status};

use super::{Fake, Follower, Frames, SNAPSHOT_MESSAGES, unused};

#[tonic::async_trait]
impl SyncService for Fake {
    type StreamChangesStream = Frames;

    async fn stream_changes(
        &self,
        request: Request<message::StreamChangesRequest>,
    ) -> Result<Response<Self::StreamChangesStream>, Status> {
        self.authorize(&request)?;
        let after = request.into_inner().after.unwrap_or_default();
        let mut state = self.state.lock();
        let position = after.chats.first().map(|chat| usize::try_from(chat.position).unwrap());
        state.opened.push(after);
        let number = state.opened.len();
        drop(state);
        let follower = Follower {
            number,
            is_opened: false,
            position,
        };
        let moved = self.moved.subscribe();
        let frames = stream::unfold(
            (self.clone(), follower, moved),
            |(fake, mut follower, mut moved)| async move {
                loop {
                    if let Some(frame) = fake.next_frame(&mut follower) {
                        let frame = frame.map(|frame| StreamChangesResponse { frame: Some(frame) });
                        return Some((frame, (fake, follower, moved)));
                    }
                    moved.changed().await.ok()?;
                }
            },
        );
        Ok(Response::new(Box::pin(frames)))
    }

    async fn get_sync_state(
        &self,
        _: Request<message::GetSyncStateRequest>,
    ) -> Result<Response<message::GetSyncStateResponse>, Status> {
        unused()
    }

    async fn sync_changes(
        &self,
        _: Request<message::SyncChangesRequest>,
    ) -> Result<Response<message::SyncChangesResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl MessageService for Fake {
    async fn list_messages(
        &self,
        request: Request<message::ListMessagesRequest>,
    ) -> Result<Response<message::ListMessagesResponse>, Status> {
        self.authorize(&request)?;
        let request = request.into_inner();
        assert_eq!(request.order(), message::MessageOrder::NewestFirst);
        // The page token is the sequence that the page before ended at.
        let before = request.page_token.parse().unwrap_or(request.before_sequence);
        let state = self.state.lock();
        let older = state.messages.iter().rev().filter(|message| message.sequence < before);
        let messages: Vec<Message> = older.take(SNAPSHOT_MESSAGES).cloned().collect();
        let last = messages.last().filter(|message| message.sequence > 1);
        Ok(Response::new(message::ListMessagesResponse {
            next_page_token: last.map(|message| message.sequence.to_string()).unwrap_or_default(),
            messages,
            ..message::ListMessagesResponse::default()
        }))
    }

    async fn send_message(
        &self,
        _: Request<message::SendMessageRequest>,
    ) -> Result<Response<message::SendMessageResponse>, Status> {
        unused()
    }

    async fn get_message(
        &self,
        _: Request<message::GetMessageRequest>,
    ) -> Result<Response<message::GetMessageResponse>, Status> {
        unused()
    }

    async fn batch_get_messages(
        &self,
        _: Request<message::BatchGetMessagesRequest>,
    ) -> Result<Response<message::BatchGetMessagesResponse>, Status> {
        unused()
    }

    async fn list_turns(
        &self,
        _: Request<message::ListTurnsRequest>,
    ) -> Result<Response<message::ListTurnsResponse>, Status> {
        unused()
    }

    async fn update_message(
        &self,
        _: Request<message::UpdateMessageRequest>,
    ) -> Result<Response<message::UpdateMessageResponse>, Status> {
        unused()
    }

    async fn delete_message(
        &self,
        _: Request<message::DeleteMessageRequest>,
    ) -> Result<Response<message::DeleteMessageResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl ResponseService for Fake {
    async fn create_response(
        &self,
        request: Request<message::CreateResponseRequest>,
    ) -> Result<Response<message::CreateResponseResponse>, Status> {
        self.authorize(&request)?;
        let request = request.into_inner();
        let mut state = self.state.lock();
        if state.refused.as_ref() == Some(&request.message_id) {
            return Err(Status::failed_precondition("the message is deleted"));
        }
        if state.failures > 0 {
            state.failures -= 1;
            return Err(Status::unavailable("not now"));
        }
        if !state.responses.contains_key(&request.request_id) {
            let id = self.source.new_id::<kind::Message>().to_string();
            let response = Message {
                response: Some(ResponseReference {
                    to_message_id: request.message_id,
                    ..ResponseReference::default()
                }),
                ..state.message(id, state.assistant, &request.text)
            };
            state.responses.insert(request.request_id, response.clone());
            state.messages.push(response);
        }
        let is_lost = state.lost_answers > 0;
        state.lost_answers = state.lost_answers.saturating_sub(1);
        drop(state);
        self.wake();
        if is_lost {
            return Err(Status::unavailable("the connection broke"));
        }
        Ok(Response::new(message::CreateResponseResponse::default()))
    }

    async fn get_response(
        &self,
        _: Request<message::GetResponseRequest>,
    ) -> Result<Response<message::GetResponseResponse>, Status> {
        unused()
    }

    async fn list_responses(
        &self,
        _: Request<message::ListResponsesRequest>,
    ) -> Result<Response<message::ListResponsesResponse>, Status> {
        unused()
    }
}
