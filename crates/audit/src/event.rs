//! What an entry of the trail tells.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use tidings_authn::Service;
use tidings_ids::{
    ApiKeyId, AttachmentId, AudienceId, ChatId, FamilyId, GroupId, Id, KeyId, LoginSessionId, MessageId, RoleId,
    Source, UserId, kind,
};
use tidings_proto_common::v1::{AuditCategory, ErrorReason};
use tidings_rpc::{Denial, Origin, problem::reason_name};
use time::OffsetDateTime;
use tracing::Span;
use uuid::Uuid;

/// An event has so many subjects at the most: those of the largest calls, with room. What is left out is counted in the details.
pub(crate) const SUBJECTS_MAX: usize = 100;

/// An event has so many details at the most, and a value so many characters: names of fields, kinds and numbers fit.
pub(crate) const DETAILS_MAX: usize = 16;
const DETAIL_CHARS_MAX: usize = 200;

/// What happened, on its way into the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub(crate) event_id: Uuid,
    pub(crate) event_time: OffsetDateTime,
    pub(crate) category: AuditCategory,
    pub(crate) action: String,
    pub(crate) actor: Actor,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) outcome: Outcome,
    /// 32 digits, or empty.
    pub(crate) trace_id: String,
    pub(crate) request_id: Option<Uuid>,
    /// Such as `192.0.2.0/24`, or empty.
    pub(crate) client_prefix: String,
    pub(crate) details: BTreeMap<String, String>,
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A person, with the login session that they did it in, where there was one.
    User(UserId, Option<LoginSessionId>),
    /// A bot, with its login session or API key.
    Bot(UserId, Option<LoginSessionId>),
    /// A service of the suite, by itself or through an internal RPC.
    Service(Service),
    /// Whoever may run programs beside the database.
    Operator,
    /// Somebody who has not proven who they are.
    Anonymous,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, for a reason of `ErrorReason`, without the enum's prefix.
    Refused(String),
}

/// What it was done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The kind of thing, such as `user`.
    pub(crate) kind: String,
    /// Its id.
    pub(crate) id: Uuid,
}

impl Event {
    /// What the current call has done. Outside of calls it is what the service does by itself under the name `action`, such as
    /// `auth.sweep`. The category is that of the call's RPC wherever the RPC declares one.
    #[must_use]
    pub fn of_call(source: &Source, category: AuditCategory, action: &'static str) -> Self {
        let mut event = Self::new(source, category, action);
        if let Some(origin) = tidings_rpc::origin() {
            event.originate(&origin);
        }
        event.trace_id = tidings_telemetry::trace_id(&Span::current()).unwrap_or_default();
        event
    }

    fn new(source: &Source, category: AuditCategory, action: &str) -> Self {
        Self {
            event_id: source.new_id::<kind::Request>().uuid(),
            event_time: source.now(),
            category,
            action: action.to_owned(),
            actor: action
                .split_once('.')
                .and_then(|(service, _)| Service::from_name(service))
                .map_or(Actor::Operator, Actor::Service),
            subjects: Vec::new(),
            outcome: Outcome::Done,
            trace_id: String::new(),
            request_id: None,
            client_prefix: String::new(),
            details: BTreeMap::new(),
        }
    }

    /// What a call was denied.
    pub(crate) fn of_denial(source: &Source, denial: Denial) -> Self {
        let mut event = Self::new(source, denial.origin.audit_category, &denial.origin.method);
        event.originate(&denial.origin);
        event.event_time = denial.time;
        event.trace_id = denial.trace_id.unwrap_or_default();
        event.outcome = Outcome::Refused(denial.reason);
        event
    }

    fn originate(&mut self, origin: &Origin) {
        if origin.audit_category != AuditCategory::None {
            self.category = origin.audit_category;
        }
        origin.method.as_ref().clone_into(&mut self.action);
        self.actor = match (&origin.caller, origin.service) {
            (Some(caller), _) if caller.is_bot => Actor::Bot(caller.user_id, Some(caller.login_session_id)),
            (Some(caller), _) => Actor::User(caller.user_id, Some(caller.login_session_id)),
            (None, Some(service)) => Actor::Service(service),
            (None, None) => Actor::Anonymous,
        };
        self.client_prefix = origin.address.map(prefix).unwrap_or_default();
    }

    /// It was done by somebody whom the call has proven in the meantime, or by somebody behind no call.
    #[must_use]
    pub fn actor(mut self, actor: Actor) -> Self {
        self.actor = actor;
        self
    }

