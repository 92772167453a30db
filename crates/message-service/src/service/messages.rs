use std::{collections::HashMap, sync::Arc};

use prost::Message as _;
use tidings_ids::{ChatId, MessageId, UserId, kind};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    BatchGetMessagesRequest, BatchGetMessagesResponse, DeleteMessageRequest, DeleteMessageResponse, DeleteScope,
    GetMessageRequest, GetMessageResponse, ListMessagesRequest, ListMessagesResponse, ListTurnsRequest,
    ListTurnsResponse, MessageType, SendMessageRequest, SendMessageResponse, Turn, UpdateMessageRequest,
    UpdateMessageResponse, message_service_server::MessageService,
};
use tidings_rpc::{Problem, Violations, caller};
use tonic::{Request, Response, Status};

use super::{Rpcs, Shared, after_effect, parse, scope};
use crate::{
    Error,
    access::Access,
    convert,
    edit::{self, Deletion, Edit},
    message::{Message, MessageRow},
    page::{self, Ask, PAGE_BYTES_MAX, Page},
    read::{self, Prompt},
    requests::{Call, Method},
    send::{Item, Outcome},
};

/// Messages that `BatchGetMessages` takes.
const BATCH_MAX: usize = 100;

/// Attachments of a message.
const ATTACHMENTS_MAX: usize = 10;

/// Turns that are read at once: each may have 50 responses of 36 KiB.
const TURNS_AT_ONCE: usize = 5;

/// Attempts at a page whose floor is raised while it is read. Floors are raised by hand and by joinings, not every few milliseconds.
const PAGE_ATTEMPTS_MAX: usize = 5;

/// Responses that a message can have.
const RESPONSES_MAX: i64 = 50;

#[tonic::async_trait]
impl MessageService for Rpcs {
    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let item = Arc::new(self.shared.parse_send(caller_id, request.into_inner())?);
        let (id, sequence) = match self.shared.sends.send(Arc::clone(&item)).await.map_err(Problem::from)? {
            Outcome::Stored { sequence, create_time } if item.is_plain() => {
                let message = convert::message(&sent(&item, sequence, create_time));
                return Ok(Response::new(SendMessageResponse { message: Some(message) }));
            }
            Outcome::Stored { sequence, .. } => (item.message_id, sequence),
            Outcome::Repeated { message_id, sequence } => (message_id, sequence),
            refusal => return Err(refusal.problem().into()),
        };
        let message = self.shared.after_send(&item, id).await?.map_or_else(
            || convert::unseen_message(item.chat_id, id, sequence),
            |message| convert::message(&message),
        );
        Ok(Response::new(SendMessageResponse { message: Some(message) }))
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let request = request.into_inner();
        let (chat_id, message_id) = parse_place(&request.chat_id, &request.message_id)?;
        let message = read::message(&self.shared.pool, chat_id, caller_id, message_id)
            .await
            .map_err(Error::from)?;
        let message = message.ok_or_else(Problem::not_found)?;
        Ok(Response::new(GetMessageResponse {
            message: Some(convert::message(&message)),
        }))
    }

    async fn batch_get_messages(
        &self,
        request: Request<BatchGetMessagesRequest>,
    ) -> Result<Response<BatchGetMessagesResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        if request.message_ids.is_empty() {
            violations.add("message_ids", "must have at least one entry");
        }
        let ids = violations.ids::<kind::Message>("message_ids", &request.message_ids, BATCH_MAX);
        violations.finish()?;
        let chat_id = chat_id.expect("it had no violation");

        let messages = self.shared.batch(chat_id, caller_id, ids).await?;
        Ok(Response::new(BatchGetMessagesResponse { messages }))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let response = self.shared.list_messages(caller_id, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn list_turns(&self, request: Request<ListTurnsRequest>) -> Result<Response<ListTurnsResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let response = self.shared.list_turns(caller_id, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn update_message(
        &self,
        request: Request<UpdateMessageRequest>,
    ) -> Result<Response<UpdateMessageResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let (call, edit) = self.shared.parse_edit(caller_id, request.into_inner())?;
        let message = edit::update_message(&self.shared.pool, &self.shared.bus, &call, &edit).await?;
        let message = message.map_or_else(
            || convert::unseen_message(call.chat_id, edit.message_id, 0),
            |message| convert::message(&message),
        );
        Ok(Response::new(UpdateMessageResponse { message: Some(message) }))
    }

    async fn delete_message(
        &self,
        request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        let caller_id = caller(&request)?.user_id;
        let (call, deletion, for_me) = self.shared.parse_deletion(caller_id, request.into_inner())?;
        let (pool, bus) = (&self.shared.pool, &self.shared.bus);
        let message = if for_me {
            let hidden = edit::delete_for_me(pool, bus, &call, &deletion).await?;
            hidden.map(|hidden| convert::hidden_message(&hidden.row, hidden.hide_time))
        } else {
            let deleted = edit::delete_for_all(pool, bus, &self.shared.env.source, &call, &deletion).await?;
            deleted.map(|message| convert::message(&message))
        };
        let message = message.unwrap_or_else(|| convert::unseen_message(call.chat_id, deletion.message_id, 0));
        Ok(Response::new(DeleteMessageResponse { message: Some(message) }))
    }
}

