//! What the chat service decides about audiences, and what is kept of it here.
//!
//! | file | one job |
//! | --- | --- |
//! | `change` | a change of an audience, and the rule of its number |
//! | `apply` | applies changes in their order, in bounded transactions, each fenced against being applied twice |
//! | `audience`, `chats`, `members` | the statements of one transaction |
//! | `user_log` | entries of users' own logs |
//! | `activity` | the order of a user's chats |

mod activity;
mod apply;
mod audience;
mod change;
mod chats;
mod members;
pub(crate) mod user_log;

pub(crate) use activity::{ChatActivity, Cursor, list_chat_activity};
pub(crate) use apply::apply;
pub(crate) use change::{AudienceChange, Change, ChatFacts, MemberPut, mark};
