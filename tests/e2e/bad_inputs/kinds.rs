use prost_reflect::MessageDescriptor;

use super::fields::Field;

/// What a field of a request is, which decides what is bad for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The id of a thing.
    Id(Id),
    /// Several ids of things, so many at least and at most.
    Ids(Id, usize, usize),
    /// Text that people read.
    Text(Text),
    /// A name for programs: 2 to 32 of `a-z`, `0-9`, `.`, `_`, `-`.
    Name,
    /// An e-mail address.
    Email,
    /// What somebody logs in with.
    Identifier,
    /// A password to be set.
    NewPassword,
    /// A password to be proven.
    Password,
    /// A token that was mailed, or that refreshes: at most 1,024 bytes.
    Secret,
    /// The application's map of strings.
    Metadata,
    /// What another system calls the thing: at most 128 bytes.
    ExternalId,
    /// An `https` address.
    Url,
    /// The state that a change is based on.
    Etag,
    /// The id of the request itself.
    RequestId,
    /// The fields to change: these and no others.
    UpdateMask(&'static [&'static str]),
    /// How many things a page has.
    PageSize,
    /// Where a page begins.
    PageToken,
    /// A bound by sequence, 0 for none.
    Sequence,
    /// The number of an assistant session, from 1.
    SessionNumber,
    /// The last position of a log that a client has, which may be beyond its head.
    Position,
    /// The positions that a client has, at most 10,000 chats and none twice.
    Positions,
    /// The id of the deployment's logs: another than the server's begins anew.
    LogId,
    /// A number of an enum. Numbers that exist but do not suit this field are listed.
    Enum(&'static [i32]),
    /// Numbers of permissions.
    Permissions,
    /// Yes or no: every value is allowed, and malformed ones cannot be written in protobuf.
    Flag,
    /// A flag that only `false` suits so far.
    FlagOff,
    /// A MIME type.
    MediaType,
    /// A size in bytes, 1 to 104,857,600.
    Size,
    /// A SHA-256 in hexadecimal.
    Sha256,
    /// A file's name.
    FileName,
}

/// What an id is the id of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Thing {
    User,
    Role,
    Group,
    Chat,
    Message,
    Response,
    Attachment,
}

/// How an RPC takes an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    pub thing: Thing,
    /// Whether the field may be empty.
    pub optional: bool,
    /// Whether an id of nothing is passed over, by the RPC's comment; else it is `NOT_FOUND`.
    pub passed_over: bool,
}

impl Id {
    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    const fn passed_over(self) -> Self {
        Self {
            passed_over: true,
            ..self
        }
    }
}

/// What a text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// Whether it may be empty.
    pub optional: bool,
    /// At most this many code points.
    pub chars_max: usize,
    /// Whether it may have several lines.
    pub multiline: bool,
    /// Whether characters that reorder or hide text are refused.
    pub plain: bool,
}

const fn id(thing: Thing) -> Id {
    Id {
        thing,
        optional: false,
        passed_over: false,
    }
}

/// `Message.text`.
const MESSAGE: Text = Text {
    optional: false,
    chars_max: 8_000,
    multiline: true,
    plain: false,
};

/// Names and titles that must be given.
const NAME: Text = Text {
    optional: false,
    chars_max: 128,
    multiline: false,
    plain: true,
};

/// Names and titles that may be empty.
const OPTIONAL_NAME: Text = Text { optional: true, ..NAME };

/// Longer texts about a user, role or group.
const ABOUT: Text = Text {
    optional: true,
    chars_max: 1_000,
    multiline: true,
    plain: false,
};

