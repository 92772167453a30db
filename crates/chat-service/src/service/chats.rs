use prost::Message as _;
use tidings_ids::{ChatId, UserId, kind};
use tidings_proto_chat::v1::{
    AddChatMemberRequest, AddChatMemberResponse, ChatSummary, CreateChatRequest, CreateChatResponse,
    CreateConversationRequest, CreateConversationResponse, DeleteChatRequest, DeleteChatResponse, GetChatRequest,
    GetChatResponse, LeaveChatRequest, LeaveChatResponse, ListChatMembersRequest, ListChatMembersResponse,
    ListChatsRequest, ListChatsResponse, OpenDirectChatRequest, OpenDirectChatResponse, RemoveChatMemberRequest,
    RemoveChatMemberResponse, UpdateChatRequest, UpdateChatResponse, chat_service_server::ChatService,
};
use tidings_proto_message::v1::ChatActivityCursor;
use tidings_rpc::{PageScope, Violations, caller, text::TextRule};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, open, valid};
use crate::{
    chat::{ChatAnswer, ChatPatch, NewChat, Summary, cursor},
    convert::{self, Mask},
    direct::Pair,
    keeper::others,
    membership::Circle,
};

/// A page of chats ends before it grows beyond this, below the 4 MiB that clients take by default.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Entries of `user_ids` that are looked at at all. Naming somebody twice is allowed, so this is above what may remain.
const NAMED_USERS_MAX: usize = 1_000;

#[tonic::async_trait]
impl ChatService for Api {
    async fn create_chat(&self, request: Request<CreateChatRequest>) -> Result<Response<CreateChatResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let group_id = violations.id::<kind::Group>("group_id", &request.group_id);
        violations.check("title", TextRule::NAME.check(&request.title));
        convert::metadata(&mut violations, &request.metadata);
        let history = convert::history(&mut violations, request.history);
        let (group_id, history) = valid(violations, group_id.zip(history))?;

