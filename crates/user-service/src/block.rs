use tidings_ids::UserId;
use time::OffsetDateTime;

/// Whom somebody blocks.
#[derive(Debug, Clone)]
pub struct Block {
    /// Who is blocked.
    pub user_id: UserId,
    /// Since when.
    pub create_time: OffsetDateTime,
}

/// Who blocks whom.
#[derive(Debug, Clone, Copy)]
pub struct UserBlock {
    /// Who set the block.
    pub blocker_user_id: UserId,
    /// Who is blocked.
    pub blocked_user_id: UserId,
}

/// A block that was set or removed, as the feed has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockChange {
    /// Its place in the feed.
    pub number: i64,
    /// Who set or removed it.
    pub blocker_user_id: UserId,
    /// Who is blocked, or no longer.
    pub blocked_user_id: UserId,
    /// Whether it stands from here on.
    pub blocked: bool,
    /// When.
    pub change_time: OffsetDateTime,
}