/// The table, by message and field, or by field alone after `*`. What names the message comes before what does not. Written from
/// `api.md` and the comments in the protos; a field that is not here fails a test.
const KINDS: &[(&str, Kind)] = {
    use Kind::{
        Email, Enum, Etag, ExternalId, FileName, Flag, FlagOff, Identifier, Ids, LogId, MediaType, Metadata, Name,
        NewPassword, PageSize, PageToken, Password, Permissions, Position, Positions, RequestId, Secret, Sequence,
        SessionNumber, Sha256, Size, UpdateMask, Url,
    };
    use Thing::{Attachment, Chat, Group, Message, Response, Role, User};
    &[
        // Ids
        ("UpdateUserRequest.user_id", Kind::Id(id(User).optional())),
        ("RemoveMemberRequest.user_id", Kind::Id(id(User).passed_over())),
        ("RemoveChatMemberRequest.user_id", Kind::Id(id(User).passed_over())),
        (
            "ListRoleAssignmentsRequest.user_id",
            Kind::Id(id(User).optional().passed_over()),
        ),
        (
            "ListRoleAssignmentsRequest.role_id",
            Kind::Id(id(Role).optional().passed_over()),
        ),
        (
            "CreateResponseRequest.attachment_id",
            Kind::Id(id(Attachment).optional()),
        ),
        ("*.after.chats.chat_id", Kind::Id(id(Chat).passed_over())),
        ("*.user_id", Kind::Id(id(User))),
        ("*.assistant_user_id", Kind::Id(id(User).optional())),
        ("*.role_id", Kind::Id(id(Role))),
        ("*.group_id", Kind::Id(id(Group))),
        ("*.chat_id", Kind::Id(id(Chat))),
        ("*.message_id", Kind::Id(id(Message))),
        ("*.reply_to_message_id", Kind::Id(id(Message).optional())),
        ("*.response_id", Kind::Id(id(Response))),
        ("*.attachment_id", Kind::Id(id(Attachment))),
        ("BatchGetUsersRequest.user_ids", Ids(id(User).passed_over(), 1, 200)),
        ("CreateConversationRequest.user_ids", Ids(id(User), 1, 199)),
        ("*.message_ids", Ids(id(Message).passed_over(), 1, 100)),
        ("*.attachment_ids", Ids(id(Attachment), 0, 10)),
        ("*.request_id", RequestId),
        ("*.after.log_id", LogId),
        // Text
        ("*.text", Kind::Text(MESSAGE)),
        ("RegisterRequest.display_name", Kind::Text(OPTIONAL_NAME)),
        ("CreateRoleRequest.display_name", Kind::Text(OPTIONAL_NAME)),
        ("*.display_name", Kind::Text(NAME)),
        ("CreateChatRequest.title", Kind::Text(NAME)),
        // The row's chat is a group's, which cannot be without a title.
        ("UpdateChatRequest.title", Kind::Text(NAME)),
        ("*.title", Kind::Text(OPTIONAL_NAME)),
        ("*.device_label", Kind::Text(OPTIONAL_NAME)),
        ("*.bio", Kind::Text(ABOUT)),
        ("*.description", Kind::Text(ABOUT)),
        ("*.metadata", Metadata),
        ("*.external_id", ExternalId),
        ("*.avatar_url", Url),
        ("*.file_name", FileName),
        ("*.media_type", MediaType),
        ("*.sha256", Sha256),
        ("*.size_bytes", Size),
        // Who somebody is
        ("RegisterRequest.username", Name),
        ("CreateRoleRequest.name", Name),
        ("*.email", Email),
        ("*.identifier", Identifier),
        ("RegisterRequest.password", NewPassword),
        ("*.new_password", NewPassword),
        ("LoginRequest.password", Password),
        ("*.token", Secret),
        ("*.refresh_token", Secret),
        // Changes
        ("*.etag", Etag),
        (
            "UpdateUserRequest.update_mask",
            UpdateMask(&["display_name", "bio", "avatar_url", "metadata", "external_id"]),
        ),
        (
            "UpdateRoleRequest.update_mask",
            UpdateMask(&["display_name", "description", "permissions"]),
        ),
        (
            "UpdateGroupRequest.update_mask",
            UpdateMask(&["display_name", "description", "metadata"]),
        ),
        ("UpdateChatRequest.update_mask", UpdateMask(&["title", "metadata"])),
        (
            "UpdateChatSessionRequest.update_mask",
            UpdateMask(&["title", "metadata"]),
        ),
        ("UpdateMessageRequest.update_mask", UpdateMask(&["text", "metadata"])),
        // Pages and places
        ("*.page_size", PageSize),
        ("*.page_token", PageToken),
        ("*.around_sequence", Sequence),
        ("*.after_sequence", Sequence),
        ("*.before_sequence", Sequence),
        ("*.session_number", SessionNumber),
        ("*.after.user_position", Position),
        ("*.after.chats.position", Position),
        ("*.after.chats", Positions),
        // Choices
        ("*.role", Enum(&[])),
        ("*.history", Enum(&[])),
        ("*.order", Enum(&[])),
        ("*.scope", Enum(&[])),
        // An image without an attachment, a file, what only the server writes.
        ("CreateResponseRequest.type", Enum(&[2, 3, 4, 5])),
        ("*.permissions", Permissions),
        ("*.keep_current", Flag),
        ("*.streaming", FlagOff),
    ]
};

impl Kind {
    /// What the table says of a field of this request.
    pub fn of(request: &str, field: &Field) -> Option<Self> {
        let name = field.name();
        let named = |wanted: String| KINDS.iter().find(|(name, _)| *name == wanted).map(|(_, kind)| *kind);
        named(format!("{request}.{name}")).or_else(|| named(format!("*.{name}")))
    }

    /// The names of all lines of the table.
    pub fn lines() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|(name, _)| *name)
    }
}

/// The fields that a change can name, by the comment on its mask.
pub fn changeable(request: &MessageDescriptor) -> &'static [&'static str] {
    let mask = Field::top(request, "update_mask");
    match mask.and_then(|mask| Kind::of(request.name(), &mask)) {
        Some(Kind::UpdateMask(paths)) => paths,
        other => panic!("{} has no mask in the table, but {other:?}", request.name()),
    }
}
