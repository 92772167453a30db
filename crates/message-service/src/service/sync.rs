//! SyncService: form in, logs, form out. What frames look like on the wire stands in `frames`.

mod frames;

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use tidings_ids::{ChatId, kind};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    After, ChatSyncState, GetSyncStateRequest, GetSyncStateResponse, StreamChangesRequest, StreamChangesResponse,
    SyncChangesRequest, SyncChangesResponse, sync_service_server::SyncService,
};
use tidings_rpc::{PageScope, PageTokens, Problem, Violations, caller, page_size};
use tonic::{Request, Response, Status};

use crate::sync::{Cursor, Have, Logs};

/// Chats in one `after`.
const CHATS_MAX: usize = 10_000;

/// What a bad page token is told as.
const TOKEN_RULE: &str = "must be empty or come from this call's previous page";

/// SyncService on the logs.
#[derive(Debug, Clone)]
pub(crate) struct SyncRpcs {
    logs: Logs,
    page_tokens: PageTokens,
    pages: PageSizes,
}

/// How many things a page has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSizes {
    pub(crate) default: u32,
    pub(crate) max: u32,
}

impl SyncRpcs {
    pub(crate) fn new(logs: Logs, page_tokens: PageTokens, pages: PageSizes) -> Self {
        Self {
            logs,
            page_tokens,
            pages,
        }
    }
}

#[tonic::async_trait]
impl SyncService for SyncRpcs {
    type StreamChangesStream = Pin<Box<dyn Stream<Item = Result<StreamChangesResponse, Status>> + Send>>;