impl Shared {
    fn parse_send(&self, caller_id: UserId, mut request: SendMessageRequest) -> Result<Item, Problem> {
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let request_id = violations.optional_id::<kind::Request>("request_id", &request.request_id);
        let reply_to = violations.optional_id::<kind::Message>("reply_to_message_id", &request.reply_to_message_id);
        let attachment_ids =
            violations.ids::<kind::Attachment>("attachment_ids", &request.attachment_ids, ATTACHMENTS_MAX);
        let distinct: std::collections::HashSet<_> = attachment_ids.iter().collect();
        if distinct.len() != attachment_ids.len() {
            violations.add("attachment_ids", "must not name one twice");
        }
        parse::text(&mut violations, &request.text, !request.attachment_ids.is_empty());
        parse::metadata(&mut violations, &request.metadata);
        violations.finish()?;

        request.request_id.clear();
        let request_hash = Call::hash(&self.env.hasher, Method::SendMessage, &request);
        Ok(Item {
            chat_id: chat_id.expect("it had no violation"),
            caller_id,
            method: Method::SendMessage,
            request_id: Call::request_id(request_id, &self.env.source),
            request_hash,
            message_id: self.env.source.new_id(),
            text: request.text,
            metadata: request.metadata,
            reply_to,
            attachment_ids,
            response_to: None,
        })
    }

    /// The message that this send, or the same one before, has stored, as it is now; `None` for a sender who may not see it any more.
    pub(super) async fn after_send(&self, item: &Item, message_id: MessageId) -> Result<Option<Message>, Problem> {
        read::message(&self.pool, item.chat_id, item.caller_id, message_id)
            .await
            .map_err(after_effect)
    }

    async fn batch(
        &self,
        chat_id: ChatId,
        caller_id: UserId,
        ids: Vec<MessageId>,
    ) -> Result<Vec<tidings_proto_message::v1::Message>, Error> {
        let found = read::messages_by_id(&self.pool, chat_id, caller_id, &ids).await?;
        if found.is_empty() {
            // None of them, or no member?
            Access::of(&self.pool, chat_id, caller_id).await?;
        }
        let mut by_id: HashMap<MessageId, Message> = found
            .into_iter()
            .map(|message| (message.row.message_id, message))
            .collect();
        Ok(ids
            .iter()
            .filter_map(|id| by_id.remove(id))
            .map(|message| convert::message(&message))
            .collect())
    }

    async fn list_messages(
        &self,
        caller_id: UserId,
        mut request: ListMessagesRequest,
    ) -> Result<ListMessagesResponse, Error> {
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let newest_first = parse::newest_first(&mut violations, request.order);
        let around = parse::sequence(&mut violations, "around_sequence", request.around_sequence);
        let after = parse::sequence(&mut violations, "after_sequence", request.after_sequence);
        let before = parse::sequence(&mut violations, "before_sequence", request.before_sequence);
        if around.is_some() && (after.is_some() || before.is_some()) {
            violations.add(
                "around_sequence",
                "must not be set together with after_sequence or before_sequence",
            );
        }
        let size = self.page_size(request.page_size);
        if size.is_err() {
            violations.add("page_size", "must not be negative");
        }
        violations.finish()?;
        let (chat_id, size) = (chat_id.expect("it had no violation"), size?.into());
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let scope = scope(caller_id, "tidings.message.v1.MessageService/ListMessages", &arguments);
        let cursor = self.read_cursor(scope, &token)?;

        let (first, last) = (
            after.unwrap_or(0).saturating_add(1),
            before.map_or(i64::MAX, |before| before - 1),
        );
        let (first, last) = match cursor {
            Some(cursor) if newest_first => (first, cursor),
            Some(cursor) => (cursor, last),
            None => (first, last),
        };
        let page = self
            .page_of(chat_id, caller_id, |access| match around {
                Some(middle) => Ask::around(middle, size, newest_first, access),
                None => Ask {
                    first,
                    last,
                    newest_first,
                    size,
                },
            })
            .await?;
        let next = page.next.filter(|_| around.is_none());
        Ok(ListMessagesResponse {
            messages: page.messages,
            removed_ranges: page.removed_ranges,
            next_page_token: self.next_page_token(scope, next),
        })
    }

