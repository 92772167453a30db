//! What `AccessService` tells beforehand is what the matrix expects, as far as it speaks of it: by account, kind, permission and rank,
//! with whom and what it is done to left open.

use serde_json::{Value, json};
use tidings_proto_common::v1::ErrorReason;
use tidings_testkit::Method;

use super::{
    Door,
    cast::{Cast, Role},
    expected::{Expected, before_relation, expected},
    method_of, policies,
    rows::{Relation, Row, rows},
};

/// Questions in one call.
const BATCH: usize = 100;

/// Whoever calls with a valid token, a role of each kind.
const ASKERS: [Role; 5] = [Role::Stranger, Role::Owner, Role::Admin, Role::BotInside, Role::Product];

/// Asks for everybody about every RPC, and returns what is told wrongly.
pub async fn play(cast: &Cast) -> Vec<String> {
    let rows: Vec<&Row> = rows().collect();
    let mut wrong = Vec::new();
    for role in ASKERS {
        for rows in rows.chunks(BATCH) {
            let queries: Vec<Value> = rows
                .iter()
                .map(|row| json!({ "method": path(&method_of(row)) }))
                .collect();
            let request = json!({ "queries": queries });
            let answer = cast.call(cast.actor(role), "user.v1.AccessService.BatchCheckAccess", request);
            let answer = answer.await;
            let decisions = answer["decisions"].as_array().expect("decisions");
            assert_eq!(decisions.len(), rows.len(), "one for each question");
            let told = rows.iter().zip(decisions);
            wrong.extend(told.filter_map(|(row, decision)| judge(row, role, decision)));
        }
    }
    wrong
}

fn judge(row: &Row, role: Role, decision: &Value) -> Option<String> {
    let method = method_of(row);
    let refused = match before_relation(policies(), &method, role, Door::Gateway) {
        Some(Expected::Refused(_, reasons)) => reasons.first().copied(),
        Some(_) => None,
        // The one relation that is about the caller alone.
        None if row.relation == Relation::Product && role != Role::Product => Some(ErrorReason::PermissionMissing),
        None => match expected(policies(), &method, row.relation, role, Door::Gateway) {
            Expected::Refused(..) => return None,
            Expected::Ok | Expected::Reached => None,
        },
    };
    let expected = refused.map_or("", |reason| reason.as_str_name());
    let told = decision["reason"].as_str().unwrap_or_default();
    let allowed = decision["allowed"].as_bool().unwrap_or_default();
    let right = allowed == refused.is_none() && (allowed || told == expected);
    (!right).then(|| format!("{role:?} is told of {} {decision}, not {expected:?}", row.rpc))
}

/// As `AccessQuery.method` has it.
fn path(method: &Method) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}
