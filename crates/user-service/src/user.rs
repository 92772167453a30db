use std::collections::BTreeMap;

use tidings_ids::UserId;
use time::OffsetDateTime;

use crate::{email::Email, error::PermissionNumber, permissions::Permissions, username::Username};

/// Whether an account may act, and whether anybody sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Status {
    /// A registration that is not complete: seen by nobody.
    Pending,
    /// It may act.
    Active,
    /// It may not act, and is seen.
    Suspended,
    /// It may not act, and shows only as deleted.
    Deleted,
    /// A registration that was given up: only a mark, which nobody sees.
    Discarded,
}

impl Status {
    /// Whether others know that the account exists or existed.
    #[must_use]
    pub fn is_known(self) -> bool {
        matches!(self, Self::Active | Self::Suspended | Self::Deleted)
    }
}

/// A user as stored.
#[derive(Debug, Clone)]
pub struct User {
    /// The user's id.
    pub user_id: UserId,
    /// Whether the account may act.
    pub status: Status,
    /// The name to be found by.
    pub username: Option<String>,
    /// The address, as it was given.
    pub email: Option<String>,
    /// Whether the address was proven to be the user's.
    pub email_verified: bool,
    /// The name that others see.
    pub display_name: String,
    /// A few words.
    pub bio: String,
    /// A picture's address, or nothing.
    pub avatar_url: String,
    /// The application's data.
    pub metadata: sqlx::types::Json<BTreeMap<String, String>>,
    /// What another system calls the user.
    pub external_id: Option<String>,
    /// Whether a program acts through the account.
    pub is_bot: bool,
    /// Rises with each change of the profile.
    pub revision: i64,
    /// Until when the last login session lives.
    pub logged_in_until: Option<OffsetDateTime>,
    /// The names of the user's roles, in order.
    pub roles: Vec<String>,
    /// When the user registered.
    pub create_time: OffsetDateTime,
}

impl User {
    /// What a client sends back to say which version it has read.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(self.revision)
    }
}

/// The etag of a revision, the same for users and roles.
#[must_use]
pub fn etag(revision: i64) -> String {
    format!("{revision:x}")
}

/// What other services decide by, as the feed's newest entry about the user has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// Its place in the feed.
    pub number: i64,
    /// The user.
    pub user_id: UserId,
    /// Rises when status or permissions change.
    pub token_epoch: i64,
    /// Whether the account may act.
    pub status: Status,
    /// The user's name.
    pub username: Option<String>,
    /// What the user's roles allow together; empty unless the user is active.
    pub permissions: Vec<PermissionNumber>,
    /// The names of the user's roles, in order.
    pub roles: Vec<String>,
    /// Whether a program acts through the account.
    pub is_bot: bool,
    /// Login sessions that began under a lower token epoch are over; 0 where none were ever ended so.
    pub login_epoch: i64,
    /// Whether the user cannot be restored any more.
    pub deletion_final: bool,
    /// When the state became so.
    pub change_time: OffsetDateTime,
}

/// What has become of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// How the user stands.
    pub state: UserState,
    /// The user is pending and lacks the address, since another had it.
    pub email_taken: bool,
}

/// A registration, checked.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The id that auth has picked.
    pub user_id: UserId,
    /// The name.
    pub username: Username,
    /// The address; a bot may have none.
    pub email: Option<Email>,
    /// Whether the user is created without the address where another has it.
    pub may_lack_email: bool,
    /// The name that others see.
    pub display_name: String,
    /// A few words.
    pub bio: String,
    /// Whether a program will act through the account.
    pub is_bot: bool,
    /// The names of its first roles, each once. None means the usual one.
    pub role_names: Vec<String>,
    /// What another system calls the user.
    pub external_id: Option<String>,
    /// Who gives the roles, and what their token reaches. None where auth answers for them.
    pub actor: Option<(UserId, Permissions)>,
    /// The keyed hash of the request, without its `request_id` and `may_lack_email`.
    pub hash: [u8; 32],
}
