//! The RPCs: each parses its request, asks the directory, and renders the answer. With `convert.rs` the only place that names proto
//! messages.

mod access;
pub(crate) mod audit;
mod blocks;
mod lookup;
mod provisioning;
mod roles;
mod states;
mod users;

use std::sync::Arc;

use tidings_authn::Caller;
use tidings_ids::UserId;
use tidings_rpc::{Environment, PageScope, Policies, Violations, caller, page_size};
use uuid::Uuid;

use crate::{
    convert::View,
    directory::{Change, Directory},
    error::Error,
    requests::Request,
};

/// Serves all of `tidings.user.v1`.
#[derive(Debug, Clone)]
pub(crate) struct Rpcs {
    directory: Directory,
    environment: Arc<Environment>,
    /// Of all RPCs of the suite, which `AccessService` is asked about.
    policies: Arc<Policies>,
}

impl Rpcs {
    pub fn new(directory: Directory, environment: &Environment, policies: Policies) -> Self {
        Self {
            directory,
            environment: Arc::new(environment.clone()),
            policies: Arc::new(policies),
        }
    }

    fn view<'a>(&self, caller: &'a Caller) -> View<'a> {
        View {
            caller,
            now: self.environment.source.now(),
        }
    }

    /// The change that a request asks for. `content` is the request without its `request_id`.
    fn change(
        &self,
        caller: &Caller,
        method: &'static str,
        request_id: Option<Uuid>,
        content: &impl prost::Message,
    ) -> Change {
        let hash = self.environment.hasher.hash(method, content);
        Change {
            caller: caller.user_id,
            reach: caller.permissions.as_slice().into(),
            request: Request {
                method,
                caller: caller.user_id.to_string(),
                id: request_id,
                hash,
            },
        }
    }

    /// Where and how large the page is that a list's request asks for. `arguments` is the request without page size and token.
    fn page<'a>(
        &self,
        caller: UserId,
        method: &'a str,
        arguments: &'a [u8],
        size: i32,
        token: &str,
    ) -> Result<Page<'a>, Error> {
        let config = self.directory.config;
        let size = page_size(size, config.page_size_default, config.page_size_max)?;
        let scope = PageScope {
            caller,
            method,
            arguments,
        };
        let cursor = self.environment.page_tokens.read(scope, token)?;
        Ok(Page { scope, size, cursor })
    }

    /// Cuts off the row that was read beyond the page, if there is one, and returns the token for the page that begins after what is left.
    fn next_page_token<T>(&self, page: &Page<'_>, rows: &mut Vec<T>, cursor: impl FnOnce(&T) -> Vec<u8>) -> String {
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        if rows.len() <= size {
            return String::new();
        }
        rows.truncate(size);
        rows.last()
            .map(|last| self.environment.page_tokens.issue(page.scope, &cursor(last)))
            .unwrap_or_default()
    }
}

/// A page of a list.
struct Page<'a> {
    scope: PageScope<'a>,
    size: u32,
    cursor: Option<Vec<u8>>,
}

impl Page<'_> {
    /// One row more than the page has: whether it is there says whether there is another page.
    fn limit(&self) -> u32 {
        self.size + 1
    }

    /// The id after which the page begins.
    fn after(&self) -> Option<Uuid> {
        self.cursor.as_deref().and_then(|cursor| Uuid::from_slice(cursor).ok())
    }

    /// What stands in the token; nothing for the first page.
    fn after_bytes(&self) -> &[u8] {
        self.cursor.as_deref().unwrap_or_default()
    }

    /// The two ids after which the page begins, both nil for the first page.
    fn after_pair(&self) -> (Uuid, Uuid) {
        let cursor = self.cursor.as_deref().unwrap_or_default();
        let id = |bytes: Option<&[u8]>| bytes.and_then(|bytes| Uuid::from_slice(bytes).ok()).unwrap_or_default();
        (id(cursor.get(..16)), id(cursor.get(16..)))
    }
}

/// What every call that changes something begins with: who calls, the request without its `request_id`, so that it is not hashed, that
/// id, and the list of what is wrong so far.
fn open<R>(
    request: tonic::Request<R>,
    request_id: fn(&mut R) -> &mut String,
) -> Result<(Arc<Caller>, R, Option<Uuid>, Violations), tonic::Status> {
    let caller = caller(&request)?;
    let mut request = request.into_inner();
    let mut violations = Violations::new();
    let request_id = take_request_id(request_id(&mut request), &mut violations);
    Ok((caller, request, request_id, violations))
}

/// A parsed field, or everything that is wrong with the request. A field is absent only where something is.
fn valid<T>(violations: Violations, field: Option<T>) -> Result<T, Error> {
    Error::if_any(violations)?;
    field.ok_or(Error::NotFound)
}

/// The `request_id` of a request, taken out of it so that it is not hashed.
fn take_request_id(text: &mut String, violations: &mut Violations) -> Option<Uuid> {
    let text = std::mem::take(text);
    violations
        .optional_id::<tidings_ids::kind::Request>("request_id", &text)
        .map(|id| id.uuid())
}

/// The etag of a request, where it names one.
fn given(etag: &str) -> Option<&str> {
    (!etag.is_empty()).then_some(etag)
}