        let call = self.call(
            "tidings.chat.v1.ChatService/CreateChat",
            caller,
            None,
            request_id,
            &request,
        );
        let new = NewChat {
            title: request.title,
            metadata: request.metadata,
            history,
        };
        let answer = self.keeper.create_chat(&call, group_id, &new).await?;
        Ok(Response::new(CreateChatResponse {
            chat: Some(render(answer)),
        }))
    }

    async fn get_chat(&self, request: Request<GetChatRequest>) -> Result<Response<GetChatResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let chat_id = parse_chat_id(&request.into_inner().chat_id)?;
        let chat = self.keeper.get_chat(caller, chat_id).await?;
        Ok(Response::new(GetChatResponse {
            chat: Some(convert::chat(chat)),
        }))
    }

    async fn list_chats(&self, request: Request<ListChatsRequest>) -> Result<Response<ListChatsResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let page_size = self.page_size(&mut violations, request.page_size);
        violations.finish()?;
        let scope = PageScope {
            caller,
            method: "tidings.chat.v1.ChatService/ListChats",
            arguments: &[],
        };
        let after = self
            .page_tokens
            .read(scope, &request.page_token)?
            .and_then(|cursor| decode_cursor(&cursor));

        let (summaries, next) = self.keeper.list_chats(caller, after, page_size).await?;
        let (chats, next) = fit(summaries, next);
        let next_page_token = next
            .and_then(|next| encode_cursor(&next))
            .map(|cursor| self.page_tokens.issue(scope, &cursor));
        Ok(Response::new(ListChatsResponse {
            chats,
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn update_chat(&self, request: Request<UpdateChatRequest>) -> Result<Response<UpdateChatResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let method = "tidings.chat.v1.ChatService/UpdateChat";
        let call = self.call(method, caller, chat_id, request_id, &request);
        let mask = Mask::read(&mut violations, request.update_mask, &["title", "metadata"]);
        let patch = read_patch(&mut violations, &mask, request.title, request.metadata);
        let chat_id = valid(violations, chat_id)?;

        let answer = self.keeper.update_chat(&call, chat_id, &patch, &request.etag).await?;
        Ok(Response::new(UpdateChatResponse {
            chat: Some(render(answer)),
        }))
    }

    async fn delete_chat(&self, request: Request<DeleteChatRequest>) -> Result<Response<DeleteChatResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let chat_id = valid(violations, chat_id)?;

        let method = "tidings.chat.v1.ChatService/DeleteChat";
        let call = self.call(method, caller, Some(chat_id), request_id, &request);
        self.keeper.delete_chat(&call, chat_id, &request.etag).await?;
        Ok(Response::new(DeleteChatResponse {}))
    }

    async fn open_direct_chat(
        &self,
        request: Request<OpenDirectChatRequest>,
    ) -> Result<Response<OpenDirectChatResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id::<kind::User>("user_id", &request.user_id);
        let pair = user_id.and_then(|user_id| Pair::of(caller, user_id));
        if user_id.is_some() && pair.is_none() {
            violations.add("user_id", "must be somebody else");
        }
        let pair = valid(violations, pair)?;

        let chat = self.keeper.open_direct_chat(caller, pair).await?;
        Ok(Response::new(OpenDirectChatResponse {
            chat: Some(convert::chat(chat)),
        }))
    }

    async fn create_conversation(
        &self,
        request: Request<CreateConversationRequest>,
    ) -> Result<Response<CreateConversationResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let user_ids = self.parse_user_ids(&mut violations, caller, &request.user_ids);
        violations.check("title", TextRule::OPTIONAL_NAME.check(&request.title));
        convert::metadata(&mut violations, &request.metadata);
        let history = convert::history(&mut violations, request.history);
        let history = valid(violations, history)?;

        let method = "tidings.chat.v1.ChatService/CreateConversation";
        let call = self.call(method, caller, None, request_id, &request);
        let new = NewChat {
            title: request.title,
            metadata: request.metadata,
            history,
        };
        let answer = self.keeper.create_conversation(&call, &user_ids, &new).await?;
        Ok(Response::new(CreateConversationResponse {
            chat: Some(render(answer)),
        }))
    }

    async fn add_chat_member(
        &self,
        request: Request<AddChatMemberRequest>,
    ) -> Result<Response<AddChatMemberResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let user_id = violations.id::<kind::User>("user_id", &request.user_id);
        let role = convert::new_role(&mut violations, request.role);
        let ((chat_id, user_id), role) = valid(violations, chat_id.zip(user_id).zip(role))?;

        let method = "tidings.chat.v1.ChatService/AddChatMember";
        let call = self.call(method, caller, Some(chat_id), request_id, &request);
        self.keeper
            .add_member(&call, Circle::Conversation(chat_id), user_id, role)
            .await?;
        Ok(Response::new(AddChatMemberResponse {}))
    }

    async fn remove_chat_member(
        &self,
        request: Request<RemoveChatMemberRequest>,
    ) -> Result<Response<RemoveChatMemberResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let user_id = violations.id::<kind::User>("user_id", &request.user_id);
        let (chat_id, user_id) = valid(violations, chat_id.zip(user_id))?;

        let method = "tidings.chat.v1.ChatService/RemoveChatMember";
        let call = self.call(method, caller, Some(chat_id), request_id, &request);
        self.keeper
            .remove_member(&call, Circle::Conversation(chat_id), user_id)
            .await?;
        Ok(Response::new(RemoveChatMemberResponse {}))
    }

    async fn list_chat_members(
        &self,
        request: Request<ListChatMembersRequest>,
    ) -> Result<Response<ListChatMembersResponse>, Status> {
        let caller = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let page_size = self.page_size(&mut violations, request.page_size);
        let chat_id = valid(violations, chat_id)?;
        let arguments = chat_id.uuid();
        let method = "tidings.chat.v1.ChatService/ListChatMembers";
        let scope = PageScope {
            caller,
            method,
            arguments: arguments.as_bytes(),
        };
        let after: Option<UserId> = self.read_id(scope, &request.page_token)?;

        let (members, more) = self.keeper.list_chat_members(caller, chat_id, after, page_size).await?;
        let next_page_token = self.issue_id(scope, more, members.last().map(|member| member.user_id));
        let members = members
            .into_iter()
            .map(|member| convert::chat_member(chat_id, member))
            .collect();
        Ok(Response::new(ListChatMembersResponse {
            members,
            next_page_token,
        }))
    }

    async fn leave_chat(&self, request: Request<LeaveChatRequest>) -> Result<Response<LeaveChatResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let chat_id = valid(violations, chat_id)?;

        let method = "tidings.chat.v1.ChatService/LeaveChat";
        let call = self.call(method, caller, Some(chat_id), request_id, &request);
        self.keeper.leave(&call, Circle::Conversation(chat_id)).await?;
        Ok(Response::new(LeaveChatResponse {}))
    }
}

