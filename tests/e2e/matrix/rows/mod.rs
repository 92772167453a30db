//! The table: one line for each RPC. Written from `api.md`, `design.md` and the comments in the protos.

mod auth;
mod chat;
mod message;
mod user;

use super::scene::Needs;

/// What a caller must be to the thing that the call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Nothing: whoever passes the policy.
    Anyone,
    /// Nothing; but whether it can be done now depends on when it was done last.
    InTime,
    /// A program that brings in users, which nobody of the cast is.
    Product,
    /// Nothing: the deployment has it switched off.
    Off,
    /// A member of the chat or group.
    Member,
    /// An admin or owner of the chat or group.
    Manager,
    /// The owner of the chat or group.
    OnlyOwner,
    /// The sender of the message, who is the owner here.
    Sender,
    /// A member who is not the only owner.
    Leaver,
    /// A member who may answer messages, as the bots here may.
    Responder,
    /// The user in question, who is the owner here, or whoever manages users.
    Himself,
    /// An operator: the thing belongs to somebody who plays no role here.
    Operator,
    /// The user in question, who is the owner here, and nobody else.
    OnlyHimself,
}

/// One RPC: what its callers must be, what must be there, and a request that is in order. `{…}` stands for what the scene has.
#[derive(Debug)]
pub struct Row {
    pub rpc: &'static str,
    pub relation: Relation,
    pub needs: Needs,
    pub request: &'static str,
}

const fn row(rpc: &'static str, relation: Relation, needs: Needs, request: &'static str) -> Row {
    Row {
        rpc,
        relation,
        needs,
        request,
    }
}

/// All lines of the table.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [auth::ROWS, user::ROWS, chat::ROWS, message::ROWS]
        .into_iter()
        .flatten()
}

/// The line of this RPC.
pub fn row_of(full_name: &str) -> &'static Row {
    let name = full_name.strip_prefix("tidings.").unwrap_or(full_name);
    let found = rows().find(|row| row.rpc == name);
    found.unwrap_or_else(|| panic!("{full_name} has no row in the matrix"))
}