    /// The page that the caller asks for. What the caller may see and the messages are read one after the other, each in a snapshot of
    /// its own; the second checks the caller's rights anew. Sequences have no holes, so that rows are missing only where the caller
    /// was removed or a floor was raised in between: then both are read again, lest the page pass over them in silence.
    async fn page_of(&self, chat_id: ChatId, caller_id: UserId, ask: impl Fn(&Access) -> Ask) -> Result<Page, Error> {
        for _ in 0..PAGE_ATTEMPTS_MAX {
            let access = Access::of(&self.pool, chat_id, caller_id).await?;
            let ask = ask(&access).clamped(&access);
            let (first, last) = ask.rows(&access);
            if first > last {
                return Ok(page::page(ask, &access, Vec::new()));
            }
            let rows = read::rows_in_range(&self.pool, chat_id, caller_id, first, last).await?;
            if rows.first().is_some_and(|row| row.sequence == first) {
                let messages = read::complete(&self.pool, rows).await?;
                return Ok(page::page(ask, &access, messages));
            }
        }
        Err(Problem::new(ErrorReason::Conflict).into())
    }

    async fn list_turns(&self, caller_id: UserId, mut request: ListTurnsRequest) -> Result<ListTurnsResponse, Error> {
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let newest_first = parse::newest_first(&mut violations, request.order);
        let size = self.page_size(request.page_size);
        if size.is_err() {
            violations.add("page_size", "must not be negative");
        }
        violations.finish()?;
        let (chat_id, size) = (
            chat_id.expect("it had no violation"),
            usize::try_from(size?).unwrap_or(usize::MAX),
        );
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let scope = scope(caller_id, "tidings.message.v1.MessageService/ListTurns", &arguments);
        let cursor = self.read_cursor(scope, &token)?;

        Access::of(&self.pool, chat_id, caller_id).await?;
        let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
        let prompts = if newest_first {
            read::prompts_until(&self.pool, chat_id, caller_id, cursor.unwrap_or(i64::MAX), limit).await?
        } else {
            read::prompts_from(&self.pool, chat_id, caller_id, cursor.unwrap_or(1), limit).await?
        };
        let (turns, next) = self.turns(chat_id, caller_id, &prompts, size).await?;
        Ok(ListTurnsResponse {
            turns,
            next_page_token: self.next_page_token(scope, next),
        })
    }

    /// The first `size` of these turns, or as many as a page holds, and where the next page begins.
    async fn turns(
        &self,
        chat_id: ChatId,
        caller_id: UserId,
        prompts: &[Prompt],
        size: usize,
    ) -> Result<(Vec<Turn>, Option<i64>), Error> {
        let mut turns = Vec::new();
        let mut bytes = 0;
        let asked = &prompts[..size.min(prompts.len())];
        for prompts in asked.chunks(TURNS_AT_ONCE) {
            let ids: Vec<MessageId> = prompts.iter().map(|prompt| prompt.message_id).collect();
            let limit = RESPONSES_MAX * i64::try_from(ids.len()).unwrap_or(1);
            // The messages last: a caller who was removed in between is told so, and gets no message that seems to have no response.
            let responses = read::responses_to(&self.pool, chat_id, caller_id, &ids, 0, limit).await?;
            let responses: Vec<_> = responses.iter().filter_map(convert::response).collect();
            let mut messages = self.batch(chat_id, caller_id, ids).await?.into_iter().peekable();
            for prompt in prompts {
                let id = prompt.message_id.to_string();
                // One that was hidden since is passed over.
                let Some(message) = messages.next_if(|message| message.message_id == id) else {
                    continue;
                };
                let responses = responses
                    .iter()
                    .filter(|response| response.message_id == id)
                    .cloned()
                    .collect();
                let turn = Turn {
                    message: Some(message),
                    responses,
                };
                bytes += turn.encoded_len();
                if bytes > PAGE_BYTES_MAX && !turns.is_empty() {
                    return Ok((turns, Some(prompt.sequence)));
                }
                turns.push(turn);
            }
        }
        Ok((turns, prompts.get(size).map(|prompt| prompt.sequence)))
    }