    async fn get_sync_state(
        &self,
        request: Request<GetSyncStateRequest>,
    ) -> Result<Response<GetSyncStateResponse>, Status> {
        let user_id = caller(&request)?.user_id;
        let request = request.into_inner();
        let size = page_size(request.page_size, self.pages.default, self.pages.max)?;
        let scope = PageScope {
            caller: user_id,
            method: "tidings.message.v1.SyncService/GetSyncState",
            arguments: &[],
        };
        let after = match self.page_tokens.read(scope, &request.page_token)? {
            Some(bytes) => Some(ChatId::from_uuid(
                uuid::Uuid::from_slice(&bytes).map_err(|_| invalid_token())?,
            )),
            None => None,
        };
        let heads = self.logs.heads(user_id, after, size).await.map_err(Problem::from)?;
        let last = heads.chats.last().filter(|_| heads.more);
        let next_page_token = last.map(|chat| self.page_tokens.issue(scope, chat.chat_id.uuid().as_bytes()));
        let chats = heads.chats.iter().map(|chat| ChatSyncState {
            chat_id: chat.chat_id.to_string(),
            position: chat.last_position,
            first_position: chat.first_position,
            last_sequence: chat.last_sequence,
            first_sequence: chat.first_sequence,
        });
        Ok(Response::new(GetSyncStateResponse {
            log_id: heads.log_id.to_string(),
            user_position: heads.user_position,
            chats: chats.collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }

    async fn sync_changes(
        &self,
        request: Request<SyncChangesRequest>,
    ) -> Result<Response<SyncChangesResponse>, Status> {
        let user_id = caller(&request)?.user_id;
        let request = request.into_inner();
        let after = request.after.unwrap_or_default();
        let (have, size) = parse_pull(&after, page_size(request.page_size, self.pages.default, self.pages.max))?;
        let arguments = after.encode_to_vec();
        let scope = PageScope {
            caller: user_id,
            method: "tidings.message.v1.SyncService/SyncChanges",
            arguments: &arguments,
        };
        let cursor = match self.page_tokens.read(scope, &request.page_token)? {
            Some(bytes) => Some(Cursor::decode(&bytes).ok_or_else(invalid_token)?),
            None => None,
        };
        let page = self
            .logs
            .pull(user_id, have, cursor, size)
            .await
            .map_err(Problem::from)?;
        let next_page_token = page.next.map(|next| self.page_tokens.issue(scope, &next.encode()));
        Ok(Response::new(frames::page(page, next_page_token)))
    }

    async fn stream_changes(
        &self,
        request: Request<StreamChangesRequest>,
    ) -> Result<Response<Self::StreamChangesStream>, Status> {
        let caller = caller(&request)?;
        let have = parse_after(&request.into_inner().after.unwrap_or_default())?;
        let frames = self
            .logs
            .stream(Arc::clone(&caller), have)
            .await
            .map_err(Problem::from)?;
        let frames = frames.map(|sent| sent.map(frames::sent).map_err(Status::from));
        Ok(Response::new(Box::pin(frames)))
    }
}

fn invalid_token() -> Problem {
    Problem::new(ErrorReason::PageTokenInvalid).with_field("page_token", TOKEN_RULE)
}

/// Both fields, with all that is wrong with either.
fn parse_pull(after: &After, size: Result<u32, Problem>) -> Result<(Have, u32), Problem> {
    let mut violations = Violations::new();
    let have = parse_fields(after, &mut violations);
    if let Err(problem) = &size {
        for violation in problem.violations().clone() {
            violations.add(violation.field, violation.description);
        }
    }
    violations.finish()?;
    Ok((have, size?))
}

fn parse_after(after: &After) -> Result<Have, Problem> {
    let mut violations = Violations::new();
    let have = parse_fields(after, &mut violations);
    violations.finish()?;
    Ok(have)
}

fn parse_fields(after: &After, violations: &mut Violations) -> Have {
    let log_id = violations.optional_id::<kind::Log>("after.log_id", &after.log_id);
    if after.user_position < 0 {
        violations.add("after.user_position", "must not be negative");
    }
    let mut chats = HashMap::new();
    if after.chats.len() > CHATS_MAX {
        violations.add("after.chats", format!("must have at most {CHATS_MAX} entries"));
        return Have::default();
    }
    for (index, chat) in after.chats.iter().enumerate() {
        if chat.position < 0 {
            violations.add(format!("after.chats[{index}].position"), "must not be negative");
        }
        if let Some(chat_id) = violations.id::<kind::Chat>(format!("after.chats[{index}].chat_id"), &chat.chat_id)
            && chats.insert(chat_id, chat.position).is_some()
        {
            violations.add(format!("after.chats[{index}].chat_id"), "must not be named twice");
        }
    }
    Have {
        log_id,
        user_position: after.user_position,
        chats,
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::{ChatId, Source};
    use tidings_proto_message::v1::{After, ChatPosition};

    use super::{CHATS_MAX, parse_after};

    fn named(chat_id: ChatId, position: i64) -> ChatPosition {
        ChatPosition {
            chat_id: chat_id.to_string(),
            position,
        }
    }

    #[test]
    fn what_a_client_has_is_read_with_all_that_is_wrong_in_it() {
        let source = Source::seeded(1);
        let (a, b): (ChatId, ChatId) = (source.new_id(), source.new_id());
        let good = After {
            log_id: String::new(),
            user_position: 3,
            chats: vec![named(a, 0), named(b, 7)],
        };
        let have = parse_after(&good).expect("nothing is wrong");
        assert_eq!((have.log_id, have.user_position), (None, 3));
        assert_eq!((have.chats[&a], have.chats[&b]), (0, 7));

        let twice = ChatPosition {
            chat_id: a.to_string(),
            position: -1,
        };
        let nobody = ChatPosition {
            chat_id: "nobody".to_owned(),
            position: 1,
        };
        let bad = After {
            log_id: "x".to_owned(),
            user_position: -1,
            chats: vec![named(a, 1), twice, nobody],
        };
        let problem = parse_after(&bad).expect_err("much is wrong");
        let fields: Vec<String> = problem
            .violations()
            .clone()
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(
            fields,
            [
                "after.log_id",
                "after.user_position",
                "after.chats[1].position",
                "after.chats[1].chat_id",
                "after.chats[2].chat_id",
            ]
        );
    }

    #[test]
    fn more_chats_than_anybody_has_are_refused() {
        let source = Source::seeded(1);
        let mut chats: Vec<ChatPosition> = (0..CHATS_MAX).map(|_| named(source.new_id(), 1)).collect();
        assert!(
            parse_after(&After {
                chats: chats.clone(),
                ..After::default()
            })
            .is_ok()
        );
        chats.push(named(source.new_id(), 1));
        assert!(
            parse_after(&After {
                chats,
                ..After::default()
            })
            .is_err()
        );
    }
}
