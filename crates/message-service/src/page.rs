//! Pages of a chat's messages: which sequences a page holds, and what it says of those that it leaves out. Pure.
//!
//! Sequences are dense, and a deleted message keeps its row, so a page is a range of sequences and its rows need no search.

use prost::Message as _;
use tidings_proto_message::v1 as proto;
use tidings_proto_message::v1::SkipReason;

use crate::{access::Access, convert, message::Message};

/// The bytes of a page's messages: below the 4 MiB that gRPC clients take by default, with room for the rest.
pub(crate) const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// What is asked for: a range of sequences, and the end to begin at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The lowest sequence that is asked for.
    pub(crate) first: i64,
    /// The highest.
    pub(crate) last: i64,
    pub(crate) newest_first: bool,
    pub(crate) size: i64,
}

impl Ask {
    /// One page with `middle` in its middle. It stays within what the member may see.
    pub(crate) fn around(middle: i64, size: i64, newest_first: bool, access: &Access) -> Self {
        let first = (middle - size / 2)
            .min(access.last_sequence - size + 1)
            .max(access.first_sequence);
        Self {
            first,
            last: (first + size - 1).min(access.last_sequence),
            newest_first,
            size,
        }
    }

    /// The range without what is beyond the chat's end.
    pub(crate) fn clamped(self, access: &Access) -> Self {
        Self {
            first: self.first.max(1),
            last: self.last.min(access.last_sequence),
            ..self
        }
    }

    /// The sequences to read for the page; the range is empty where the first is above the last.
    pub(crate) fn rows(self, access: &Access) -> (i64, i64) {
        let visible = self.first.max(access.first_sequence);
        if self.newest_first {
            (visible.max(self.last.saturating_sub(self.size - 1)), self.last)
        } else {
            (visible, self.last.min(visible.saturating_add(self.size - 1)))
        }
    }
}

/// A page, in the order that was asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct Page {
    pub(crate) messages: Vec<proto::Message>,
    pub(crate) removed_ranges: Vec<proto::SequenceRange>,
    /// The sequence that the next page begins at.
    pub(crate) next: Option<i64>,
}

/// Makes the page of the rows that were read for it, hidden ones among them, by ascending sequence.
pub(crate) fn page(ask: Ask, access: &Access, mut messages: Vec<Message>) -> Page {
    if ask.newest_first {
        messages.reverse();
    }
    let mut page = Page {
        messages: Vec::new(),
        removed_ranges: Vec::new(),
        next: None,
    };
    let mut bytes = 0;
    // The sequence beyond the last that the page tells of, in its direction.
    let mut reached = None;
    if !ask.newest_first {
        page.remove_below(ask, access);
    }
    for message in messages {
        let sequence = message.row.sequence;
        if message.row.hidden {
            page.remove(sequence, sequence, SkipReason::Hidden);
        } else {
            let message = convert::message(&message);
            bytes += message.encoded_len();
            if bytes > PAGE_BYTES_MAX && !page.messages.is_empty() {
                page.next = Some(sequence);
                return page;
            }
            page.messages.push(message);
        }
        reached = Some(sequence);
    }
    if ask.newest_first {
        let lowest = reached.unwrap_or(ask.last.saturating_add(1));
        if lowest > ask.first.max(access.first_sequence) {
            page.next = Some(lowest - 1);
        } else {
            page.remove_below(ask, access);
        }
    } else {
        page.next = reached.filter(|highest| *highest < ask.last).map(|highest| highest + 1);
    }
    page
}

impl Page {
    /// What is asked for but lies below what is kept or visible.
    fn remove_below(&mut self, ask: Ask, access: &Access) {
        let kept = access.kept_sequence;
        let mut ranges = [
            (ask.first, ask.last.min(kept - 1), SkipReason::Retention),
            (
                ask.first.max(kept),
                ask.last.min(access.first_sequence - 1),
                SkipReason::NotVisible,
            ),
        ];
        if ask.newest_first {
            ranges.reverse();
        }
        for (first, last, reason) in ranges {
            if first <= last {
                self.remove(first, last, reason);
            }
        }
    }

