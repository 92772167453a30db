//! The authorization matrix: every RPC, called by everybody who might call it, at the gateway and at the services themselves.
//!
//! Which RPCs there are comes from the descriptors, and so does what a caller must prove. What a caller must be to the thing that
//! the call is about stands in [`rows`], written by hand from the texts of the API and never from a run. An RPC without a row fails.
//! [`nested`] does the same for ids within a request, and [`masks`] for the paths of changes. [`foretold`] holds against it what
//! `AccessService` tells beforehand.

pub mod cast;
mod expected;
mod foretold;
mod masks;
mod nested;
pub mod rows;
pub mod scene;
mod shells;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;
use tidings_authn::Service;
use tidings_proto_common::v1::{Authentication, Idempotency};
use tidings_rpc::{Policies, Policy};
use tidings_testkit::{Api, Method, Process, Shape, Suite, assert_contract, idempotency, reason_of};
use tonic::{Code, Status};

use crate::audit::{self, Calls, Trace};

use self::{
    cast::{Cast, Role},
    expected::{Expected, expected},
    rows::{Relation, Row, rows},
    scene::{Needs, Scene},
};

/// RPCs that are played at once.
const AT_ONCE: usize = 6;

/// The header in which services prove who they are.
pub const SERVICE_HEADER: &str = "x-tidings-service";

/// Where a caller knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The public port.
    Gateway,
    /// The port of the service that has the RPC.
    Service,
}

