//! Typed identifiers, and the one place where time and randomness come from.
//!
//! An id on the wire is an opaque string; in the code it is an [`Id`] of one kind, so that a message's id cannot be passed
//! where a chat's belongs. All are UUIDs of version 7 ([RFC 9562]), which keeps the newest rows of an index together.
//!
//! [RFC 9562]: https://www.rfc-editor.org/rfc/rfc9562

mod id;
mod source;

pub use id::{Id, InvalidId, Kind};
pub use source::Source;

/// The kinds of things that have ids, in alphabetical order.
pub mod kind {
    use super::Kind;

    macro_rules! kinds {
        ($($name:ident, $text:literal;)+) => {$(
            #[doc = concat!("The id of ", $text, ".")]
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name;
            impl Kind for $name {
                const NAME: &'static str = $text;
            }
        )+};
    }

    kinds! {
        ApiKey, "an API key";
        Attachment, "an attachment";
        Audience, "an audience: a group, or a chat without a group";
        Chat, "a chat";
        EmailChange, "a change of an account's e-mail address";
        Family, "a family of refresh tokens";
        Group, "a group";
        Key, "a signing key";
        Log, "a deployment's logs, which changes when a backup is restored";
        LoginSession, "a login session";
        Mail, "a mail that waits to be sent";
        Message, "a message or a response";
        Request, "a request that may be repeated";
        Role, "a role";
        Token, "a mailed token";
        User, "a user";
    }
}

/// The id of an API key.
pub type ApiKeyId = Id<kind::ApiKey>;
/// The id of an attachment.
pub type AttachmentId = Id<kind::Attachment>;
/// The id of an audience: the group's id for a group, the chat's id for a chat without one.
pub type AudienceId = Id<kind::Audience>;
/// The id of a chat.
pub type ChatId = Id<kind::Chat>;
/// The id of a change of an account's e-mail address.
pub type EmailChangeId = Id<kind::EmailChange>;
/// The id of a family of refresh tokens.
pub type FamilyId = Id<kind::Family>;
/// The id of a group.
pub type GroupId = Id<kind::Group>;
/// The id of a signing key.
pub type KeyId = Id<kind::Key>;
/// The id of a deployment's logs.
pub type LogId = Id<kind::Log>;
/// The id of a login session.
pub type LoginSessionId = Id<kind::LoginSession>;
/// The id of a mail that waits to be sent.
pub type MailId = Id<kind::Mail>;
/// The id of a message or a response.
pub type MessageId = Id<kind::Message>;
/// The id of a request that may be repeated.
pub type RequestId = Id<kind::Request>;
/// The id of a role.
pub type RoleId = Id<kind::Role>;
/// The id of a mailed token.
pub type TokenId = Id<kind::Token>;
/// The id of a user.
pub type UserId = Id<kind::User>;
