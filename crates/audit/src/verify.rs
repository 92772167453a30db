//! Holds the trail against its hashes, its signed heads, and what the caller knows of it.

use tidings_db::Error;
use tidings_proto_common::v1::AuditHead;
use tidings_rpc::{Problem, Violations};

use crate::{
    Finding, FindingKind, Trail, convert,
    encoding::{Hash, genesis},
    evidence::{examine, merge},
    head::Worth,
    store::{self, Entry, Head, Sealer},
};

/// So many entries are read in one call, each of about a KiB.
pub(crate) const RANGE_MAX: i64 = 1_000;

/// Which part of the trail is verified.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// The first entry; 0 for the trail's first.
    pub from: i64,
    /// The last entry; 0 for the trail's last.
    pub to: i64,
}

/// A head that the caller has from elsewhere, such as the log.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The entry.
    pub number: i64,
    /// Its hash.
    pub hash: Hash,
}

/// What was verified, and what was found.
#[derive(Debug, Clone)]
pub struct Verification {
    /// What is wrong, by number.
    pub findings: Vec<Finding>,
    /// The first entry that was verified.
    pub from: i64,
    /// The last; below the first where there was none.
    pub to: i64,
    /// Where to go on; 0 at the end.
    pub next: i64,
    /// The number of the last entry that there is; 0 where there is none.
    pub last_number: i64,
    pub(crate) head: Option<Head>,
}

/// What of a trail lies outside of the range.
struct Ends {
    /// The last entry that there is.
    last_number: i64,
    /// Where the sealer had left the trail before the entries were read. They are at least as far.
    before: Sealer,
    /// Where it had left it afterwards. They are at most as far.
    after: Sealer,
    newest_head: Option<Head>,
}

impl Trail {
    /// Verifies what a request asks for, as the requests of all services have it.
    ///
    /// # Errors
    ///
    /// `FIELD_INVALID`, or what Postgres did not do.
    pub async fn verify_asked(&self, from: i64, to: i64, expected: Option<AuditHead>) -> Result<Verification, Problem> {
        let mut violations = Violations::new();
        let range = convert::range(from, to, &mut violations);
        let expected = convert::expected(expected, &mut violations);
        violations.finish()?;
        Ok(self.verify(range, expected).await?)
    }

    /// Verifies a range of entries, up to [`RANGE_MAX`] at a time, and with the end of the trail that nothing was cut off.
    ///
    /// # Errors
    ///
    /// When Postgres cannot be asked.
    pub async fn verify(&self, range: Range, expected: Option<Expected>) -> Result<Verification, Error> {
        let (pool, schema) = (&self.pool, self.schema);
        // Each of these is at least as far as the one before, since entries go on being sealed.
        let before = store::sealer(pool, schema).await?;
        let mut connection = pool.acquire().await?;
        let newest_head = store::newest_head(&mut connection, schema).await?;
        let last_number = store::last_number(&mut connection, schema).await?;
        drop(connection);

        let from = range.from.max(1);
        let end = if range.to == 0 {
            last_number
        } else {
            range.to.min(last_number)
        };
        let to = end.min(from.saturating_add(RANGE_MAX - 1));
        let heads = store::heads(pool, schema, from, to).await?;
        let entries = store::entries(pool, schema, from - 1, to.saturating_add(1)).await?;
        let after = store::sealer(pool, schema).await?;
        let ends = Ends {
            last_number,
            before,
            after,
            newest_head,
        };

        let mut findings = examine(&genesis(schema), from, to, &entries);
        findings.extend(of_sealer(&ends, &entries, &findings));
        let mut findings = merge(findings, from, to);
        findings.extend(self.of_heads(from, &heads, &entries));
        if to >= last_number {
            findings.extend(of_end(&ends));
        }
        if let Some(expected) = expected {
            findings.extend(self.of_expected(expected, last_number).await?);
        }
        findings.sort_unstable();
        findings.dedup();
        Ok(Verification {
            findings,
            from,
            to: to.max(from - 1),
            next: if to < end { to + 1 } else { 0 },
            last_number,
            head: ends.newest_head,
        })
    }

    /// What is wrong with the heads of a range, of which the first may lie before it, or with the entries that they tell of.
    fn of_heads(&self, from: i64, heads: &[Head], entries: &[Entry]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut previous = 0;
        for head in heads {
            let number = head.number;
            let worth = self.signer.judge(head);
            if number >= from {
                match worth {
                    Worth::Altered => findings.push(Finding::new(FindingKind::HeadAltered, number)),
                    Worth::OtherKey => findings.push(Finding::new(FindingKind::HeadKeyUnknown, number)),
                    Worth::Ours => {
                        let entry = entries.iter().find(|entry| entry.number == number);
                        if entry.is_some_and(|entry| entry.hash[..] != head.hash[..]) {
                            findings.push(Finding::new(FindingKind::HeadMismatch, number));
                        }
                        if head.previous_number != previous {
                            // It may lie before the range; it is told where it is missed.
                            findings.push(Finding::new(FindingKind::HeadDeleted, head.previous_number));
                        }
                    }
                }
            }
            previous = number;
        }
        findings
    }

    async fn of_expected(&self, expected: Expected, last_number: i64) -> Result<Option<Finding>, Error> {
        let number = expected.number;
        if number > last_number {
            return Ok(Some(Finding::range(FindingKind::CutOff, last_number + 1, number)));
        }
        let entries = store::entries(&self.pool, self.schema, number, number).await?;
        // One that is not there is found with its range.
        let differs = entries.first().is_some_and(|entry| entry.hash != expected.hash);
        Ok(differs.then(|| Finding::new(FindingKind::HeadMismatch, number)))
    }
}

/// Entries that the sealer has not made.
fn of_sealer(ends: &Ends, entries: &[Entry], known: &[Finding]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in entries {
        let number = entry.number;
        if number > ends.after.last_number {
            findings.push(Finding::new(FindingKind::Inserted, number));
        }
        let last = number == ends.before.last_number;
        let is_known = known
            .iter()
            .any(|finding| finding.number <= number && number <= finding.last_number);
        if last && !is_known && ends.before.last_hash != Some(entry.hash) {
            findings.push(Finding::new(FindingKind::Altered, number));
        }
    }
    findings
}

/// What is missing at the end of the trail, by where the sealer left it and by the newest head.
fn of_end(ends: &Ends) -> Vec<Finding> {
    let newest_head = ends.newest_head.as_ref().map_or(0, |head| head.number);
    let mut findings = Vec::new();
    let went_to = ends.before.last_number.max(newest_head).max(ends.before.head_number);
    if went_to > ends.last_number {
        findings.push(Finding::range(FindingKind::CutOff, ends.last_number + 1, went_to));
    }
    if newest_head < ends.before.head_number {
        findings.push(Finding::new(FindingKind::HeadDeleted, ends.before.head_number));
    }
    findings
}
