//! The RPCs: requests are checked for form and become domain types, the nouns decide, and what they say becomes responses. One file a
//! gRPC service. Nothing else names the messages of the protos, but for pages, whose size in bytes is theirs.

mod attachments;
pub(crate) mod audit;
mod membership_log;
mod messages;
mod parse;
mod responses;
pub(crate) mod sync;

use std::sync::Arc;

use tidings_db::Pool;
use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Environment, PageScope, Problem};

use crate::{Config, Error, attachment::Attachments, bus::Bus, send::Sends};

/// What the RPCs work with.
#[derive(Clone)]
pub(crate) struct Rpcs {
    pub(crate) shared: Arc<Shared>,
}

/// The same, shared by all calls.
pub(crate) struct Shared {
    pub(crate) env: Environment,
    pub(crate) config: Arc<Config>,
    pub(crate) pool: Pool,
    pub(crate) bus: Bus,
    pub(crate) sends: Sends,
    pub(crate) attachments: Attachments,
}

impl Shared {
    /// The number of things on a page.
    fn page_size(&self, requested: i32) -> Result<u32, Problem> {
        tidings_rpc::page_size(requested, self.config.page_size_default, self.config.page_size_max)
    }

    /// The sequence that a page token says to begin at.
    fn read_cursor(&self, scope: PageScope<'_>, token: &str) -> Result<Option<i64>, Problem> {
        let Some(bytes) = self.env.page_tokens.read(scope, token)? else {
            return Ok(None);
        };
        // Authenticated, so another length can only come from another version.
        let bytes = bytes.try_into().map_err(|_| {
            Problem::new(ErrorReason::PageTokenInvalid)
                .with_field("page_token", "must come from this call's previous page")
        })?;
        Ok(Some(i64::from_be_bytes(bytes)))
    }

    /// The token of the page that begins at this sequence; empty where there is none.
    fn next_page_token(&self, scope: PageScope<'_>, next: Option<i64>) -> String {
        next.map(|next| self.env.page_tokens.issue(scope, &next.to_be_bytes()))
            .unwrap_or_default()
    }
}

/// The scope of a list's page tokens.
fn scope<'a>(caller: UserId, method: &'a str, arguments: &'a [u8]) -> PageScope<'a> {
    PageScope {
        caller,
        method,
        arguments,
    }
}

/// An error met after the effect is stored. The contract promises with some reasons that nothing was done, which would be wrong by
/// then; and the caller can only repeat the call.
fn after_effect(error: impl Into<Error>) -> Problem {
    match error.into() {
        Error::Problem(problem) => problem,
        Error::Database(error) => {
            tracing::warn!(%error, "a message is stored, but its answer could not be made");
            Problem::new(ErrorReason::CommitUnknown)
        }
    }
}