#[test]
fn every_rpc_has_exactly_one_row() {
    let methods: BTreeSet<String> = Api::methods()
        .iter()
        .map(|method| method.full_name().to_owned())
        .collect();
    let rows: Vec<String> = rows().map(|row| format!("tidings.{}", row.rpc)).collect();
    let named: BTreeSet<String> = rows.iter().cloned().collect();
    let missing: Vec<_> = methods.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&methods).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without a row: {missing:#?}; rows of no RPC: {unknown:#?}"
    );
    assert_eq!(rows.len(), named.len(), "an RPC has two rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_what_the_policy_and_the_relation_say_in_one_process() {
    let suite = Suite::start(Shape::One).await;
    let play = Play::at_the_gateway(Cast::gather(&suite).await);
    let mut wrong = play.all().await;
    wrong.extend(nested::play(&play.cast).await);
    wrong.extend(masks::play(&suite, &play.cast).await);
    wrong.extend(foretold::play(&play.cast).await);
    wrong.extend(play.calls.missing(&suite).await);
    wrong.extend(audit::findings(&suite, &play.cast.admin).await);
    assert_nothing(&wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_what_the_policy_and_the_relation_say_in_five_processes() {
    let suite = Suite::start(Shape::Five).await;
    let play = Play::at_the_gateway(Cast::gather(&suite).await);
    let mut wrong = play.all().await;
    wrong.extend(play.at_the_services(&suite).all().await);
    wrong.extend(play.calls.missing(&suite).await);
    wrong.extend(audit::findings(&suite, &play.cast.admin).await);
    assert_nothing(&wrong);
}

/// The matrix itself is tested: where everybody counts as a member, it must find that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_check_that_always_says_yes_is_found() {
    let suite = Suite::start(Shape::One).await;
    let play = Play::at_the_gateway(Cast::gather_where_all_are_members(&suite).await);
    for row in rows().filter(|row| row.relation == Relation::Member && row.needs == Needs::Group) {
        let wrong = play.refused_cells(row, &[Role::Stranger]).await;
        let found = wrong
            .iter()
            .any(|cell| cell.contains(row.rpc) && cell.contains("Stranger"));
        assert!(found, "the matrix does not see that a stranger may call {}", row.rpc);
    }
}

fn assert_nothing(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} cells are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The matrix at one door.
struct Play {
    cast: Arc<Cast>,
    door: Door,
    /// The services' own ports, where they are knocked at.
    ports: HashMap<Service, Api>,
    /// What the audit trails are held against.
    calls: Arc<Calls>,
}

impl Play {
    fn at_the_gateway(cast: Cast) -> Self {
        Self {
            cast: Arc::new(cast),
            door: Door::Gateway,
            ports: HashMap::new(),
            calls: Arc::default(),
        }
    }

    fn at_the_services(&self, suite: &Suite) -> Self {
        let ports = PORTS.map(|(service, process)| (service, Api::new(suite.direct(process))));
        Self {
            cast: Arc::clone(&self.cast),
            door: Door::Service,
            ports: ports.into(),
            calls: Arc::clone(&self.calls),
        }
    }

    /// Plays all cells and returns what is wrong with those that are.
    async fn all(&self) -> Vec<String> {
        let here = |row: &&Row| self.door == Door::Gateway || self.ports.contains_key(&owner(&method_of(row)));
        let played = stream::iter(rows().filter(here)).map(|row| self.row(row));
        played.buffer_unordered(AT_ONCE).concat().await
    }

    /// Plays an RPC with everybody: all who must be refused in one scene, which a refusal leaves as it is, and so all readers;
    /// whoever changes something has a scene of their own.
    async fn row(&self, row: &'static Row) -> Vec<String> {
        let method = method_of(row);
        let reads = idempotency(&method) == Idempotency::Read;
        let changes = |role: &Role| !reads && matches!(self.expected(row, *role), Expected::Ok);
        let (changing, others): (Vec<Role>, Vec<Role>) = Role::ALL.into_iter().partition(changes);
        let mut wrong = self.refused_cells(row, &others).await;
        for role in changing {
            let scene = Scene::set(&self.cast, row.needs).await;
            wrong.extend(self.cell(row, role, &scene).await);
        }
        wrong
    }

    async fn refused_cells(&self, row: &'static Row, roles: &[Role]) -> Vec<String> {
        let scene = Scene::set(&self.cast, row.needs).await;
        let mut wrong = Vec::new();
        for role in roles {
            wrong.extend(self.cell(row, *role, &scene).await);
        }
        wrong
    }

    /// Plays one cell and says what is wrong with it.
    async fn cell(&self, row: &Row, role: Role, scene: &Scene) -> Option<String> {
        let method = method_of(row);
        let (mut scene, token) = if row.needs.is_own() {
            Scene::set_for(&self.cast, row.needs, role).await
        } else {
            (scene.clone(), self.cast.token_of(role))
        };
        scene.renew();
        let request = scene.fill(row.request);
        let outcome = self.call(&method, role, token, &request).await;
        let wrong = judge(&self.expected(row, role), &outcome)?;
        let Self { door, .. } = self;
        Some(format!(
            "{role:?} calls {} at the {door:?}: {wrong}\n    with {request}",
            row.rpc
        ))
    }

    fn expected(&self, row: &Row, role: Role) -> Expected {
        expected(policies(), &method_of(row), row.relation, role, self.door)
    }

    async fn call(
        &self,
        method: &Method,
        role: Role,
        token: Option<String>,
        request: &Value,
    ) -> Result<DynamicMessage, Status> {
        let trace = Trace::new();
        let mut headers = vec![trace.header()];
        headers.extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
        if role == Role::Service {
            let callee = owner(method);
            let proof = match policy(policies(), method).callers.first() {
                Some(caller) => self.cast.identity_of(*caller, callee),
                None => self.cast.identity_for(callee),
            };
            headers.push((SERVICE_HEADER, proof));
        }
        let headers: Vec<(&'static str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let api = match self.door {
            Door::Gateway => &self.cast.api,
            Door::Service => &self.ports[&owner(method)],
        };
        let outcome = api.call(method, message(method, request), &headers).await;
        self.calls.note(method, trace, &outcome);
        outcome
    }
}

/// A request of this RPC.
pub fn message(method: &Method, json: &Value) -> DynamicMessage {
    DynamicMessage::deserialize(method.input(), json).unwrap_or_else(|error| panic!("{}: {error}", method.full_name()))
}

fn judge(expected: &Expected, outcome: &Result<DynamicMessage, Status>) -> Option<String> {
    match (expected, outcome) {
        (Expected::Ok | Expected::Reached, Ok(_)) => None,
        (Expected::Ok, Err(status)) => Some(format!("expected OK, got {}", told(status))),
        (Expected::Reached, Err(status)) => {
            assert_contract(status);
            let stopped = matches!(
                status.code(),
                Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented
            );
            stopped.then(|| format!("must get through, got {}", told(status)))
        }
        (Expected::Refused(code, reasons), Err(status)) => {
            assert_contract(status);
            let right = status.code() == *code && reasons.contains(&reason_of(status));
            (!right).then(|| format!("expected {code:?} {reasons:?}, got {}", told(status)))
        }
        (Expected::Refused(code, _), Ok(message)) => Some(format!("expected {code:?}, got OK {}", shown(message))),
    }
}

fn told(status: &Status) -> String {
    format!("{:?} {:?}", status.code(), reason_of(status))
}

fn shown(message: &DynamicMessage) -> String {
    let json = message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
    json.unwrap_or_default().to_string()
}

/// What each RPC declares.
pub fn policies() -> &'static Policies {
    static POLICIES: std::sync::LazyLock<Policies> = std::sync::LazyLock::new(|| {
        Policies::from_descriptors(&[
            tidings_proto_auth::FILE_DESCRIPTOR_SET,
            tidings_proto_user::FILE_DESCRIPTOR_SET,
            tidings_proto_chat::FILE_DESCRIPTOR_SET,
            tidings_proto_message::FILE_DESCRIPTOR_SET,
            tidings_proto_gateway::FILE_DESCRIPTOR_SET,
        ])
        .expect("every RPC declares its policy")
    });
    &POLICIES
}

/// What this RPC declares.
pub fn policy<'a>(policies: &'a Policies, method: &Method) -> &'a Policy {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    policies.get(&path).expect("every RPC has a policy")
}

/// Internal RPCs do not exist at the gateway.
pub fn is_internal(method: &Method) -> bool {
    policy(policies(), method).authentication == Authentication::Service
}

/// The RPC of a row.
pub fn method_of(row: &Row) -> Method {
    Api::method(&format!("tidings.{}", row.rpc))
}

/// The service that has the RPC.
pub fn owner(method: &Method) -> Service {
    let service = method.parent_service();
    let name = service.package_name().split('.').nth(1).unwrap_or_default().to_owned();
    Service::from_name(&name).expect("every package belongs to a service")
}

/// The services with ports of their own, beside the gateway.
pub const PORTS: [(Service, Process); 4] = [
    (Service::Auth, Process::Auth),
    (Service::User, Process::User),
    (Service::Chat, Process::Chat),
    (Service::Message, Process::Message),
];

/// The code that a relation's refusal comes with, for the table of expectations.
const UNKNOWN: Code = Code::NotFound;
