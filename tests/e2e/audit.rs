//! What the audit trails have of the matrix: every RPC whose effects are recorded leaves them when it succeeds, every denial is written
//! down (`reliability.md` A73), and the trails are whole afterwards.
//!
//! Which RPCs these are comes from the descriptors. A call is known again by its trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::AssertSqlSafe;
use tidings_authn::Service;
use tidings_ids::Source;
use tidings_proto_common::v1::{AuditCategory, AuditOutcome};
use tidings_testkit::{Actor, Api, Method, Suite, until};
use tonic::{Code, Status};

use crate::matrix::{is_internal, message, owner, policies, policy};

/// RPCs whose effects are recorded and that succeed for nobody in the matrix, and where their events are seen instead. An RPC that
/// is in neither fails.
const SEEN_ELSEWHERE: [(&str, &str); 4] = [
    (
        "tidings.auth.v1.AuthService/CreateUserToken",
        "auth-service, user_tokens: a_product_brings_its_users_in",
    ),
    (
        "tidings.auth.v1.AuthService/ExchangeExternalToken",
        "auth-service, external: an_id_token_is_a_login",
    ),
    (
        "tidings.user.v1.ProvisioningService/ChangeUserEmail",
        "user-service, trail: what_auth_has_provided_is_in_the_trail_once",
    ),
    (
        "tidings.user.v1.ProvisioningService/DiscardUser",
        "user-service, trail: what_auth_has_provided_is_in_the_trail_once",
    ),
];

/// Denied calls are written down on their own, soon after they were answered.
const LIMIT: Duration = Duration::from_secs(60);

/// The calls that were made, by their traces.
#[derive(Debug, Default)]
pub struct Calls {
    seen: Mutex<Vec<Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    method: Method,
    trace_id: String,
    code: Code,
}

/// A trace of its own for a call.
pub struct Trace {
    trace_id: String,
}

impl Trace {
    /// One that nobody has.
    pub fn new() -> Self {
        let id = u128::from_be_bytes(Source::system().random());
        Self {
            trace_id: format!("{id:032x}"),
        }
    }

    /// What the call carries.
    pub fn header(&self) -> (&'static str, String) {
        ("traceparent", format!("00-{}-0123456789abcdef-01", self.trace_id))
    }
}

impl Calls {
    /// Notes how a call ended.
    pub fn note<T>(&self, method: &Method, trace: Trace, outcome: &Result<T, Status>) {
        self.seen.lock().push(Seen {
            method: method.clone(),
            trace_id: trace.trace_id,
            code: outcome.as_ref().map_or_else(Status::code, |_| Code::Ok),
        });
    }

    /// What is not in the trails and should be.
    pub async fn missing(&self, suite: &Suite) -> Vec<String> {
        let seen = self.seen.lock().clone();
        let mut wrong = self.missing_denials(suite, &seen).await;
        let events = Events::read(suite).await;
        for method in recorded() {
            let name = name(&method);
            let succeeded: Vec<&Seen> = seen
                .iter()
                .filter(|call| call.method == method && call.code == Code::Ok)
                .collect();
            let left = |call: &&&Seen| events.has(&call.trace_id, &name, AuditOutcome::Done);
            if !succeeded.is_empty() && !succeeded.iter().any(|call| left(&call)) {
                wrong.push(format!("{name} succeeded {} times and left no event", succeeded.len()));
            }
            let elsewhere = SEEN_ELSEWHERE.iter().any(|(rpc, _)| *rpc == name);
            if !events.has_action(&name) && !elsewhere {
                wrong.push(format!(
                    "{name} declares that its effects are recorded, and no event of it is known"
                ));
            }
        }
        wrong
    }