    fn parse_edit(&self, caller_id: UserId, mut request: UpdateMessageRequest) -> Result<(Call, Edit), Problem> {
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let message_id = violations.id::<kind::Message>("message_id", &request.message_id);
        let request_id = violations.optional_id::<kind::Request>("request_id", &request.request_id);
        let paths = request
            .update_mask
            .as_ref()
            .map(|mask| mask.paths.as_slice())
            .unwrap_or_default();
        for (index, path) in paths.iter().enumerate() {
            if path != "text" && path != "metadata" {
                violations.add(format!("update_mask.paths[{index}]"), "must be text or metadata");
            }
        }
        let names = |field: &str, is_set: bool| {
            if paths.is_empty() {
                is_set
            } else {
                paths.iter().any(|path| path == field)
            }
        };
        let changes_text = names("text", !request.text.is_empty());
        let changes_metadata = names("metadata", !request.metadata.is_empty());
        if !changes_text && !changes_metadata {
            violations.add("text", "must be set, or metadata must");
        }
        if changes_text {
            // Whether it may be empty is decided by the message's attachments.
            parse::text(&mut violations, &request.text, request.text.is_empty());
        }
        if changes_metadata {
            parse::metadata(&mut violations, &request.metadata);
        }
        violations.finish()?;

        request.request_id.clear();
        let request_hash = Call::hash(&self.env.hasher, Method::UpdateMessage, &request);
        let call = Call {
            chat_id: chat_id.expect("it had no violation"),
            caller_id,
            method: Method::UpdateMessage,
            request_id: Call::request_id(request_id, &self.env.source),
            request_hash,
        };
        let edit = Edit {
            message_id: message_id.expect("it had no violation"),
            text: changes_text.then_some(request.text),
            metadata: changes_metadata.then_some(request.metadata),
            etag: request.etag,
        };
        Ok((call, edit))
    }

    fn parse_deletion(
        &self,
        caller_id: UserId,
        mut request: DeleteMessageRequest,
    ) -> Result<(Call, Deletion, bool), Problem> {
        let mut violations = Violations::new();
        let chat_id = violations.id::<kind::Chat>("chat_id", &request.chat_id);
        let message_id = violations.id::<kind::Message>("message_id", &request.message_id);
        let request_id = violations.optional_id::<kind::Request>("request_id", &request.request_id);
        let scope = DeleteScope::try_from(request.scope);
        if scope.is_err() {
            violations.add("scope", "must be a known scope");
        }
        violations.finish()?;

        request.request_id.clear();
        let request_hash = Call::hash(&self.env.hasher, Method::DeleteMessage, &request);
        let call = Call {
            chat_id: chat_id.expect("it had no violation"),
            caller_id,
            method: Method::DeleteMessage,
            request_id: Call::request_id(request_id, &self.env.source),
            request_hash,
        };
        let deletion = Deletion {
            message_id: message_id.expect("it had no violation"),
            etag: request.etag,
        };
        Ok((call, deletion, scope == Ok(DeleteScope::ForMe)))
    }
}

fn parse_place(chat_id: &str, message_id: &str) -> Result<(ChatId, MessageId), Problem> {
    let mut violations = Violations::new();
    let chat_id = violations.id::<kind::Chat>("chat_id", chat_id);
    let message_id = violations.id::<kind::Message>("message_id", message_id);
    violations.finish()?;
    Ok((
        chat_id.expect("it had no violation"),
        message_id.expect("it had no violation"),
    ))
}

/// A plain message that was stored a moment ago: what was sent, and the place that it got.
fn sent(item: &Item, sequence: i64, create_time: time::OffsetDateTime) -> Message {
    let row = MessageRow {
        chat_id: item.chat_id,
        sequence,
        message_id: item.message_id,
        sender_id: item.caller_id,
        kind: i16::try_from(i32::from(MessageType::Text)).expect("a small number"),
        body: item.text.clone(),
        metadata: (!item.metadata.is_empty()).then(|| sqlx::types::Json(item.metadata.clone())),
        reply_to_message_id: item.reply_to,
        attachment_ids: None,
        response_to_message_id: None,
        response_state: None,
        response_finish_time: None,
        revision: 1,
        create_time,
        update_time: None,
        delete_time: None,
        original_time: None,
        external_id: None,
        hidden: false,
    };
    Message {
        row,
        attachments: Vec::new(),
    }
}
