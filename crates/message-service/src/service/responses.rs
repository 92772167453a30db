use std::sync::Arc;

use prost::Message as _;
use tidings_authn::Caller;
use tidings_ids::{UserId, kind};
use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_proto_message::v1::{
    CreateResponseRequest, CreateResponseResponse, GetResponseRequest, GetResponseResponse, ListResponsesRequest,
    ListResponsesResponse, MessageType, response_service_server::ResponseService,
};
use tidings_rpc::{Problem, Violations, caller};
use tonic::{Request, Response, Status};

use super::{Rpcs, Shared, parse, scope};
use crate::{
    Error, convert,
    page::PAGE_BYTES_MAX,
    read,
    requests::{Call, Method},
    send::{Item, Outcome, ResponseTo},
};

#[tonic::async_trait]
impl ResponseService for Rpcs {
    async fn create_response(
        &self,
        request: Request<CreateResponseRequest>,
    ) -> Result<Response<CreateResponseResponse>, Status> {
        let caller = caller(&request)?;
        let item = Arc::new(self.shared.parse_response(&caller, request.into_inner())?);
        let (id, sequence) = match self.shared.sends.send(Arc::clone(&item)).await.map_err(Problem::from)? {
            Outcome::Stored { sequence, .. } => (item.message_id, sequence),
            Outcome::Repeated { message_id, sequence } => (message_id, sequence),
            refusal => return Err(refusal.problem().into()),
        };
        let response = match (self.shared.after_send(&item, id).await?, item.response_to) {
            (None, Some(to)) => Some(convert::unseen_response(item.chat_id, id, to.message_id, sequence)),
            (message, _) => message.as_ref().and_then(convert::response),
        };
        Ok(Response::new(CreateResponseResponse { response }))
    }

    async fn get_response(
        &self,
        request: Request<GetResponseRequest>,
    ) -> Result<Response<GetResponseResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let response_id = violations.id::<kind::Message>("response_id", &request.response_id);
        violations.finish()?;
        let (chat_id, id) = (
            chat_id.expect("it had no violation"),
            response_id.expect("it had no violation"),
        );
        let message = read::message(&self.shared.pool, chat_id, caller_id, id)
            .await
            .map_err(Error::from)?;
        let response = message
            .as_ref()
            .and_then(convert::response)
            .ok_or_else(Problem::not_found)?;
        Ok(Response::new(GetResponseResponse {
            response: Some(response),
        }))
    }

    async fn list_responses(
        &self,
        request: Request<ListResponsesRequest>,
    ) -> Result<Response<ListResponsesResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let response = self.shared.list_responses(caller_id, request.into_inner()).await?;
        Ok(Response::new(response))
    }
}

impl Shared {
    fn parse_response(&self, caller: &Caller, mut request: CreateResponseRequest) -> Result<Item, Problem> {
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let message_id = violations.id::<kind::Message>("message_id", &request.message_id);
        let request_id = violations.optional_id::<kind::Request>("request_id", &request.request_id);
        let attachment_id = violations.optional_id::<kind::Attachment>("attachment_id", &request.attachment_id);
        let has_attachment = !request.attachment_id.is_empty();
        let expected_type = match MessageType::try_from(request.r#type) {
            Ok(MessageType::Unspecified) => None,
            Ok(expected @ (MessageType::Image | MessageType::Video)) if has_attachment => Some(expected),
            Ok(MessageType::Text) if !has_attachment => Some(MessageType::Text),
            _ => {
                violations.add("type", "must be text, image or video, and what the attachment makes it");
                None
            }
        };
        parse::text(&mut violations, &request.text, has_attachment);
        violations.finish()?;
        if request.streaming {
            return Err(Problem::new(ErrorReason::FeatureDisabled));
        }

        request.request_id.clear();
        let request_hash = Call::hash(&self.env.hasher, Method::CreateResponse, &request);
        Ok(Item {
            chat_id: chat_id.expect("it had no violation"),
            caller_id: caller.user_id,
            method: Method::CreateResponse,
            request_id: Call::request_id(request_id, &self.env.source),
            request_hash,
            message_id: self.env.source.new_id(),
            text: request.text,
            metadata: std::collections::BTreeMap::new(),
            reply_to: None,
            attachment_ids: attachment_id.into_iter().collect(),
            response_to: Some(ResponseTo {
                message_id: message_id.expect("it had no violation"),
                may_respond: caller.holds(Permission::ResponsesCreate),
                expected_type,
            }),
        })
    }

    async fn list_responses(
        &self,
        caller_id: UserId,
        mut request: ListResponsesRequest,
    ) -> Result<ListResponsesResponse, Error> {
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let message_id = violations.id::<kind::Message>("message_id", &request.message_id);
        let size = self.page_size(request.page_size);
        if size.is_err() {
            violations.add("page_size", "must not be negative");
        }
        violations.finish()?;
        let (chat_id, message_id) = (
            chat_id.expect("it had no violation"),
            message_id.expect("it had no violation"),
        );
        let size = i64::from(size?);
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let scope = scope(
            caller_id,
            "tidings.message.v1.ResponseService/ListResponses",
            &arguments,
        );
        let cursor = self.read_cursor(scope, &token)?;

        if read::message(&self.pool, chat_id, caller_id, message_id)
            .await?
            .is_none()
        {
            return Err(Problem::not_found().into());
        }
        let after = cursor.unwrap_or(0);
        let found = read::responses_to(&self.pool, chat_id, caller_id, &[message_id], after, size + 1).await?;
        let mut responses = Vec::new();
        let mut bytes = 0;
        let mut last = after;
        let mut more = false;
        for response in found.iter().filter_map(convert::response) {
            bytes += response.encoded_len();
            let is_full = i64::try_from(responses.len()).unwrap_or(i64::MAX) == size;
            if is_full || (bytes > PAGE_BYTES_MAX && !responses.is_empty()) {
                more = true;
                break;
            }
            last = response.sequence;
            responses.push(response);
        }
        Ok(ListResponsesResponse {
            responses,
            next_page_token: self.next_page_token(scope, more.then_some(last)),
        })
    }
}
