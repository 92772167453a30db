use std::fmt;

/// A schema of the suite, each owned by one service and open to that service's role alone.
///
/// SQL that is shared by several services is put together from these names, and from nothing else: they are constants, so
/// no text of a caller can reach a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Schema {
    /// Owned by the auth service.
    Auth,
    /// Owned by the user service. Plural, because `user` is an SQL keyword.
    Users,
    /// Owned by the chat service.
    Chats,
    /// Owned by the message service.
    Messages,
}

impl Schema {
    /// All of them, in the order in which they are migrated.
    pub const ALL: [Self; 4] = [Self::Auth, Self::Users, Self::Chats, Self::Messages];

    /// Its name in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Users => "users",
            Self::Chats => "chats",
            Self::Messages => "messages",
        }
    }

    /// The role that may read and write it, see `deploy/roles.sql`.
    #[must_use]
    pub const fn role(self) -> &'static str {
        match self {
            Self::Auth => "tidings_auth",
            Self::Users => "tidings_user",
            Self::Chats => "tidings_chat",
            Self::Messages => "tidings_message",
        }
    }

    /// A statement with `{schema}` replaced by the name.
    pub(crate) fn sql(self, template: &'static str) -> sqlx::AssertSqlSafe<String> {
        sqlx::AssertSqlSafe(template.replace("{schema}", self.name()))
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
