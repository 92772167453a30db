//! The RPCs: parse, decide, render. Beside [`convert`](crate::convert) the only place that names proto messages.

mod audit;
mod chats;
mod groups;
mod memberships;
mod sessions;

use tidings_ids::{ChatId, Id, Kind, RequestId, UserId};
use tidings_rpc::{PageScope, PageTokens, Problem, RequestHasher, Violations, caller};
use uuid::Uuid;

use crate::{call::Call, keeper::Keeper};

pub(crate) use self::audit::AuditRpcs;

/// Implements the four services of `tidings.chat.v1`.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) keeper: Keeper,
    pub(crate) hasher: RequestHasher,
    pub(crate) page_tokens: PageTokens,
}

impl Api {
    /// The call with this request, whose `request_id` was taken out.
    fn call(
        &self,
        method: &'static str,
        caller: UserId,
        chat_id: Option<ChatId>,
        request_id: Option<RequestId>,
        request: &impl prost::Message,
    ) -> Call {
        Call::new(caller, method, chat_id, request_id, self.hasher.hash(method, request))
    }

    /// The number of things on the page that is asked for.
    fn page_size(&self, violations: &mut Violations, requested: i32) -> u32 {
        let config = &self.keeper.config;
        match tidings_rpc::page_size(requested, config.page_size_default, config.page_size_max) {
            Ok(size) => size,
            Err(_) => {
                violations.add("page_size", "must not be negative");
                0
            }
        }
    }

    /// The id that the page begins after, for lists in the order of ids.
    fn read_id<K: Kind>(&self, scope: PageScope<'_>, token: &str) -> Result<Option<Id<K>>, Problem> {
        let Some(cursor) = self.page_tokens.read(scope, token)? else {
            return Ok(None);
        };
        // The token is authentic, so that another length comes from another version of this service: begin again.
        Ok(Uuid::from_slice(&cursor).ok().map(Id::from_uuid))
    }

    /// The token of the page after the one that ends with `last`; empty where there is none.
    fn issue_id<K: Kind>(&self, scope: PageScope<'_>, more: bool, last: Option<Id<K>>) -> String {
        match last {
            Some(last) if more => self.page_tokens.issue(scope, last.uuid().as_bytes()),
            _ => String::new(),
        }
    }
}

/// What every call that changes something begins with: who calls, the request without its `request_id`, so that the rest is what the
/// hash is of, that id, and the list of what is wrong so far.
fn open<R>(
    request: tonic::Request<R>,
    request_id: fn(&mut R) -> &mut String,
) -> Result<(UserId, R, Option<RequestId>, Violations), tonic::Status> {
    let caller = caller(&request)?.user_id;
    let mut request = request.into_inner();
    let mut violations = Violations::new();
    let request_id = violations.optional_id("request_id", &std::mem::take(request_id(&mut request)));
    Ok((caller, request, request_id, violations))
}

/// The parsed fields, or everything that is wrong with the request.
fn valid<T>(violations: Violations, fields: Option<T>) -> Result<T, Problem> {
    match fields {
        Some(fields) if violations.is_empty() => Ok(fields),
        _ => Err(Problem::fields(violations)),
    }
}
