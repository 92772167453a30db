use tidings_ids::{ChatId, UserId};

use crate::{chat::Chat, membership::Member};

/// One change of an audience, as the message service is told of it. It carries the state that results, never a difference.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A new chat of the audience.
    ChatAdded(Chat),
    /// A chat as it is now.
    ChatUpdated(Chat),
    /// A chat was deleted.
    ChatRemoved(ChatId),
    /// A member as it is now.
    MemberPut(Member),
    /// A membership has ended.
    MemberRemoved { user_id: UserId, removal: Removal },
    /// Whether one of a direct chat's users blocks the other.
    ChatBlocked { chat_id: ChatId, blocked: bool },
    /// The audience has ended with all its chats and memberships. Nothing follows.
    AudienceRemoved,
}

/// How a single membership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Another member did it.
    Removed,
    /// The member went.
    Left,
}
