//! The trail as messages of `tidings.common.v1`.

use prost_types::Timestamp;
use tidings_ids::kind;
use tidings_proto_common::v1::{
    AuditActor, AuditCategory, AuditEvent, AuditFilter, AuditFinding, AuditFindingKind, AuditHead, AuditSubject,
};
use tidings_rpc::{Violations, text::TextRule};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Actor, Event, Finding, FindingKind, Verification,
    encoding::{Hash, actor_kind, actor_service, login_session_id, outcome, reason},
    store::{Entry, Filter, Head, Kept},
    verify::{Expected, Range},
};

/// An action that is asked for: any name, as long as one can be.
const ACTION: TextRule = TextRule {
    chars_min: 0,
    chars_max: 200,
    bytes_max: 800,
    multiline: false,
    plain: false,
    visible: false,
};

pub(crate) fn event(entry: Entry) -> AuditEvent {
    let told = match entry.event {
        Kept::Whole(event) => told(*event),
        Kept::Unreadable | Kept::Gone => AuditEvent::default(),
    };
    AuditEvent {
        number: entry.number,
        event_id: entry.event_id.to_string(),
        seal_time: Some(timestamp(entry.seal_time)),
        previous_hash: entry.previous_hash.to_vec(),
        hash: entry.hash.to_vec(),
        ..told
    }
}

fn told(event: Event) -> AuditEvent {
    let subjects = event.subjects.into_iter();
    AuditEvent {
        event_time: Some(timestamp(event.event_time)),
        category: event.category.into(),
        action: event.action,
        actor: Some(actor(&event.actor)),
        subjects: subjects
            .map(|subject| AuditSubject {
                kind: subject.kind,
                id: subject.id.to_string(),
            })
            .collect(),
        outcome: outcome(&event.outcome).into(),
        reason: reason(&event.outcome).to_owned(),
        trace_id: event.trace_id,
        request_id: optional(event.request_id),
        client_prefix: event.client_prefix,
        details: event.details,
        ..AuditEvent::default()
    }
}

fn actor(actor: &Actor) -> AuditActor {
    AuditActor {
        kind: actor_kind(actor).into(),
        user_id: optional(actor.user_id().map(Uuid::from)),
        login_session_id: optional(login_session_id(actor)),
        service: actor_service(actor).to_owned(),
    }
}

fn optional(id: Option<Uuid>) -> String {
    id.as_ref().map(Uuid::to_string).unwrap_or_default()
}

pub(crate) fn filter(asked: AuditFilter, violations: &mut Violations) -> Filter {
    let category = AuditCategory::try_from(asked.category);
    let category = violations.check(
        "filter.category",
        category.map_err(|_| "must be a value of AuditCategory"),
    );
    violations.check("filter.action", ACTION.check(&asked.action));
    let mut time = |field, timestamp: Option<Timestamp>| {
        let time = timestamp.map(|timestamp| self::time(&timestamp).ok_or("must be a time of the years 1 to 9999"));
        time.and_then(|time| violations.check(field, time))
    };
    let (start_time, end_time) = (
        time("filter.start_time", asked.start_time),
        time("filter.end_time", asked.end_time),
    );
    Filter {
        actor_user_id: violations.optional_id("filter.actor_user_id", &asked.actor_user_id),
        subject_id: violations
            .optional_id::<kind::Request>("filter.subject_id", &asked.subject_id)
            .map(Uuid::from),
        action: (!asked.action.is_empty()).then_some(asked.action),
        category: category.filter(|category| !matches!(category, AuditCategory::Unspecified | AuditCategory::None)),
        start_time,
        end_time,
    }
}

/// The range that a request asks for.
pub(crate) fn range(from: i64, to: i64, violations: &mut Violations) -> Range {
    if from < 0 {
        violations.add("from_number", "must not be negative");
    }
    if to < 0 {
        violations.add("to_number", "must not be negative");
    } else if to != 0 && to < from {
        violations.add("to_number", "must not be below from_number");
    }
    Range { from, to }
}