impl Api {
    /// The users of a new conversation, of whom enough and not too many must remain beside the caller.
    fn parse_user_ids(&self, violations: &mut Violations, caller: UserId, texts: &[String]) -> Vec<UserId> {
        let user_ids = violations.ids::<kind::User>("user_ids", texts, NAMED_USERS_MAX);
        let max = self.keeper.config.conversation_members_max.saturating_sub(1);
        let count = others(caller, &user_ids).len();
        if violations.is_empty() && !(1..=max as usize).contains(&count) {
            violations.add("user_ids", format!("must name 1 to {max} others"));
        }
        user_ids
    }
}

fn parse_chat_id(text: &str) -> Result<ChatId, Status> {
    let mut violations = Violations::new();
    let chat_id = violations.id::<kind::Chat>("chat_id", text);
    Ok(valid(violations, chat_id)?)
}

/// What an update of a chat or session changes.
pub(super) fn read_patch(
    violations: &mut Violations,
    mask: &Mask,
    title: String,
    metadata: crate::Metadata,
) -> ChatPatch {
    let patch = ChatPatch {
        title: mask.pick("title", title),
        metadata: mask.pick("metadata", metadata),
    };
    if let Some(title) = &patch.title {
        violations.check("title", TextRule::OPTIONAL_NAME.check(title));
    }
    if let Some(metadata) = &patch.metadata {
        convert::metadata(violations, metadata);
    }
    patch
}

fn render((chat_id, chat): ChatAnswer) -> tidings_proto_chat::v1::Chat {
    chat.map_or_else(|| convert::unseen_chat(chat_id), convert::chat)
}

/// As many summaries as one answer may hold, at least one, and where the next page begins then.
fn fit(summaries: Vec<Summary>, next: Option<ChatActivityCursor>) -> (Vec<ChatSummary>, Option<ChatActivityCursor>) {
    let mut chats = Vec::with_capacity(summaries.len());
    let mut bytes = 0;
    let mut last = None;
    for Summary { chat, activity } in summaries {
        let place = cursor(&activity);
        let summary = ChatSummary {
            chat: Some(convert::chat(chat)),
            last_sequence: activity.last_sequence,
            last_message: activity.last_message,
            unread_count: activity.unread_count,
            unread_count_capped: activity.unread_count_capped,
        };
        bytes += summary.encoded_len();
        if bytes > PAGE_BYTES_MAX && last.is_some() {
            return (chats, last);
        }
        chats.push(summary);
        last = Some(place);
    }
    (chats, next)
}

fn encode_cursor(cursor: &ChatActivityCursor) -> Option<Vec<u8>> {
    let chat_id = ChatId::parse(&cursor.chat_id).ok()?;
    Some([&cursor.activity.to_be_bytes()[..], chat_id.uuid().as_bytes()].concat())
}

fn decode_cursor(bytes: &[u8]) -> Option<ChatActivityCursor> {
    let (activity, chat_id) = bytes.split_at_checked(8)?;
    let chat_id = ChatId::from_uuid(Uuid::from_slice(chat_id).ok()?);
    Some(ChatActivityCursor {
        activity: i64::from_be_bytes(activity.try_into().ok()?),
        chat_id: chat_id.to_string(),
    })
}
