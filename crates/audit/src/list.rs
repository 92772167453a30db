//! Pages of the trail.

use prost::Message as _;
use tidings_ids::UserId;
use tidings_proto_common::v1::{AuditEvent, AuditFilter, AuditOrder, ErrorReason};
use tidings_rpc::{PageScope, Problem, Violations, page_size};

use crate::{
    Trail, convert,
    store::{self, Stretch},
};

/// A page has so many entries where the caller does not say, and at the most.
const PAGE_SIZE_DEFAULT: u32 = 50;
const PAGE_SIZE_MAX: u32 = 200;

/// A page looks through so many entries at the most: some tens of milliseconds, whatever the filter.
const LOOKED_THROUGH_MAX: i64 = 10_000;

/// Which page of the trail is asked for, as the requests of all services have it.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Who asks, who must have been found to hold `AUDIT_READ`.
    pub caller: UserId,
    /// The RPC, to which page tokens are bound.
    pub method: &'static str,
    /// Which entries.
    pub filter: Option<AuditFilter>,
    /// `AuditOrder`.
    pub order: i32,
    /// How many.
    pub page_size: i32,
    /// Where the page begins.
    pub page_token: String,
}

impl Trail {
    /// A page of the trail, and the token of the next.
    ///
    /// # Errors
    ///
    /// `FIELD_INVALID`, `PAGE_TOKEN_INVALID`, or what Postgres did not do.
    pub async fn list(&self, request: ListRequest) -> Result<(Vec<AuditEvent>, String), Problem> {
        let asked = request.filter.unwrap_or_default();
        let mut arguments = asked.encode_to_vec();
        arguments.extend_from_slice(&request.order.to_be_bytes());
        let mut violations = Violations::new();
        let filter = convert::filter(asked, &mut violations);
        let order = AuditOrder::try_from(request.order);
        let order = violations.check("order", order.map_err(|_| "must be a value of AuditOrder"));
        violations.finish()?;
        let limit = page_size(request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
        let scope = PageScope {
            caller: request.caller,
            method: request.method,
            arguments: &arguments,
        };
        let cursor = self.page_tokens.read(scope, &request.page_token)?;
        let cursor = cursor.map(|cursor| read(&cursor)).transpose()?;

        let newest_first = order == Some(AuditOrder::NewestFirst);
        let mut connection = self.pool.acquire().await?;
        let last = store::last_number(&mut connection, self.schema)
            .await
            .map_err(Problem::from)?;
        drop(connection);
        let (from, to) = if newest_first {
            let to = cursor.map_or(last, |before| before - 1);
            ((to - LOOKED_THROUGH_MAX + 1).max(1), to)
        } else {
            let from = cursor.map_or(1, |after| after + 1);
            (from, last.min(from + LOOKED_THROUGH_MAX - 1))
        };
        let stretch = Stretch {
            from,
            to,
            newest_first,
            limit: i64::from(limit),
        };
        let entries = store::page(&self.pool, self.schema, stretch, &filter).await?;

        // A full page ends at its last entry, another with what it looked through.
        let is_full = u32::try_from(entries.len()).is_ok_and(|count| count == limit);
        let looked_to = if newest_first { from } else { to };
        let end = entries
            .last()
            .filter(|_| is_full)
            .map_or(looked_to, |entry| entry.number);
        let has_next = if newest_first { end > 1 } else { end < last };
        let token = if has_next {
            self.page_tokens.issue(scope, &end.to_be_bytes())
        } else {
            String::new()
        };
        Ok((entries.into_iter().map(convert::event).collect(), token))
    }
}

fn read(cursor: &[u8]) -> Result<i64, Problem> {
    let bytes = cursor.try_into().map_err(|_| {
        Problem::new(ErrorReason::PageTokenInvalid).with_field("page_token", "must come from this call's previous page")
    })?;
    Ok(i64::from_be_bytes(bytes))
}
