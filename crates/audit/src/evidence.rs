//! What the rows of a trail say about themselves, without a database: which were altered, deleted, reordered or inserted.

use std::{collections::BTreeSet, mem};

use crate::{
    Event,
    encoding::{Hash, hash},
    store::{Entry, Kept},
};

/// Something that is wrong with a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The entry that it is about, or the first of several.
    pub number: i64,
    /// The last of several.
    pub last_number: i64,
    /// What is wrong.
    pub kind: FindingKind,
}

/// What is wrong with an entry or a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// The entry is not what was sealed.
    Altered,
    /// The entries are no longer there.
    Deleted,
    /// The entry stands at another place than it was sealed at.
    Reordered {
        /// The place that it was sealed at.
        sealed_number: i64,
    },
    /// The entries were not made by the service.
    Inserted,
    /// The trail went on to the last number, and now ends before the first.
    CutOff,
    /// The head does not carry its signature.
    HeadAltered,
    /// There was a head.
    HeadDeleted,
    /// A head tells of another entry: entries up to it were made anew.
    HeadMismatch,
    /// The head is signed with another key.
    HeadKeyUnknown,
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, number: i64) -> Self {
        Self {
            number,
            last_number: number,
            kind,
        }
    }

    pub(crate) fn range(kind: FindingKind, number: i64, last_number: i64) -> Self {
        Self {
            number,
            last_number,
            kind,
        }
    }
}

/// So many entries that do not fit are held against each other, each against all; beyond, only against the places around.
const SUSPECTS_MAX: usize = 64;

/// An entry that moved because others were put in or taken out moved by so many places at the most.
const SHIFT_MAX: i64 = 8;

/// What is wrong with the entries of a range of numbers. `entries` are those of the range, in order, with the one before it and the one
/// after it, where they are there; `genesis` is what stands before entry 1.
pub(crate) fn examine(genesis: &Hash, from: i64, to: i64, entries: &[Entry]) -> Vec<Finding> {
    let suspects: Vec<(&Entry, Option<&Event>)> = entries
        .iter()
        .filter(|entry| !is_sound(entry))
        .map(|entry| (entry, event_of(entry)))
        .collect();
    let mut findings = Vec::new();
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let sealed = match &entry.event {
            Kept::Gone => {
                findings.push(Finding::new(FindingKind::Deleted, entry.number));
                None
            }
            _ if is_sound(entry) => None,
            Kept::Unreadable => {
                findings.push(Finding::new(FindingKind::Altered, entry.number));
                None
            }
            Kept::Whole(event) => sealed_at(entry, event, &suspects),
        };
        places.push(Place { entry, sealed });
    }
    let taken: BTreeSet<i64> = places.iter().filter_map(|place| place.sealed).collect();
    for place in &places {
        let number = place.entry.number;
        if let Some(sealed_number) = place.sealed {
            findings.push(Finding::new(FindingKind::Reordered { sealed_number }, number));
        } else if taken.contains(&number) {
            // Another entry was sealed at this place, and was moved away.
            findings.push(Finding::new(FindingKind::Inserted, number));
        } else if matches!(place.entry.event, Kept::Whole(_)) && !is_sound(place.entry) {
            findings.push(Finding::new(FindingKind::Altered, number));
        }
    }
    findings.extend(relinked(genesis, entries));
    findings.extend(missing(from, &places));
    merge(findings, from, to)
}

/// An entry where it stands, and where it was sealed if that was elsewhere.
struct Place<'e> {
    entry: &'e Entry,
    sealed: Option<i64>,
}

impl Place<'_> {
    fn sealed_number(&self) -> i64 {
        self.sealed.unwrap_or(self.entry.number)
    }
}

fn event_of(entry: &Entry) -> Option<&Event> {
    match &entry.event {
        Kept::Whole(event) => Some(event),
        Kept::Unreadable | Kept::Gone => None,
    }
}

/// Whether an entry has the hash that its own fields give.
fn is_sound(entry: &Entry) -> bool {
    event_of(entry).is_some_and(|event| {
        event.event_id == entry.event_id
            && hash(&entry.previous_hash, entry.number, entry.seal_time, event) == entry.hash
    })
}

/// The place at which an entry that does not fit was sealed, if it fits another: either the whole row got another number, or the row
/// of the chain was pointed to another event.
fn sealed_at(entry: &Entry, event: &Event, suspects: &[(&Entry, Option<&Event>)]) -> Option<i64> {
    let moved = |number: &i64| hash(&entry.previous_hash, *number, entry.seal_time, event) == entry.hash;
    let around = (1..=SHIFT_MAX).flat_map(|shift| [entry.number - shift, entry.number + shift]);
    if let Some(number) = around.into_iter().find(moved) {
        return Some(number);
    }
    if suspects.len() > SUSPECTS_MAX {
        return None;
    }
    let exchanged = |other: &Entry| hash(&other.previous_hash, other.number, other.seal_time, event) == other.hash;
    suspects
        .iter()
        .map(|(other, _)| *other)
        .filter(|other| other.number != entry.number)
        .find(|other| moved(&other.number) || exchanged(other))
        .map(|other| other.number)
}