    async fn missing_denials(&self, suite: &Suite, seen: &[Seen]) -> Vec<String> {
        let denied: Vec<&Seen> = seen
            .iter()
            .filter(|call| call.code == Code::PermissionDenied && is_recorded(&call.method))
            .collect();
        assert!(!denied.is_empty(), "the matrix denies something");
        let missing = || async {
            let events = Events::read(suite).await;
            let written = |call: &&Seen| events.has(&call.trace_id, &name(&call.method), AuditOutcome::Refused);
            denied
                .iter()
                .copied()
                .filter(|call| !written(call))
                .cloned()
                .collect::<Vec<_>>()
        };
        let waited = tokio::time::timeout(LIMIT, async {
            while !missing().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        if waited.await.is_ok() {
            return Vec::new();
        }
        let left = missing().await;
        left.iter()
            .map(|call| format!("a denied call of {} is in no trail", name(&call.method)))
            .collect()
    }
}

/// Every event of the four trails, sealed or not: by trace and action, how it ended.
struct Events {
    outcomes: BTreeMap<(String, String), BTreeSet<i16>>,
    actions: BTreeSet<String>,
}

impl Events {
    async fn read(suite: &Suite) -> Self {
        let pool = suite.database().pool();
        let (mut outcomes, mut actions) = (BTreeMap::<_, BTreeSet<i16>>::new(), BTreeSet::new());
        for schema in ["auth", "users", "chats", "messages"] {
            let sql = AssertSqlSafe(format!("select trace_id, action, outcome from {schema}.audit_events"));
            let rows: Vec<(String, String, i16)> = sqlx::query_as(sql).fetch_all(&pool).await.expect("the trail");
            for (trace_id, action, outcome) in rows {
                if outcome == AuditOutcome::Done as i16 {
                    actions.insert(action.clone());
                }
                outcomes.entry((trace_id, action)).or_default().insert(outcome);
            }
        }
        Self { outcomes, actions }
    }

    fn has(&self, trace_id: &str, action: &str, outcome: AuditOutcome) -> bool {
        let found = self.outcomes.get(&(trace_id.to_owned(), action.to_owned()));
        found.is_some_and(|outcomes| outcomes.contains(&(outcome as i16)))
    }

    fn has_action(&self, action: &str) -> bool {
        self.actions.contains(action)
    }
}

/// The RPCs whose effects are recorded.
fn recorded() -> Vec<Method> {
    Api::methods().into_iter().filter(is_recorded).collect()
}

fn is_recorded(method: &Method) -> bool {
    policy(policies(), method).audit_category != AuditCategory::None
}

fn name(method: &Method) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

/// What is wrong with the trails, by what each says of itself to an administrator.
pub async fn findings(suite: &Suite, admin: &Actor) -> Vec<String> {
    let api = Api::new(suite.channel());
    let bearer = format!("Bearer {}", admin.access_token);
    let headers = [("authorization", bearer.as_str())];
    let mut wrong = Vec::new();
    for method in Api::methods()
        .iter()
        .filter(|method| method.name() == "VerifyAuditChain")
    {
        let service = owner(method);
        assert!(!is_internal(method), "operators call it");
        until_sealed(suite, service).await;
        let (mut from, mut entries) = (1, 0);
        while from > 0 {
            let request = message(method, &serde_json::json!({ "fromNumber": from }));
            let answer = match api.call(method, request, &headers).await {
                Ok(answer) => answer,
                Err(status) => {
                    wrong.push(format!("{}: {status:?}", name(method)));
                    break;
                }
            };
            let number = |field: &str| answer.get_field_by_name(field).and_then(|value| value.as_i64());
            let found = answer.get_field_by_name("findings").expect("a field");
            let found = found
                .as_list()
                .expect("a list")
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>();
            wrong.extend(
                found
                    .into_iter()
                    .map(|finding| format!("the trail of {service}: {finding}")),
            );
            entries = number("last_number").expect("a number");
            from = number("next_number").expect("a number");
        }
        if entries == 0 {
            wrong.push(format!("the trail of {service} is empty"));
        }
    }
    wrong
}

/// Waits until every event has its number.
async fn until_sealed(suite: &Suite, service: Service) {
    let schema = match service {
        Service::Auth => "auth",
        Service::User => "users",
        Service::Chat => "chats",
        Service::Message => "messages",
        Service::Gateway => panic!("the gateway has no trail"),
    };
    let pool = suite.database().pool();
    until("every event has its number", LIMIT, || {
        let pool = pool.clone();
        async move {
            let sql = AssertSqlSafe(format!("select count(*) from {schema}.audit_pending"));
            let waiting: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.expect("the queue");
            waiting == 0
        }
    })
    .await;
}
