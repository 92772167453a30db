//! A suite with its cast, and what calls do when nobody gives them up.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use prost_reflect::DynamicMessage;
use tidings_proto_common::v1::Idempotency;
use tidings_testkit::{Shape, Suite, until_some};
use tonic::{Code, Status};

use super::{
    calls::{Call, Ready},
    effects::{Effect, SETTLE_LIMIT, Tables, difference, twice},
    inside::End,
};
use crate::cast::Cast;

/// A call that is repeated is answered for good within this.
pub const REPEAT_LIMIT: Duration = Duration::from_secs(60);

type Answer = Result<DynamicMessage, Status>;

/// The suite, the cast, and its tables.
pub struct Stage {
    pub suite: Suite,
    pub cast: Cast,
    pub tables: Tables,
}

/// A call that nobody gives up: what it does, and how long it takes.
#[derive(Debug)]
pub struct Model {
    pub effect: Effect,
    pub took: Duration,
}

impl Stage {
    pub async fn set(shape: Shape) -> Self {
        let suite = Suite::start(shape).await;
        Self {
            cast: Cast::gather(&suite).await,
            tables: Tables::of(suite.database().pool()).await,
            suite,
        }
    }

    /// Makes a call in a scene of its own, in peace.
    pub async fn model(&self, call: &Call) -> Model {
        let ready = call.prepare(&self.suite, &self.cast).await;
        let before = self.tables.settled().await;
        let begun = Instant::now();
        let outcome = ready.make().await;
        let took = begun.elapsed();
        if let Err(status) = outcome {
            panic!("{}: {status:?}", call.path());
        }
        let effect = difference(&before, &self.tables.settled().await);
        Model { effect, took }
    }

    /// Makes a call again that was given up, until it is answered for good, and once more. Says what is wrong with the answers, or
    /// with what is there now.
    pub async fn repeat(&self, call: &Call, ready: &Ready, before: &Effect, model: &Model) -> Option<String> {
        let answers = [answered(ready).await, answered(ready).await];
        self.judge(call, &answers, before, model).await
    }

    /// Makes equal calls, one at each of these moments from now on and each until it is answered for good, and says what is wrong with
    /// the answers, or with what is there now.
    pub async fn many(&self, moments: &[Duration], call: &Call, ready: &Ready, model: &Model) -> Option<String> {
        let before = self.tables.settled().await;
        let calls = moments.iter().map(|moment| async {
            tokio::time::sleep(*moment).await;
            answered(ready).await
        });
        let answers = join_all(calls).await;
        self.judge(call, &answers, &before, model).await
    }

    async fn judge(&self, call: &Call, answers: &[Answer], before: &Effect, model: &Model) -> Option<String> {
        let mut refusals = answers.iter().filter_map(|answer| answer.as_ref().err());
        let wrong = match call.idempotency {
            Idempotency::RequestId => match refusals.next() {
                Some(status) => Some(format!("repeated, it is refused with {status:?}")),
                None if tells_once(call)
                    || answers
                        .windows(2)
                        .all(|pair| pair[0].as_ref().ok() == pair[1].as_ref().ok()) =>
                {
                    None
                }
                None => Some("the answers are not the same".to_owned()),
            },
            // A login session that has ended cannot end itself again.
            _ => refusals
                .find(|status| status.code() != Code::Unauthenticated)
                .map(|status| format!("repeated, it is refused with {status:?}")),
        };
        if wrong.is_some() {
            return wrong;
        }
        // What issues something new each time has done so two times by now, and perhaps before.
        let (two, three) = (twice(&model.effect), sum(&twice(&model.effect), &model.effect));
        let expected: &[&Effect] = match call.idempotency {
            Idempotency::Issues => &[&two, &three],
            _ => &[&model.effect],
        };
        let effect = self.tables.since(before, expected, SETTLE_LIMIT).await;
        (!expected.contains(&&effect))
            .then(|| format!("repeated, it has done {effect:?} instead of {:?}", model.effect))
    }

    /// What the log says of the end of this call, from `offset` on.
    pub fn end_of(&self, call: &Call, offset: u64) -> Option<End> {
        let log = fs::read(self.suite.log_of(call.process())).unwrap_or_default();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(log.len());
        let text = String::from_utf8_lossy(&log[offset..]).into_owned();
        let told = format!(r#""message":"{} "#, call.path());
        let mut ends = text.lines().filter(|line| line.contains(&told)).peekable();
        ends.peek()?;
        Some(if ends.any(|line| line.contains("Cancelled")) {
            End::LetGo
        } else {
            End::Ended
        })
    }

    /// How long the log of the call's process is now.
    pub fn log_length(&self, call: &Call) -> u64 {
        fs::metadata(self.suite.log_of(call.process())).map_or(0, |log| log.len())
    }
}

/// Whether a repetition is told something else: a refresh gives a new access token each time and an upload a new URL, what is shown
/// once is not shown again, and what was ended before is not counted.
fn tells_once(call: &Call) -> bool {
    let told = [
        "RefreshToken",
        "CreateUpload",
        "CreateApiKey",
        "GenerateRecoveryCodes",
        "RevokeUserLoginSessions",
    ];
    told.contains(&call.method.name())
}

/// Makes a call until it is answered for good: others of its kind may still be at work.
async fn answered(ready: &Ready) -> Answer {
    until_some("an answer for good", REPEAT_LIMIT, || async {
        let outcome = ready.make().await;
        let passes = |status: &Status| {
            matches!(
                status.code(),
                Code::Unavailable | Code::Aborted | Code::ResourceExhausted
            )
        };
        (!outcome.as_ref().is_err_and(passes)).then_some(outcome)
    })
    .await
}

fn sum(one: &Effect, other: &Effect) -> Effect {
    let mut sum = one.clone();
    for (name, (rows, revisions)) in other {
        let entry = sum.entry(name.clone()).or_default();
        *entry = (entry.0 + rows, entry.1 + revisions);
    }
    sum
}
