//! What the audit trail is told of changes: which call, whose, and which ids it concerned. Written in the transaction of the change,
//! before its entry of the feed, for whose end others wait.

use sqlx::PgConnection;
use tidings_audit::{self as audit, Event};
use tidings_db::Schema;
use tidings_proto_common::v1::AuditCategory;

use super::{Change, Directory};
use crate::{error::Error, permissions::Permissions};

impl Directory {
    /// What a user has changed.
    pub(super) fn event(&self, change: &Change) -> Event {
        self.event_of("user.change").request(change.request.id)
    }

    /// What auth has asked for, or what the service does by itself under this name.
    pub(super) fn event_of(&self, action: &'static str) -> Event {
        Event::of_call(&self.source, AuditCategory::Administration, action)
    }
}

/// Permissions by their numbers, of which all fit into a detail.
pub(super) fn numbers(permissions: &Permissions) -> String {
    let numbers: Vec<String> = permissions.numbers().iter().map(ToString::to_string).collect();
    numbers.join(",")
}

/// Writes an event in the transaction of its effect.
pub(super) async fn record(tx: &mut PgConnection, event: &Event) -> Result<(), Error> {
    Ok(audit::record(tx, Schema::Users, event).await?)
}