/// Entries that the next one does not follow, though each is sound by itself: they were made anew.
fn relinked(genesis: &Hash, entries: &[Entry]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(first) = entries.first()
        && first.number == 1
        && is_sound(first)
        && first.previous_hash != *genesis
    {
        findings.push(Finding::new(FindingKind::Altered, 1));
    }
    for pair in entries.windows(2) {
        let [before, after] = pair else { continue };
        let follows = before.number + 1 == after.number && is_sound(before) && is_sound(after);
        if follows && after.previous_hash != before.hash {
            findings.push(Finding::new(FindingKind::Altered, before.number));
        }
    }
    findings
}

/// Numbers below the last that was sealed of which there is no entry, wherever it stands. Those at the end are the caller's to find.
fn missing(from: i64, places: &[Place<'_>]) -> Vec<Finding> {
    let there: BTreeSet<i64> = places.iter().map(Place::sealed_number).collect();
    let Some(last) = there.last().copied() else {
        return Vec::new();
    };
    // The first may have been moved here from before the range; what is missing there is another range's.
    let first = places.first().filter(|place| place.entry.number < from);
    let start = first.map_or(from, |place| place.sealed_number() + 1).max(1);
    let mut findings = Vec::new();
    let mut next = start;
    for number in there.range(start..=last).copied() {
        if number > next {
            findings.push(Finding::range(FindingKind::Deleted, next, number - 1));
        }
        next = number + 1;
    }
    findings
}

/// Findings of the range in order, each once, those about entries that follow each other as one.
pub(crate) fn merge(findings: Vec<Finding>, from: i64, to: i64) -> Vec<Finding> {
    let clipped: BTreeSet<Finding> = findings
        .into_iter()
        .filter(|finding| finding.last_number >= from && finding.number <= to)
        .map(|finding| Finding {
            number: finding.number.max(from),
            last_number: finding.last_number.min(to),
            ..finding
        })
        .collect();
    let mut merged: Vec<Finding> = Vec::new();
    for finding in clipped {
        let together = merged.last_mut().filter(|last| {
            let plain = matches!(
                finding.kind,
                FindingKind::Altered | FindingKind::Deleted | FindingKind::Inserted | FindingKind::CutOff
            );
            plain
                && mem::discriminant(&last.kind) == mem::discriminant(&finding.kind)
                && finding.number <= last.last_number + 1
        });
        match together {
            Some(last) => last.last_number = last.last_number.max(finding.last_number),
            None => merged.push(finding),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use tidings_db::Schema;
    use tidings_ids::Source;
    use tidings_proto_common::v1::AuditCategory;

    use super::{Finding, FindingKind, examine};
    use crate::{
        Event,
        encoding::{genesis, hash},
        store::{Entry, Kept},
    };

    fn chain(count: i64) -> Vec<Entry> {
        let source = Source::seeded(1);
        let mut previous_hash = genesis(Schema::Auth);
        let entries = (1..=count).map(|number| {
            let event = Event::of_call(&source, AuditCategory::Authentication, "auth.test").detail("number", number);
            let entry = Entry {
                number,
                event_id: event.event_id,
                seal_time: source.now(),
                previous_hash,
                hash: hash(&previous_hash, number, source.now(), &event),
                event: Kept::Whole(Box::new(event)),
            };
            previous_hash = entry.hash;
            entry
        });
        entries.collect()
    }

    fn event(entry: &mut Entry) -> &mut Event {
        match &mut entry.event {
            Kept::Whole(event) => event,
            Kept::Unreadable | Kept::Gone => panic!("the event is there"),
        }
    }

    /// Gives an entry the hash that it should have, as somebody does who knows how.
    fn rehash(entry: &mut Entry) {
        let (previous, number, time) = (entry.previous_hash, entry.number, entry.seal_time);
        entry.hash = hash(&previous, number, time, event(entry));
    }

    fn all(entries: &[Entry]) -> Vec<Finding> {
        examine(&genesis(Schema::Auth), 1, 10, entries)
    }

    fn one(kind: FindingKind, number: i64) -> Vec<Finding> {
        vec![Finding::new(kind, number)]
    }

    #[test]
    fn nothing_is_wrong_with_what_was_sealed() {
        let entries = chain(10);
        assert_eq!(all(&entries), []);
        for (from, to) in [(1, 1), (1, 5), (6, 10), (10, 10)] {
            let around: Vec<Entry> = entries
                .iter()
                .filter(|entry| (from - 1..=to + 1).contains(&entry.number))
                .cloned()
                .collect();
            assert_eq!(examine(&genesis(Schema::Auth), from, to, &around), [], "{from} to {to}");
        }
        assert_eq!(all(&[]), []);
    }

    #[test]
    fn an_altered_entry_is_named_whatever_was_altered_in_it() {
        type Change = fn(&mut Entry);
        let changes: [Change; 6] = [
            |entry| event(entry).action.push('!'),
            |entry| entry.hash[0] ^= 1,
            |entry| entry.previous_hash[0] ^= 1,
            |entry| entry.seal_time += time::Duration::SECOND,
            |entry| entry.event = Kept::Unreadable,
            |entry| {
                event(entry).action.push('!');
                rehash(entry);
            },
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut entries = chain(10);
            change(&mut entries[4]);
            assert_eq!(all(&entries), one(FindingKind::Altered, 5), "change {index}");
        }
    }

    #[test]
    fn a_trail_that_does_not_begin_at_its_beginning_is_altered() {
        let mut entries = chain(10);
        entries[0].previous_hash = genesis(Schema::Users);
        rehash(&mut entries[0]);
        assert_eq!(all(&entries), one(FindingKind::Altered, 1));
    }

    #[test]
    fn deleted_entries_are_named() {
        let mut entries = chain(10);
        entries.drain(3..6);
        assert_eq!(all(&entries), [Finding::range(FindingKind::Deleted, 4, 6)]);
        let mut entries = chain(10);
        entries[2].event = Kept::Gone;
        assert_eq!(all(&entries), one(FindingKind::Deleted, 3));
        let mut entries = chain(10);
        entries.remove(0);
        assert_eq!(all(&entries), one(FindingKind::Deleted, 1));
    }

    #[test]
    fn a_deletion_that_is_closed_by_renumbering_is_named() {
        let mut entries = chain(10);
        entries.remove(4);
        for entry in &mut entries[4..] {
            entry.number -= 1;
        }
        let findings = all(&entries);
        assert!(
            findings.contains(&Finding::new(FindingKind::Deleted, 5)),
            "{findings:?}"
        );
        assert!(
            findings.contains(&Finding::new(FindingKind::Reordered { sealed_number: 6 }, 5)),
            "{findings:?}"
        );
        assert!(findings.iter().all(|finding| finding.number >= 5), "{findings:?}");
    }

    #[test]
    fn an_entry_put_between_others_is_named() {
        let mut entries = chain(10);
        for entry in &mut entries[4..] {
            entry.number += 1;
        }
        let mut forged = entries[3].clone();
        forged.number = 5;
        forged.previous_hash = entries[3].hash;
        event(&mut forged).action.push('!');
        rehash(&mut forged);
        entries.insert(4, forged);
        let findings = examine(&genesis(Schema::Auth), 1, 11, &entries);
        assert!(
            findings.contains(&Finding::new(FindingKind::Inserted, 5)),
            "{findings:?}"
        );
        assert!(
            findings.contains(&Finding::new(FindingKind::Reordered { sealed_number: 5 }, 6)),
            "{findings:?}"
        );
        assert!(
            !findings.iter().any(|finding| finding.kind == FindingKind::Deleted),
            "{findings:?}"
        );
    }

    #[test]
    fn reordered_entries_are_named_with_their_places() {
        let expected = [
            Finding::new(FindingKind::Reordered { sealed_number: 9 }, 3),
            Finding::new(FindingKind::Reordered { sealed_number: 3 }, 9),
        ];
        let mut entries = chain(10);
        (entries[2].number, entries[8].number) = (9, 3);
        entries.sort_by_key(|entry| entry.number);
        assert_eq!(all(&entries), expected);

        // Only what they tell of is exchanged.
        let mut entries = chain(10);
        let (third, ninth) = (entries[2].clone(), entries[8].clone());
        (entries[2].event_id, entries[2].event) = (ninth.event_id, ninth.event);
        (entries[8].event_id, entries[8].event) = (third.event_id, third.event);
        assert_eq!(all(&entries), expected);
    }

    #[test]
    fn what_is_wrong_at_the_edge_of_a_range_is_found_in_one_of_the_two() {
        let mut entries = chain(10);
        event(&mut entries[4]).action.push('!');
        rehash(&mut entries[4]);
        entries.remove(6);
        let mut found = Vec::new();
        for (from, to) in [(1, 2), (3, 5), (6, 7), (8, 10)] {
            let around: Vec<Entry> = entries
                .iter()
                .filter(|entry| (from - 1..=to + 1).contains(&entry.number))
                .cloned()
                .collect();
            found.extend(examine(&genesis(Schema::Auth), from, to, &around));
        }
        assert_eq!(
            found,
            [
                Finding::new(FindingKind::Altered, 5),
                Finding::new(FindingKind::Deleted, 7)
            ]
        );
    }
}