    /// Adds a range, or widens the last one where the two touch.
    fn remove(&mut self, first: i64, last: i64, reason: SkipReason) {
        if let Some(range) = self.removed_ranges.last_mut()
            && range.reason == i32::from(reason)
        {
            if range.last_sequence + 1 == first {
                range.last_sequence = last;
                return;
            }
            if last + 1 == range.first_sequence {
                range.first_sequence = first;
                return;
            }
        }
        self.removed_ranges.push(proto::SequenceRange {
            first_sequence: first,
            last_sequence: last,
            reason: reason.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_ids::Source;
    use time::OffsetDateTime;

    use super::{Ask, PAGE_BYTES_MAX, Page, page};
    use crate::{
        access::Access,
        message::{Message, MessageRow},
    };

    fn access(kept: i64, first: i64, last: i64) -> Access {
        Access {
            role: 1,
            archived: false,
            blocked: false,
            muted_until: None,
            last_sequence: last,
            kept_sequence: kept,
            first_sequence: first,
        }
    }

    fn message(sequence: i64, hidden: bool, body: &str) -> Message {
        let source = Source::seeded(1);
        let row = MessageRow {
            chat_id: source.new_id(),
            sequence,
            message_id: source.new_id(),
            sender_id: source.new_id(),
            kind: 1,
            body: body.to_owned(),
            metadata: None,
            reply_to_message_id: None,
            attachment_ids: None,
            response_to_message_id: None,
            response_state: None,
            response_finish_time: None,
            revision: 1,
            create_time: OffsetDateTime::UNIX_EPOCH,
            update_time: None,
            delete_time: None,
            original_time: None,
            external_id: None,
            hidden,
        };
        Message {
            row,
            attachments: Vec::new(),
        }
    }

    /// All pages of an ask, as a client pages: what they tell of each sequence, in their order.
    fn told(mut ask: Ask, access: &Access, hidden: &[i64], body: &str) -> Vec<(i64, &'static str)> {
        let mut told = Vec::new();
        for _ in 0..200 {
            ask = ask.clamped(access);
            let (first, last) = ask.rows(access);
            let rows = (first..=last)
                .map(|sequence| message(sequence, hidden.contains(&sequence), body))
                .collect();
            let Page {
                messages,
                removed_ranges,
                next,
            } = page(ask, access, rows);
            let mut page: Vec<(i64, &str)> = messages.iter().map(|message| (message.sequence, "message")).collect();
            for range in removed_ranges {
                page.extend((range.first_sequence..=range.last_sequence).map(|sequence| {
                    (
                        sequence,
                        match range.reason {
                            1 => "retention",
                            2 => "not visible",
                            _ => "hidden",
                        },
                    )
                }));
            }
            page.sort_unstable();
            if ask.newest_first {
                page.reverse();
            }
            told.extend(page);
            match next {
                None => return told,
                Some(next) if ask.newest_first => ask.last = next,
                Some(next) => ask.first = next,
            }
        }
        panic!("the pages never end");
    }

    proptest! {
        /// Whatever is kept, visible, hidden and asked for: the pages together tell of every sequence once, in order, rightly.
        #[test]
        fn pages_tell_of_every_sequence_once(
            kept in 1_i64..20, joined in 0_i64..20, count in 0_i64..40, first in 1_i64..70, length in 0_i64..70, size in 1_i64..9,
            newest_first: bool, hidden in prop::collection::vec(1_i64..60, 0..10),
        ) {
            let access = access(kept, kept + joined, kept - 1 + joined + count);
            let ask = Ask { first, last: first + length, newest_first, size };
            let mut expected: Vec<(i64, &str)> = (first..=(first + length).min(access.last_sequence))
                .map(|sequence| {
                    let what = if sequence < access.kept_sequence {
                        "retention"
                    } else if sequence < access.first_sequence {
                        "not visible"
                    } else if hidden.contains(&sequence) {
                        "hidden"
                    } else {
                        "message"
                    };
                    (sequence, what)
                })
                .collect();
            if newest_first {
                expected.reverse();
            }
            prop_assert_eq!(told(ask, &access, &hidden, "a"), expected);
        }

        /// A page around a message holds it, and as many others as there are.
        #[test]
        fn a_page_around_a_message_is_full(first in 1_i64..30, count in 1_i64..50, middle in 1_i64..100, size in 1_i64..20) {
            let access = access(1, first, first + count - 1);
            let ask = Ask::around(middle, size, false, &access);
            let (from, to) = ask.rows(&access);
            prop_assert_eq!(to - from + 1, size.min(count));
            let middle = middle.clamp(access.first_sequence, access.last_sequence);
            prop_assert!((from..=to).contains(&middle));
        }
    }

    #[test]
    fn a_page_ends_before_it_is_too_large() {
        let access = access(1, 1, 5);
        let body = "x".repeat(PAGE_BYTES_MAX / 2);
        for newest_first in [false, true] {
            let ask = Ask {
                first: 1,
                last: 5,
                newest_first,
                size: 5,
            };
            assert_eq!(told(ask, &access, &[], &body).len(), 5);
            let rows = (1..=5).map(|sequence| message(sequence, false, &body)).collect();
            assert_eq!(page(ask, &access, rows).messages.len(), 1);
        }
    }
}
