use std::time::Duration;

/// What a deployment can set, and the defaults that `GetLimits` and the proto comments tell.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Roles in the deployment.
    pub roles_max: u32,
    /// Roles of one user.
    pub roles_per_user_max: u32,
    /// Users that one user can block.
    pub blocks_per_user_max: u32,
    /// Entries of the feed that changes of roles may add to those that the feed's readers hold already; more wait until some of
    /// these are forgotten.
    pub held_states_max: u32,
    /// Things on a page where the request says nothing.
    pub page_size_default: u32,
    /// Things on a page at most.
    pub page_size_max: u32,
    /// How often a feed looks for what other nodes have written; at least twice a second (`design.md` section 2). What this node
    /// writes is sent at once.
    pub feed_poll_interval: Duration,
    /// How long a deleted user can be restored, after which the deletion is final.
    pub deleted_kept_for: Duration,
    /// How long a name that was given up is held back from everybody else.
    pub username_held_for: Duration,
}

impl Config {
    /// A feed looks into Postgres at least this often, whatever is set.
    pub const FEED_POLL_INTERVAL_MAX: Duration = Duration::from_millis(500);

    /// Half of what a reader can hold before it refuses all tokens (`tidings_authn::Revocations`): the other half is for what users and
    /// operators do one by one, which never waits.
    const HELD_STATES_MAX: u32 = 250_000;

    /// Thirty days, in which people notice what they or others have done (`api.md` section 3).
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
}

impl Default for Config {
    fn default() -> Self {
        Self {
            roles_max: 1_000,
            roles_per_user_max: 50,
            blocks_per_user_max: 10_000,
            held_states_max: Self::HELD_STATES_MAX,
            page_size_default: 50,
            page_size_max: 200,
            feed_poll_interval: Duration::from_millis(300),
            deleted_kept_for: Self::MONTH,
            username_held_for: Self::MONTH,
        }
    }
}
