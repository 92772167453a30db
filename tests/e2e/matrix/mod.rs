//! The authorization matrix: every RPC, called by everybody who might call it.
//!
//! Which RPCs there are comes from the descriptors, and so does what a caller must prove. What a caller must be to the thing that
//! the call is about stands in [`rows`], written by hand from the texts of the API and never from a run. An RPC without a row fails.

mod expected;
pub mod rows;
pub mod scene;
mod shells;

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt as _, stream};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::Value;
use tidings_proto_common::v1::Authentication;
use tidings_rpc::Policies;
use tidings_testkit::{Api, Method, Shape, Suite, assert_contract, reason_of};
use tonic::{Code, Status};

use self::{
    expected::{Expected, expected},
    rows::{ROWS, Row},
    scene::{Cast, Needs, Role, Scene},
};

/// Cells that are played at once.
const AT_ONCE: usize = 6;

#[test]
fn every_rpc_has_exactly_one_row() {
    let methods: BTreeSet<String> = Api::methods()
        .iter()
        .map(|method| method.full_name().to_owned())
        .collect();
    let rows: Vec<String> = ROWS.iter().map(|row| format!("tidings.{}", row.rpc)).collect();
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
    let cast = Arc::new(Cast::gather(&suite).await);
    let wrong = play(&cast).await;
    assert!(
        wrong.is_empty(),
        "{} cells are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_what_the_policy_and_the_relation_say_in_five_processes() {
    let suite = Suite::start(Shape::Five).await;
    let cast = Arc::new(Cast::gather(&suite).await);
    let wrong = play(&cast).await;
    assert!(
        wrong.is_empty(),
        "{} cells are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The matrix itself is tested: where everybody counts as a member, it must find that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_check_that_always_says_yes_is_found() {
    let suite = Suite::start(Shape::One).await;
    let cast = Arc::new(Cast::gather_where_all_are_members(&suite).await);
    let wrong = play(&cast).await;
    let found = |rpc: &str| wrong.iter().any(|cell| cell.contains(rpc) && cell.contains("Stranger"));
    for rpc in ["SendMessage", "ListMessages", "GetMessage", "GetChat", "ListMembers"] {
        assert!(found(rpc), "the matrix does not see that a stranger may call {rpc}");
    }
}

/// Plays all cells and returns what is wrong with those that are.
async fn play(cast: &Arc<Cast>) -> Vec<String> {
    let cells = ROWS.iter().flat_map(|row| Role::ALL.map(|role| (row, role)));
    let played = stream::iter(cells)
        .map(|(row, role)| cell(Arc::clone(cast), row, role))
        .buffer_unordered(AT_ONCE);
    played.filter_map(|wrong| async { wrong }).collect().await
}

/// Plays one cell in a scene of its own and says what is wrong with it.
async fn cell(cast: Arc<Cast>, row: &'static Row, role: Role) -> Option<String> {
    let method = Api::method(&format!("tidings.{}", row.rpc));
    let scene = Scene::set(&cast, row.needs).await;
    let request = scene.fill(row.request);
    let token = match row.needs {
        Needs::OwnSession => cast.own_token_of(role).await,
        _ => cast.token_of(role),
    };
    let outcome = call(&cast, &method, &request, token.as_deref()).await;
    let expected = expected(policies(), &method, row.relation, role);
    let wrong = judge(&expected, &outcome)?;
    Some(format!("{role:?} calls {}: {wrong}\n    with {request}", row.rpc))
}

async fn call(cast: &Cast, method: &Method, request: &Value, token: Option<&str>) -> Result<DynamicMessage, Status> {
    let message = DynamicMessage::deserialize(method.input(), request)
        .unwrap_or_else(|error| panic!("{}: {error}", method.full_name()));
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&'static str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    cast.api.call(method, message, &headers).await
}

fn judge(expected: &Expected, outcome: &Result<DynamicMessage, Status>) -> Option<String> {
    match (expected, outcome) {
        (Expected::Ok, Ok(_)) => None,
        (Expected::Ok, Err(status)) => Some(format!("expected OK, got {:?} {:?}", status.code(), reason_of(status))),
        (Expected::Refused(code, reasons), Err(status)) => {
            assert_contract(status);
            let right = status.code() == *code && reasons.contains(&reason_of(status));
            (!right).then(|| {
                format!(
                    "expected {code:?} {reasons:?}, got {:?} {:?}",
                    status.code(),
                    reason_of(status)
                )
            })
        }
        (Expected::Refused(code, _), Ok(message)) => {
            let json = message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
            Some(format!("expected {code:?}, got OK {}", json.unwrap_or_default()))
        }
    }
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

/// Internal RPCs do not exist at the gateway.
pub fn is_internal(method: &Method) -> bool {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    policies()
        .get(&path)
        .is_some_and(|policy| policy.authentication == Authentication::Service)
}

/// The code that a relation's refusal comes with, for the table of expectations.
const UNKNOWN: Code = Code::NotFound;
