//! The bytes of an entry that its hash is over, so that anybody can compute it again.
//!
//! The hash of entry *n* is SHA-256 over the 32 bytes of the hash of entry *n* − 1 and then these fields in this order, each as its
//! length in bytes (4 bytes, big endian) and its bytes:
//!
//! `number`, `seal_time`, `event_id`, `event_time`, `category`, `action`, `actor_kind`, `actor_id`, `actor_service`, `login_session_id`,
//! the number of subjects, of each its `kind` and `id`, `outcome`, `reason`, `trace_id`, `request_id`, `client_prefix`, the number of
//! details, of each its name and value, in the order of names by their bytes.
//!
//! Numbers (enums by their value in `tidings.common.v1`) are 8 bytes, big endian; times are microseconds since 1970 as such a number;
//! ids are their 16 bytes, or none where there is no id; texts are UTF-8. Before entry 1 stands SHA-256 over
//! `tidings.audit.v1/<schema>`, so that no service's trail can pass for another's.

use aws_lc_rs::digest::{self, SHA256};
use tidings_db::Schema;
use tidings_proto_common::v1::{AuditActorKind, AuditOutcome};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Actor, Event, Outcome};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// What stands before the first entry.
pub(crate) fn genesis(schema: Schema) -> Hash {
    sha256(format!("tidings.audit.v1/{schema}").as_bytes())
}

/// The hash of the entry with this number.
pub(crate) fn hash(previous: &Hash, number: i64, seal_time: OffsetDateTime, event: &Event) -> Hash {
    let mut bytes = Bytes(previous.to_vec());
    bytes.number(number);
    bytes.time(seal_time);
    bytes.id(Some(event.event_id));
    bytes.time(event.event_time);
    bytes.number(event.category as i64);
    bytes.text(&event.action);
    bytes.number(actor_kind(&event.actor) as i64);
    bytes.id(event.actor.user_id().map(Uuid::from));
    bytes.text(actor_service(&event.actor));
    bytes.id(login_session_id(&event.actor));
    bytes.count(event.subjects.len());
    for subject in &event.subjects {
        bytes.text(&subject.kind);
        bytes.id(Some(subject.id));
    }
    bytes.number(outcome(&event.outcome) as i64);
    bytes.text(reason(&event.outcome));
    bytes.text(&event.trace_id);
    bytes.id(event.request_id);
    bytes.text(&event.client_prefix);
    bytes.count(event.details.len());
    for (name, value) in &event.details {
        bytes.text(name);
        bytes.text(value);
    }
    sha256(&bytes.0)
}

/// The kind of an actor, as the trail keeps and shows it.
pub(crate) fn actor_kind(actor: &Actor) -> AuditActorKind {
    match actor {
        Actor::User(..) => AuditActorKind::User,
        Actor::Bot(..) => AuditActorKind::Bot,
        Actor::Service(_) => AuditActorKind::Service,
        Actor::Operator => AuditActorKind::Operator,
        Actor::Anonymous => AuditActorKind::Anonymous,
    }
}

/// The name of the service that acted, or nothing.
pub(crate) fn actor_service(actor: &Actor) -> &'static str {
    match actor {
        Actor::Service(service) => service.name(),
        _ => "",
    }
}

/// The login session that somebody acted in.
pub(crate) fn login_session_id(actor: &Actor) -> Option<Uuid> {
    match actor {
        Actor::User(_, session) | Actor::Bot(_, session) => session.map(Uuid::from),
        Actor::Service(_) | Actor::Operator | Actor::Anonymous => None,
    }
}

/// The outcome, as the trail keeps and shows it.
pub(crate) fn outcome(outcome: &Outcome) -> AuditOutcome {
    match outcome {
        Outcome::Done => AuditOutcome::Done,
        Outcome::Refused(_) => AuditOutcome::Refused,
    }
}

/// Why it was refused, or nothing.
pub(crate) fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done => "",
        Outcome::Refused(reason) => reason,
    }
}

/// A time as the number that stands for it, as exact as Postgres keeps it.
fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn sha256(bytes: &[u8]) -> Hash {
    let digest = digest::digest(&SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Fields one after the other, each with its length.
#[derive(Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn field(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("an event is far below 4 GiB");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, number: i64) {
        self.field(&number.to_be_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(i64::try_from(count).expect("an event has few parts"));
    }

    pub(crate) fn time(&mut self, time: OffsetDateTime) {
        self.number(micros(time));
    }

    fn id(&mut self, id: Option<Uuid>) {
        self.field(id.as_ref().map_or(&[], |id| id.as_bytes().as_slice()));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.field(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tidings_authn::Service;
    use tidings_db::Schema;
    use tidings_ids::{RoleId, Source, UserId};
    use tidings_proto_common::v1::{AuditCategory, ErrorReason};

    use super::{genesis, hash};
    use crate::{Actor, Event};

    #[test]
    fn every_field_of_an_event_counts() {
        let source = Source::seeded(1);
        let (user_id, role_id): (UserId, RoleId) = (source.new_id(), source.new_id());
        let event = Event::of_call(&source, AuditCategory::Administration, "user.assign_role").subject(user_id);
        let mut later = event.clone();
        later.event_time += time::Duration::microseconds(1);
        let mut other_id = event.clone();
        other_id.event_id = source.new_id::<tidings_ids::kind::Request>().uuid();
        let mut traced = event.clone();
        traced.trace_id = "0123456789abcdef0123456789abcdef".to_owned();
        let mut from_somewhere = event.clone();
        from_somewhere.client_prefix = "192.0.2.0/24".to_owned();
        let mut of_another_kind = event.clone();
        of_another_kind.category = AuditCategory::Membership;
        let mut renamed = event.clone();
        renamed.action.push('s');
        let events = [
            event.clone().actor(Actor::Operator),
            event.clone().actor(Actor::Anonymous),
            event.clone().actor(Actor::Service(Service::Chat)),
            event.clone().actor(Actor::User(user_id, None)),
            event.clone().actor(Actor::Bot(user_id, None)),
            event.clone().actor(Actor::User(user_id, Some(source.new_id()))),
            event.clone().subject(role_id),
            event.clone().refused(ErrorReason::RankTooLow),
            event
                .clone()
                .request(Some(source.new_id::<tidings_ids::kind::Request>())),
            event.clone().detail("a", "bc"),
            event.clone().detail("ab", "c"),
            event,
            later,
            other_id,
            traced,
            from_somewhere,
            of_another_kind,
            renamed,
        ];
        let (start, seal_time) = (genesis(Schema::Users), source.now());
        let hashes: BTreeSet<_> = events.iter().map(|event| hash(&start, 1, seal_time, event)).collect();
        assert_eq!(hashes.len(), events.len());
        let moved = [
            hash(&start, 2, seal_time, &events[0]),
            hash(&start, 1, seal_time + time::Duration::microseconds(1), &events[0]),
            hash(&genesis(Schema::Auth), 1, seal_time, &events[0]),
        ];
        assert!(moved.iter().all(|hash| !hashes.contains(hash)));
    }
}
