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
    /// The name of a user who is looked for.
    KnownName,
    /// The address of a user who is looked for.
    KnownEmail,
    /// What another system calls the user who is looked for.
    KnownExternalId,
    /// Words to look for: 1 to 8, in 1 to 128 code points.
    Query,
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
    /// A name for a user who may be there already, and keeps the one that they have.
    NewName,
    /// What a product calls its user: 1 to 128 bytes that do not begin with `oidc:`.
    OwnersId,
    /// A field of what is switched off: whether it is a secret.
    SwitchedOff(bool),
    /// Names of roles.
    RoleNames,
    /// A proof that the call does not ask for: it is not looked at.
    Unasked,
    /// A proof without which the call asks for one.
    Proof,
    /// A proof beside another one, of which a call takes one only.
    SecondProof,
    /// The code of an authenticator app.
    Code,
    /// What keeps a device's failures apart: what is none counts as none. At most 256 bytes.
    DeviceToken,
    /// A token that is asked about: what is none is not active. At most 4,096 bytes.
    AnyToken,
    /// Numbers of permissions that a key is for: at least one.
    KeyPermissions,
    /// When a key ends: in the future, and not in more than ten years.
    Expiry,
    /// A number of an enum that must be one.
    Required,
    /// The full name of an RPC.
    MethodName,
    /// Questions about access, 1 to 100.
    Questions,
    /// The whole name of an action in a trail, at most 200 characters.
    Action,
    /// A time to choose by.
    Moment,
    /// A number of a head that somebody claims to know.
    HeadNumber,
    /// Bytes of a head that somebody claims to know.
    HeadBytes,
    /// How high a role stands: 0 to 1000.
    Rank,
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
    LoginSession,
    ServiceAccount,
    ApiKey,
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
        Action, AnyToken, Code, DeviceToken, Email, Enum, Etag, Expiry, ExternalId, FileName, Flag, FlagOff, HeadBytes,
        HeadNumber, Identifier, Ids, KeyPermissions, KnownEmail, KnownExternalId, KnownName, LogId, MediaType,
        Metadata, MethodName, Moment, Name, NewName, NewPassword, OwnersId, PageSize, PageToken, Password, Permissions,
        Position, Positions, Proof, Query, Questions, Rank, RequestId, Required, RoleNames, SecondProof, Secret,
        Sequence, SessionNumber, Sha256, Size, SwitchedOff, Unasked, UpdateMask, Url,
    };
    use Thing::{ApiKey, Attachment, Chat, Group, LoginSession, Message, Response, Role, ServiceAccount, User};
    &[
        // Ids
        ("UpdateUserRequest.user_id", Kind::Id(id(User).optional())),
        ("ChangeUsernameRequest.user_id", Kind::Id(id(User).optional())),
        ("DeleteUserRequest.user_id", Kind::Id(id(User).optional())),
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
        ("ListLoginSessionsRequest.user_id", Kind::Id(id(User).optional())),
        ("ListCredentialsRequest.user_id", Kind::Id(id(User).optional())),
        ("RemoveTotpRequest.user_id", Kind::Id(id(User).optional())),
        ("GetServiceAccountRequest.user_id", Kind::Id(id(ServiceAccount))),
        ("DeleteServiceAccountRequest.user_id", Kind::Id(id(ServiceAccount))),
        ("CreateApiKeyRequest.user_id", Kind::Id(id(ServiceAccount))),
        ("ListApiKeysRequest.user_id", Kind::Id(id(ServiceAccount))),
        ("RevokeApiKeyRequest.user_id", Kind::Id(id(ServiceAccount))),
        ("*.query.user_id", Kind::Id(id(User).optional())),
        ("*.queries.user_id", Kind::Id(id(User).optional())),
        ("*.query.target_user_id", Kind::Id(id(User).optional().passed_over())),
        ("*.queries.target_user_id", Kind::Id(id(User).optional().passed_over())),
        ("*.query.target_role_id", Kind::Id(id(Role).optional().passed_over())),
        ("*.queries.target_role_id", Kind::Id(id(Role).optional().passed_over())),
        ("*.filter.actor_user_id", Kind::Id(id(User).optional().passed_over())),
        ("*.filter.subject_id", Kind::Id(id(User).optional().passed_over())),
        ("*.user_id", Kind::Id(id(User))),
        ("*.login_session_id", Kind::Id(id(LoginSession))),
        ("*.api_key_id", Kind::Id(id(ApiKey))),
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
        ("CreateServiceAccountRequest.display_name", Kind::Text(OPTIONAL_NAME)),
        ("*.label", Kind::Text(NAME)),
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
        ("ChangeUsernameRequest.username", Name),
        ("CreateServiceAccountRequest.username", Name),
        ("CreateUserTokenRequest.username", NewName),
        ("CreateUserTokenRequest.external_id", OwnersId),
        ("ExchangeExternalTokenRequest.id_token", SwitchedOff(true)),
        ("ExchangeExternalTokenRequest.nonce", SwitchedOff(false)),
        ("ExchangeExternalTokenRequest.device_label", SwitchedOff(false)),
        ("CreateUserTokenRequest.display_name", Kind::Text(OPTIONAL_NAME)),
        ("*.role_names", RoleNames),
        ("LookupUserRequest.username", KnownName),
        ("LookupUserRequest.email", KnownEmail),
        ("LookupUserRequest.external_id", KnownExternalId),
        ("SearchUsersRequest.query", Query),
        ("CreateRoleRequest.name", Name),
        ("*.email", Email),
        ("*.identifier", Identifier),
        ("RegisterRequest.password", NewPassword),
        ("*.new_password", NewPassword),
        ("LoginRequest.password", Password),
        ("RemoveTotpRequest.current_password", Unasked),
        ("RemoveTotpRequest.totp_code", Unasked),
        ("*.recovery_code", Unasked),
        ("LoginRequest.totp_code", Unasked),
        ("GenerateRecoveryCodesRequest.current_password", Proof),
        ("GenerateRecoveryCodesRequest.totp_code", SecondProof),
        ("ConfirmTotpRequest.totp_code", Code),
        ("*.current_password", Password),
        ("*.device_token", DeviceToken),
        ("IntrospectTokenRequest.token", AnyToken),
        ("*.key", Secret),
        ("*.new_email", Email),
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
            UpdateMask(&["display_name", "description", "permissions", "rank"]),
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
        ("UpdateLoginSessionRequest.update_mask", UpdateMask(&["device_label"])),
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
        ("CreateApiKeyRequest.permissions", KeyPermissions),
        ("*.permissions", Permissions),
        ("*.expire_time", Expiry),
        ("*.query.permission", Required),
        ("*.queries.permission", Required),
        ("*.query.method", MethodName),
        ("*.queries.method", MethodName),
        ("*.queries", Questions),
        ("*.filter.action", Action),
        ("*.filter.category", Enum(&[])),
        ("*.filter.start_time", Moment),
        ("*.filter.end_time", Moment),
        ("*.from_number", Sequence),
        ("*.to_number", Sequence),
        ("*.expected_head.number", HeadNumber),
        ("*.expected_head.hash", HeadBytes),
        ("*.expected_head.sign_time", Moment),
        ("*.expected_head.previous_number", HeadNumber),
        ("*.expected_head.public_key", HeadBytes),
        ("*.expected_head.signature", HeadBytes),
        ("*.end_current", Flag),
        ("*.rank", Rank),
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

    /// Whether it is a password or a token.
    pub const fn is_secret(self) -> bool {
        matches!(
            self,
            Self::NewPassword
                | Self::Password
                | Self::Secret
                | Self::Unasked
                | Self::Proof
                | Self::SecondProof
                | Self::Code
                | Self::DeviceToken
                | Self::AnyToken
                | Self::SwitchedOff(true)
        )
    }

    /// Whether somebody has written it, or it says who somebody is.
    pub const fn is_text(self) -> bool {
        matches!(
            self,
            Self::Text(_)
                | Self::Email
                | Self::KnownEmail
                | Self::KnownExternalId
                | Self::OwnersId
                | Self::SwitchedOff(false)
                | Self::Query
                | Self::Identifier
                | Self::Metadata
                | Self::ExternalId
                | Self::Url
                | Self::FileName
        )
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
