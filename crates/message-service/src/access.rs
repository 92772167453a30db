//! Who may see which chat: the one way in which a call is authorized.
//!
//! The rule itself stands in SQL, in the view `messages.access`, so that every read joins it in its own statement: membership and
//! content are of one snapshot, and no cache has to be invalidated when a member is removed. Here is what a call asks of it apart
//! from content.

use sqlx::PgExecutor;
use tidings_ids::{ChatId, UserId};
use tidings_proto_common::v1::{ChatRole, ErrorReason};
use tidings_rpc::Problem;
use time::OffsetDateTime;

use crate::{Error, send};

/// What a member is and may see in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// A number of [`ChatRole`].
    pub(crate) role: i16,
    pub(crate) archived: bool,
    /// Whether one of a direct chat's two users blocks the other.
    pub(crate) blocked: bool,
    /// Until when the member is muted, if that is to come.
    pub(crate) muted_until: Option<OffsetDateTime>,
    pub(crate) last_sequence: i64,
    /// The first sequence that is kept.
    pub(crate) kept_sequence: i64,
    /// The first sequence that this member may see.
    pub(crate) first_sequence: i64,
}

impl Access {
    /// What the user is in the chat; `NOT_FOUND` where the user is no member, and where there is no such chat.
    pub(crate) async fn of(executor: impl PgExecutor<'_>, chat_id: ChatId, user_id: UserId) -> Result<Self, Error> {
        let access = sqlx::query_as!(
            Self,
            r#"
            select
                a.role as "role!", a.archived as "archived!", a.blocked as "blocked!",
                case when a.mute_end_time > clock_timestamp() then a.mute_end_time end as muted_until,
                a.last_sequence as "last_sequence!", a.kept_sequence as "kept_sequence!",
                a.first_sequence as "first_sequence!"
            from messages.access a
            where a.chat_id = $1 and a.user_id = $2
            "#,
            chat_id.uuid(),
            user_id.uuid(),
        )
        .fetch_optional(executor)
        .await?;
        access.ok_or_else(|| Problem::not_found().into())
    }

    /// Whether the member may do what admins do.
    pub(crate) fn is_admin(&self) -> bool {
        i32::from(self.role) >= i32::from(ChatRole::Admin)
    }

    /// Fails where nothing can be written: `CHAT_ARCHIVED`, `BLOCKED`, `MEMBER_MUTED`.
    pub(crate) fn check_writable(&self) -> Result<(), Problem> {
        if self.archived {
            return Err(Problem::new(ErrorReason::ChatArchived));
        }
        if self.blocked {
            return Err(Problem::new(ErrorReason::Blocked));
        }
        self.muted_until.map_or(Ok(()), |until| Err(send::muted(until)))
    }
}

/// Locks the chat's row, for whatever writes into its log: it gives the entry its place, and the statements that follow see what
/// was committed before. `NOT_FOUND` where there is no such chat; whether the caller may know of it is asked next, under the lock.
pub(crate) async fn lock_chat(tx: &mut sqlx::PgConnection, chat_id: ChatId) -> Result<(), Error> {
    let found = sqlx::query_scalar!(
        r#"select true as "found!" from messages.chats where chat_id = $1 for update"#,
        chat_id.uuid(),
    )
    .fetch_optional(tx)
    .await?;
    found.map(|_| ()).ok_or_else(|| Problem::not_found().into())
}
