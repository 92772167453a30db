use std::time::Duration;

use tidings_ids::UserId;

/// What a deployment can set, and the defaults that `GetLimits` and the proto comments tell.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who answers in sessions for which the caller names nobody. Without one, such sessions are refused.
    pub default_assistant: Option<UserId>,
    /// Members of a group.
    pub group_members_max: u32,
    /// Members of a conversation.
    pub conversation_members_max: u32,
    /// Chats of a group.
    pub group_chats_max: u32,
    /// Groups that one user has made and is in.
    pub groups_per_user_max: u32,
    /// Conversations, sessions and chats of groups, together, that one user has made and is in; of groups those that the user has
    /// made. As many as one `after` of a stream can name. Direct chats are bounded by the number of users, and count for nobody.
    pub chats_per_user_max: u32,
    /// Conversations and chats of groups, together, that others have put one user into. Half as many, so that who adds a user takes
    /// nothing of what that one can make.
    pub joined_chats_max: u32,
    /// Things on a page where the request says nothing.
    pub page_size_default: u32,
    /// Things on a page at most.
    pub page_size_max: u32,
    /// How often the sweeper looks for changes that nobody delivered, such as those of a process that died.
    pub sweep_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_assistant: None,
            group_members_max: 10_000,
            conversation_members_max: 200,
            group_chats_max: 500,
            groups_per_user_max: 1_000,
            chats_per_user_max: 10_000,
            joined_chats_max: 5_000,
            page_size_default: 50,
            page_size_max: 200,
            sweep_interval: Duration::from_secs(1),
        }
    }
}