/// The head that a request expects.
pub(crate) fn expected(head: Option<AuditHead>, violations: &mut Violations) -> Option<Expected> {
    let head = head?;
    if head.number < 1 {
        violations.add("expected_head.number", "must be 1 or more");
    }
    let hash = Hash::try_from(head.hash).map_err(|_| "must be 32 bytes");
    let hash = violations.check("expected_head.hash", hash)?;
    Some(Expected {
        number: head.number,
        hash,
    })
}

fn head(head: Head) -> AuditHead {
    AuditHead {
        number: head.number,
        hash: head.hash,
        sign_time: Some(timestamp(head.sign_time)),
        previous_number: head.previous_number,
        public_key: head.public_key,
        signature: head.signature,
    }
}

impl Verification {
    /// The newest head, as a message.
    #[must_use]
    pub fn head(&self) -> Option<AuditHead> {
        self.head.clone().map(head)
    }

    /// The findings, as messages.
    #[must_use]
    pub fn findings(&self) -> Vec<AuditFinding> {
        self.findings.iter().map(finding).collect()
    }
}

fn finding(finding: &Finding) -> AuditFinding {
    use AuditFindingKind as K;
    let (kind, sealed_number) = match finding.kind {
        FindingKind::Altered => (K::Altered, 0),
        FindingKind::Deleted => (K::Deleted, 0),
        FindingKind::Reordered { sealed_number } => (K::Reordered, sealed_number),
        FindingKind::Inserted => (K::Inserted, 0),
        FindingKind::CutOff => (K::CutOff, 0),
        FindingKind::HeadAltered => (K::HeadAltered, 0),
        FindingKind::HeadDeleted => (K::HeadDeleted, 0),
        FindingKind::HeadMismatch => (K::HeadMismatch, 0),
        FindingKind::HeadKeyUnknown => (K::HeadKeyUnknown, 0),
    };
    AuditFinding {
        kind: kind.into(),
        number: finding.number,
        last_number: finding.last_number,
        sealed_number,
    }
}

fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos: i32::try_from(time.nanosecond()).expect("below a billion"),
    }
}

fn time(timestamp: &Timestamp) -> Option<OffsetDateTime> {
    let nanos = i64::from(timestamp.nanos);
    if !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    let time = OffsetDateTime::from_unix_timestamp(timestamp.seconds).ok()?;
    time.checked_add(time::Duration::nanoseconds(nanos))
        .filter(|time| time.year() >= 1)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;
    use tidings_proto_common::v1::{AuditCategory, AuditFilter, AuditHead};
    use tidings_rpc::Violations;

    use super::{expected, filter, range};

    fn fields(violations: Violations) -> Vec<String> {
        violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn an_empty_filter_chooses_all_and_a_bad_one_names_its_fields() {
        let mut violations = Violations::new();
        let all = filter(AuditFilter::default(), &mut violations);
        assert!(violations.is_empty());
        assert!(all.category.is_none() && all.action.is_none() && all.start_time.is_none());

        let nonsense = Some(Timestamp { seconds: 0, nanos: -1 });
        let bad = AuditFilter {
            actor_user_id: "me".to_owned(),
            subject_id: "it".to_owned(),
            action: "a\0".to_owned(),
            category: 99,
            start_time: nonsense,
            end_time: nonsense,
        };
        filter(bad, &mut violations);
        let mut named = fields(violations);
        named.sort();
        assert_eq!(
            named,
            [
                "filter.action",
                "filter.actor_user_id",
                "filter.category",
                "filter.end_time",
                "filter.start_time",
                "filter.subject_id"
            ]
        );
    }

    #[test]
    fn the_category_none_chooses_all_since_nothing_is_recorded_under_it() {
        let asked = AuditFilter {
            category: AuditCategory::None.into(),
            ..AuditFilter::default()
        };
        assert_eq!(filter(asked, &mut Violations::new()).category, None);
    }

    #[test]
    fn ranges_and_heads_that_make_no_sense_are_refused() {
        for (from, to, field) in [(-1, 0, "from_number"), (0, -1, "to_number"), (5, 4, "to_number")] {
            let mut violations = Violations::new();
            range(from, to, &mut violations);
            assert_eq!(fields(violations), [field]);
        }
        let mut violations = Violations::new();
        assert!(expected(Some(AuditHead::default()), &mut violations).is_none());
        assert_eq!(fields(violations), ["expected_head.number", "expected_head.hash"]);
    }
}