    /// It was done to this, among others.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<Subject>) -> Self {
        if self.subjects.len() < SUBJECTS_MAX {
            self.subjects.push(subject.into());
            return self;
        }
        let counted = self
            .details
            .get("subjects_left_out")
            .and_then(|count| count.parse::<u64>().ok());
        let count = counted.unwrap_or(0) + 1;
        self.detail("subjects_left_out", count)
    }

    /// The same for several.
    #[must_use]
    pub fn subjects<S: Into<Subject>>(self, subjects: impl IntoIterator<Item = S>) -> Self {
        subjects.into_iter().fold(self, Self::subject)
    }

    /// The caller's `request_id`.
    #[must_use]
    pub fn request(mut self, request_id: Option<impl Into<Uuid>>) -> Self {
        self.request_id = request_id.map(Into::into);
        self
    }

    /// It was refused.
    #[must_use]
    pub fn refused(mut self, reason: ErrorReason) -> Self {
        self.outcome = Outcome::Refused(reason_name(reason).to_owned());
        self
    }

    /// Something else worth knowing: a kind, a number, names of fields. What is too long is cut off, and what is too much left out.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        if self.details.len() < DETAILS_MAX || self.details.contains_key(name) {
            let value = value.to_string();
            let plain = value.chars().filter(|letter| !letter.is_control());
            self.details
                .insert(name.to_owned(), plain.take(DETAIL_CHARS_MAX).collect());
        }
        self
    }
}

impl Actor {
    /// The user or bot.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User(user_id, _) | Self::Bot(user_id, _) => Some(*user_id),
            Self::Service(_) | Self::Operator | Self::Anonymous => None,
        }
    }
}

impl Subject {
    /// A thing of a kind that has no id type here, such as `api_key`. Kinds are in snake case.
    #[must_use]
    pub fn new(kind: &'static str, id: impl Into<Uuid>) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.into(),
        }
    }
}

macro_rules! subjects {
    ($($id:ty => $kind:literal,)+) => {$(
        impl From<$id> for Subject {
            fn from(id: $id) -> Self {
                Self::new($kind, Id::uuid(id))
            }
        }
    )+};
}

subjects! {
    ApiKeyId => "api_key",
    AttachmentId => "attachment",
    AudienceId => "audience",
    ChatId => "chat",
    FamilyId => "family",
    GroupId => "group",
    KeyId => "signing_key",
    LoginSessionId => "login_session",
    MessageId => "message",
    RoleId => "role",
    UserId => "user",
}

/// The network of a client, without what tells one from another in it: a /24 of IPv4, a /48 of IPv6.
fn prefix(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_authn::Service;
    use tidings_ids::{Source, UserId};
    use tidings_proto_common::v1::{AuditCategory, ErrorReason};

    use super::{Actor, DETAIL_CHARS_MAX, DETAILS_MAX, Event, Outcome, SUBJECTS_MAX, prefix};

    fn event() -> Event {
        Event::of_call(&Source::seeded(1), AuditCategory::Administration, "auth.sweep")
    }

    #[test]
    fn what_a_service_does_by_itself_is_the_services() {
        assert_eq!(event().actor, Actor::Service(Service::Auth));
        assert_eq!(event().action, "auth.sweep");
        assert_eq!(event().outcome, Outcome::Done);
    }

    #[test]
    fn an_event_is_bounded_in_subjects_and_details() {
        let source = Source::seeded(1);
        let users = (0..SUBJECTS_MAX + 5).map(|_| source.new_id()).collect::<Vec<UserId>>();
        let event = event().subjects(users);
        assert_eq!(event.subjects.len(), SUBJECTS_MAX);
        assert_eq!(event.details["subjects_left_out"], "5");

        const NAMES: [&str; 20] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t",
        ];
        let event = NAMES
            .iter()
            .fold(self::event(), |event, name| event.detail(name, "é".repeat(1_000)));
        assert_eq!(event.details.len(), DETAILS_MAX);
        assert!(
            event
                .details
                .values()
                .all(|value| value.chars().count() == DETAIL_CHARS_MAX)
        );
    }

    #[test]
    fn control_characters_which_no_database_would_take_are_left_out() {
        assert_eq!(event().detail("fields", "a\0b\nc").details["fields"], "abc");
    }

    #[test]
    fn a_refusal_names_its_reason() {
        let event = event().refused(ErrorReason::CredentialsInvalid);
        assert_eq!(event.outcome, Outcome::Refused("CREDENTIALS_INVALID".to_owned()));
    }

    #[test]
    fn of_an_address_only_the_network_is_kept() {
        for (address, network) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ] {
            assert_eq!(prefix(address.parse().expect("an address")), network);
        }
    }
}
