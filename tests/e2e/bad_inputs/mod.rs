//! Every field of every public RPC gets everything that is bad for its kind (`reliability.md` 3.2), one field at a time in a call
//! that is good otherwise.
//!
//! The fields come from the descriptors, what they are from the table in [`kinds`], what is bad for that from [`values`], and the
//! good calls from the authorization matrix. A field without a line in the table fails. Nothing here comes from a run.
//!
//! First goes what must be refused, all of it between two looks at the whole database ([`state`]): a refusal changes nothing. Then
//! goes what must be taken as it is, and is read back.

mod documented;
mod fields;
mod json;
mod judge;
mod kinds;
mod malformed;
mod read_back;
mod repeats;
mod state;
mod values;
mod world;

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use futures_util::{StreamExt as _, stream};
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use tidings_testkit::{Api, Method, Process, Shape, Suite};

use self::{
    documented::Documented,
    judge::judge,
    values::{Case, Wants, cases},
    world::{Pages, World},
};
pub use self::{
    fields::Field,
    kinds::{Kind, changeable},
    state::State,
    world::Stage,
};
use crate::matrix::{cast::Cast, is_internal, rows::Relation};

/// RPCs that are played at once.
const AT_ONCE: usize = 8;

#[test]
fn every_field_of_every_request_has_a_kind() {
    let mut lines: BTreeSet<&str> = Kind::lines().collect();
    assert_eq!(lines.len(), Kind::lines().count(), "a line of the table stands twice");
    let mut missing = Vec::new();
    for method in public_methods() {
        let request = method.input();
        for field in Field::all(&method) {
            let name = format!("{}.{}", request.name(), field.name());
            if Kind::of(request.name(), &field).is_none() {
                missing.push(name.clone());
            }
            if !lines.remove(name.as_str()) {
                lines.remove(format!("*.{}", field.name()).as_str());
            }
        }
    }
    assert!(missing.is_empty(), "fields without a kind: {missing:#?}");
    assert!(lines.is_empty(), "lines of the table that are for no field: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_as_documented_and_changes_nothing_and_odd_input_is_kept_as_it_is() {
    let begun = Instant::now();
    let suite = Suite::start_with(Shape::One, &[("TIDINGS_STREAMS_PER_USER_MAX", "10000")]).await;
    let play = Play::set(&suite).await;
    let mut findings = play.refusals(&suite).await;
    let refusals = (begun.elapsed(), play.calls.load(Ordering::Relaxed));
    findings.extend(play.acceptances().await);
    findings.extend(defects(&suite));
    let (refused, all) = (refusals.1, play.calls.load(Ordering::Relaxed));
    println!(
        "{refused} spoilt calls in {:?}, {all} in {:?}",
        refusals.0,
        begun.elapsed()
    );
    // Far fewer would mean that the fields are not found, and that nothing here proves anything.
    assert!(refused > 3_000 && all > refused + 500, "only {refused} and {all} calls");
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

/// All that is played with.
struct Play {
    cast: Cast,
    world: World,
    documented: Documented,
    stages: Vec<(Stage, Option<Pages>)>,
    /// Calls with one field replaced, so far.
    calls: AtomicUsize,
}

impl Play {
    async fn set(suite: &Suite) -> Self {
        let cast = Cast::gather(suite).await;
        let world = World::make(&cast).await;
        let methods = public_methods();
        let documented = Documented::read(&methods);
        let stages = stream::iter(&methods).map(|method| stage(&cast, method));
        let stages = stages.buffer_unordered(AT_ONCE).collect().await;
        Self {
            cast,
            world,
            documented,
            stages,
            calls: AtomicUsize::new(0),
        }
    }

    /// Plays all that must be refused, and looks whether anything has changed.
    async fn refusals(&self, suite: &Suite) -> Vec<String> {
        let pool = suite.database().pool();
        let before = State::at_rest(&pool).await;
        let refused = stream::iter(&self.stages).map(|(stage, pages)| self.refusals_of(stage, pages.as_ref()));
        let mut findings: Vec<String> = refused.buffer_unordered(AT_ONCE).concat().await;
        let malformed =
            stream::iter(&self.stages).map(|(stage, _)| malformed::play(&self.cast, &self.documented, stage));
        findings.extend(malformed.buffer_unordered(AT_ONCE).concat().await);
        findings.extend(json::play(suite, &self.cast).await);
        findings.extend(State::of(&pool).await.changes(&before));
        findings
    }

    async fn refusals_of(&self, stage: &Stage, pages: Option<&Pages>) -> Vec<String> {
        let mut findings = Vec::new();
        let base = stage.same_request();
        for field in Field::all(&stage.method) {
            let mut absent = None;
            for case in self.cases(stage, &field, &base, pages) {
                if !case.wants.is_refusal() {
                    continue;
                }
                let request = spoilt(&base, &field, &case.value);
                self.calls.fetch_add(1, Ordering::Relaxed);
                let outcome = stage.call(&self.cast, request).await;
                let wrong = judge(
                    &self.documented,
                    &stage.method,
                    &field,
                    case.wants,
                    &outcome,
                    &mut absent,
                );
                findings.extend(wrong.map(|wrong| finding(&stage.method, &field, &case, &wrong)));
            }
        }
        findings
    }

    /// Plays the good calls, and all that must or may be taken.
    async fn acceptances(&self) -> Vec<String> {
        let accepted = stream::iter(&self.stages).map(|(stage, pages)| self.acceptances_of(stage, pages.as_ref()));
        accepted.buffer_unordered(AT_ONCE).concat().await
    }

    async fn acceptances_of(&self, stage: &Stage, pages: Option<&Pages>) -> Vec<String> {
        let mut findings = Vec::new();
        let method = &stage.method;
        if matches!(stage.relation, Relation::Off | Relation::InTime) {
            return findings;
        }
        // What was refused has left the good call good: with the very request id that the refused ones had.
        let good = stage.same_request();
        match stage.call(&self.cast, good.clone()).await {
            Ok(first) => findings.extend(repeats::play(&self.cast, &self.documented, stage, &good, &first).await),
            Err(status) => {
                findings.push(format!("{}: the good call is refused: {status:?}", method.full_name()));
                return findings;
            }
        }
        let base = stage.same_request();
        for field in Field::all(method) {
            for case in self.cases(stage, &field, &base, pages) {
                if case.wants.is_refusal() {
                    continue;
                }
                let mut fresh = if spends_its_scene(method) {
                    Stage::set(&self.cast, method).await
                } else {
                    stage.clone()
                };
                let request = spoilt(&fresh.request(), &field, &case.value);
                self.calls.fetch_add(1, Ordering::Relaxed);
                let outcome = fresh.call(&self.cast, request.clone()).await;
                let wrong = judge(&self.documented, method, &field, case.wants, &outcome, &mut None);
                findings.extend(wrong.map(|wrong| finding(method, &field, &case, &wrong)));
                if let (Wants::Shown, Ok(response)) = (case.wants, &outcome) {
                    let wrong = read_back::check(&self.cast, method, &field, &request, response).await;
                    findings.extend(wrong.map(|wrong| finding(method, &field, &case, &wrong)));
                }
            }
        }
        findings
    }

    fn cases(&self, stage: &Stage, field: &Field, base: &DynamicMessage, pages: Option<&Pages>) -> Vec<Case> {
        let kind = Kind::of(stage.method.input().name(), field).expect("every field has a kind");
        cases(field, kind, &field.get(base), &self.world, pages)
    }
}

async fn stage(cast: &Cast, method: &Method) -> (Stage, Option<Pages>) {
    let stage = Stage::set(cast, method).await;
    let has_pages = method.input().get_field_by_name("page_token").is_some();
    let pages = if has_pages { Some(stage.pages(cast).await) } else { None };
    (stage, pages)
}

/// The request with one field replaced. A change is told to change that field.
pub fn spoilt(base: &DynamicMessage, field: &Field, value: &Value) -> DynamicMessage {
    let mut request = base.clone();
    field.set(&mut request, value.clone());
    let Some(mask) = request.descriptor().get_field_by_name("update_mask") else {
        return request;
    };
    let kind = Kind::of(request.descriptor().name(), &masks(&request));
    let Some(Kind::UpdateMask(paths)) = kind else {
        panic!("update_mask is a mask in the table");
    };
    if paths.contains(&field.name().as_str()) {
        let only = vec![Value::String(field.name())];
        let mask = request
            .get_field_mut(&mask)
            .as_message_mut()
            .expect("a mask is a message");
        mask.set_field_by_name("paths", Value::List(only));
    }
    request
}

/// The field `update_mask` of a request that has one.
fn masks(request: &DynamicMessage) -> Field {
    Field::top(&request.descriptor(), "update_mask").expect("the request has a mask")
}

/// Whether a good call leaves nothing for a second one.
fn spends_its_scene(method: &Method) -> bool {
    let name = method.name();
    name != "DeleteMessage"
        && [
            "ChangeUsername",
            "ChangePassword",
            "ConfirmTotp",
            "CreateApiKey",
            "GenerateRecoveryCodes",
            "RevokeLoginSession",
            "Delete",
            "Leave",
            "Logout",
            "ResetPassword",
            "VerifyEmail",
            "RefreshToken",
        ]
        .iter()
        .any(|verb| name.starts_with(verb))
}

fn finding(method: &Method, field: &Field, case: &Case, wrong: &str) -> String {
    format!("{} {} = {}: {wrong}", method.full_name(), field.path(), case.what)
}

/// What the server itself calls a defect, and what must not stand in its log.
fn defects(suite: &Suite) -> Vec<String> {
    let log = fs::read_to_string(suite.log_of(Process::All)).expect("the suite writes a log");
    let secret = [
        "not the password",
        "correct horse",
        "drop table messages",
        "nul \\u0000 inside",
    ];
    let lines = log
        .lines()
        .filter(|line| line.contains(r#""level":"ERROR""#) || secret.iter().any(|secret| line.contains(secret)));
    lines.take(20).map(|line| format!("the log has: {line}")).collect()
}

/// The RPCs that the gateway offers.
pub fn public_methods() -> Vec<Method> {
    Api::methods()
        .into_iter()
        .filter(|method| !is_internal(method))
        .collect()
}
