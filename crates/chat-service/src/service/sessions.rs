use tidings_ids::kind;
use tidings_proto_chat::v1::{
    CloseChatSessionRequest, CloseChatSessionResponse, CreateChatSessionRequest, CreateChatSessionResponse,
    DeleteChatSessionRequest, DeleteChatSessionResponse, GetChatSessionByNumberRequest, GetChatSessionByNumberResponse,
    GetChatSessionRequest, GetChatSessionResponse, ListChatSessionsRequest, ListChatSessionsResponse,
    UpdateChatSessionRequest, UpdateChatSessionResponse, chat_session_service_server::ChatSessionService,
};
use tidings_rpc::{PageScope, Problem, Violations, caller, text::TextRule};
use tonic::{Request, Response, Status};

use super::{Api, chats::read_patch, open, valid};
use crate::{
    convert::{self, Mask},
    session::{NewSession, SessionAnswer},
};

#[tonic::async_trait]
impl ChatSessionService for Api {
    async fn create_chat_session(
        &self,
        request: Request<CreateChatSessionRequest>,
    ) -> Result<Response<CreateChatSessionResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        violations.check("title", TextRule::OPTIONAL_NAME.check(&request.title));
        convert::metadata(&mut violations, &request.metadata);
        let assistant_user_id = violations.optional_id::<kind::User>("assistant_user_id", &request.assistant_user_id);
        if assistant_user_id == Some(caller) {
            violations.add("assistant_user_id", "must be somebody else");
        }
        violations.finish()?;

        let method = "tidings.chat.v1.ChatSessionService/CreateChatSession";
        let call = self.call(method, caller, None, request_id, &request);
        let new = NewSession {
            title: request.title,
            metadata: request.metadata,
            assistant_user_id,
        };
        let answer = self.keeper.create_session(&call, &new).await?;
        Ok(Response::new(CreateChatSessionResponse {
            session: Some(render(answer)),
        }))
    }

    async fn get_chat_session(
        &self,
        request: Request<GetChatSessionRequest>,
    ) -> Result<Response<GetChatSessionResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let chat_id = valid(violations, chat_id)?;

        let session = self.keeper.get_session(caller, chat_id).await?;
        Ok(Response::new(GetChatSessionResponse {
            session: Some(convert::session(session)),
        }))
    }

    async fn get_chat_session_by_number(
        &self,
        request: Request<GetChatSessionByNumberRequest>,
    ) -> Result<Response<GetChatSessionByNumberResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let number = request.into_inner().session_number;
        if number < 1 {
            return Err(Problem::field("session_number", "must be at least 1").into());
        }
        let session = self.keeper.get_session_by_number(caller, number).await?;
        Ok(Response::new(GetChatSessionByNumberResponse {
            session: Some(convert::session(session)),
        }))
    }

    async fn list_chat_sessions(
        &self,
        request: Request<ListChatSessionsRequest>,
    ) -> Result<Response<ListChatSessionsResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let page_size = self.page_size(&mut violations, request.page_size);
        violations.finish()?;
        let method = "tidings.chat.v1.ChatSessionService/ListChatSessions";
        let scope = PageScope {
            caller,
            method,
            arguments: &[],
        };
        let cursor = self.page_tokens.read(scope, &request.page_token)?;
        let after = cursor
            .and_then(|cursor| Some(i64::from_be_bytes(cursor.try_into().ok()?)))
            .unwrap_or(0);

        let (sessions, more) = self.keeper.list_sessions(caller, after, page_size).await?;
        let next_page_token = match sessions.last() {
            Some((_, last)) if more => self.page_tokens.issue(scope, &last.number.to_be_bytes()),
            _ => String::new(),
        };
        let sessions = sessions.into_iter().map(convert::session).collect();
        Ok(Response::new(ListChatSessionsResponse {
            sessions,
            next_page_token,
        }))
    }

    async fn update_chat_session(
        &self,
        request: Request<UpdateChatSessionRequest>,
    ) -> Result<Response<UpdateChatSessionResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let method = "tidings.chat.v1.ChatSessionService/UpdateChatSession";
        let call = self.call(method, caller, chat_id, request_id, &request);
        let mask = Mask::read(&mut violations, request.update_mask, &["title", "metadata"]);
        let patch = read_patch(&mut violations, &mask, request.title, request.metadata);
        let chat_id = valid(violations, chat_id)?;

        let answer = self
            .keeper
            .update_session(&call, chat_id, &patch, &request.etag)
            .await?;
        Ok(Response::new(UpdateChatSessionResponse {
            session: Some(render(answer)),
        }))
    }

    async fn close_chat_session(
        &self,
        request: Request<CloseChatSessionRequest>,
    ) -> Result<Response<CloseChatSessionResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let chat_id = valid(violations, chat_id)?;

        let method = "tidings.chat.v1.ChatSessionService/CloseChatSession";
        let call = self.call(method, caller, Some(chat_id), request_id, &request);
        let answer = self.keeper.close_session(&call, chat_id, &request.etag).await?;
        Ok(Response::new(CloseChatSessionResponse {
            session: Some(render(answer)),
        }))
    }

    async fn delete_chat_session(
        &self,
        request: Request<DeleteChatSessionRequest>,
    ) -> Result<Response<DeleteChatSessionResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let chat_id = valid(violations, chat_id)?;

        let method = "tidings.chat.v1.ChatSessionService/DeleteChatSession";
        let call = self.call(method, caller, Some(chat_id), request_id, &request);
        self.keeper.delete_session(&call, chat_id, &request.etag).await?;
        Ok(Response::new(DeleteChatSessionResponse {}))
    }
}

fn render((chat_id, session): SessionAnswer) -> tidings_proto_chat::v1::ChatSession {
    session.map_or_else(|| convert::unseen_session(chat_id), convert::session)
}
