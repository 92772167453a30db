/// How the suite runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All services in one process: `tidings all`.
    One,
    /// Each service in a process of its own, talking gRPC.
    Five,
}

/// A process of the suite, by the service that it runs; `All` in the shape of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    /// All services.
    All,
    /// Auth.
    Auth,
    /// User.
    User,
    /// Chat.
    Chat,
    /// Message.
    Message,
    /// A second process of message, on the same database and folder of attachments, which no other process calls.
    SecondMessage,
    /// The gateway.
    Gateway,
}

impl Process {
    /// The command of `tidings` that runs it.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Auth => "auth",
            Self::User => "user",
            Self::Chat => "chat",
            Self::Message | Self::SecondMessage => "message",
            Self::Gateway => "gateway",
        }
    }

    /// Its name among the processes of a suite.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SecondMessage => "second-message",
            other => other.command(),
        }
    }

    /// The processes of a shape, those first that others call.
    #[must_use]
    pub const fn of(shape: Shape) -> &'static [Self] {
        match shape {
            Shape::One => &[Self::All],
            Shape::Five => &[Self::User, Self::Auth, Self::Message, Self::Chat, Self::Gateway],
        }
    }
}
