use std::sync::Arc;

use tidings_authn::Caller;
use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_proto_user::v1::{
    AccessDecision, AccessFinding, AccessQuery, AccessRole, AccessRule, BatchCheckAccessRequest,
    BatchCheckAccessResponse, CheckAccessRequest, CheckAccessResponse, ExplainAccessRequest, ExplainAccessResponse,
    UserStatus, access_query::Action, access_service_server::AccessService,
};
use tidings_rpc::{Problem, Violations, caller};
use tonic::{Request, Response, Status};

use super::Rpcs;
use crate::{
    access::{Asked, Decision, Query},
    authority::{Rule, Verdict},
    error::Error,
    role::Role,
};

/// Questions in one `BatchCheckAccess`: some hundred cheap reads.
const BATCH_MAX: usize = 100;

#[tonic::async_trait]
impl AccessService for Rpcs {
    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        let caller = caller(&request)?;
        let query = self.parse_one(&caller, request.into_inner().query)?;
        let decision = self.directory.decide(&query).await?;
        Ok(Response::new(CheckAccessResponse {
            decision: Some(answer(decision.verdict)),
        }))
    }

    async fn batch_check_access(
        &self,
        request: Request<BatchCheckAccessRequest>,
    ) -> Result<Response<BatchCheckAccessResponse>, Status> {
        let caller = caller(&request)?;
        let queries = request.into_inner().queries;
        let mut violations = Violations::new();
        if queries.is_empty() || queries.len() > BATCH_MAX {
            return Err(Problem::field("queries", format!("must have 1 to {BATCH_MAX} entries")).into());
        }
        let queries: Vec<_> = queries
            .into_iter()
            .enumerate()
            .map(|(index, query)| self.parse(&caller, &format!("queries[{index}]"), query, &mut violations))
            .collect();
        Error::if_any(violations)?;
        let mut decisions = Vec::with_capacity(queries.len());
        for query in queries {
            let query = query.ok_or(Error::NotFound)?;
            may_ask(&caller, &query)?;
            decisions.push(answer(self.directory.decide(&query).await?.verdict));
        }
        Ok(Response::new(BatchCheckAccessResponse { decisions }))
    }

    async fn explain_access(
        &self,
        request: Request<ExplainAccessRequest>,
    ) -> Result<Response<ExplainAccessResponse>, Status> {
        let caller = caller(&request)?;
        let query = self.parse_one(&caller, request.into_inner().query)?;
        let Decision { verdict, roles } = self.directory.decide(&query).await?;
        let view = self.view(&caller);
        let ranks = query.user.is_some_and(|user_id| view.roles_of(user_id));
        let findings = verdict.findings.iter();
        let findings = findings
            .map(|(rule, met)| finding(*rule, *met, &roles, ranks))
            .collect();
        Ok(Response::new(ExplainAccessResponse {
            decision: Some(answer(verdict)),
            findings,
        }))
    }
}

impl Rpcs {
    fn parse_one(&self, caller: &Caller, query: Option<AccessQuery>) -> Result<Query, Error> {
        let mut violations = Violations::new();
        let parsed = match query {
            Some(query) => self.parse(caller, "query", query, &mut violations),
            None => {
                violations.add("query", "must be set");
                None
            }
        };
        Error::if_any(violations)?;
        let query = parsed.ok_or(Error::NotFound)?;
        may_ask(caller, &query)?;
        Ok(query)
    }

    /// Reads a question; `None` where it is wrong, which is then among the violations.
    fn parse(&self, caller: &Caller, field: &str, query: AccessQuery, violations: &mut Violations) -> Option<Query> {
        let mut wrong = Violations::new();
        let subject = wrong.optional_id(format!("{field}.user_id"), &query.user_id);
        let user = wrong.optional_id(format!("{field}.target_user_id"), &query.target_user_id);
        let role = wrong.optional_id(format!("{field}.target_role_id"), &query.target_role_id);
        let asked = match query.action {
            Some(Action::Permission(number)) => {
                let permission = Permission::try_from(number).unwrap_or(Permission::Unspecified);
                if permission == Permission::Unspecified {
                    wrong.add(format!("{field}.permission"), "must be a permission");
                }
                Some(Asked::Permission(permission))
            }
            Some(Action::Method(name)) => {
                let policy = self.policies.get(&format!("/{name}")).map(Arc::clone);
                if policy.is_none() {
                    let right = "must be an RPC's full name, as tidings.user.v1.RoleService/AssignRole";
                    wrong.add(format!("{field}.method"), right);
                }
                policy.map(Asked::Method)
            }
            None => {
                wrong.add(format!("{field}.permission"), "must be set, or else the method");
                None
            }
        };
        if !wrong.is_empty() {
            for violation in wrong {
                violations.add(violation.field, violation.description);
            }
            return None;
        }
        let subject = subject.unwrap_or(caller.user_id);
        let oneself = subject == caller.user_id;
        Some(Query {
            subject,
            reach: oneself.then(|| caller.permissions.as_slice().into()),
            asked: asked?,
            user,
            role,
        })
    }
}

/// About others only who may.
fn may_ask(caller: &Caller, query: &Query) -> Result<(), Error> {
    if query.subject == caller.user_id || caller.holds(Permission::AccessRead) {
        Ok(())
    } else {
        Err(Error::PermissionMissing(Permission::AccessRead as i32))
    }
}

fn answer(verdict: Verdict) -> AccessDecision {
    let missing_permission = match &verdict.outcome {
        Err(Error::PermissionMissing(number)) => *number,
        _ => Permission::Unspecified as i32,
    };
    let reason = match verdict.outcome {
        Ok(()) => ErrorReason::Unspecified,
        Err(refusal) => Problem::from(refusal).reason(),
    };
    AccessDecision {
        allowed: reason == ErrorReason::Unspecified,
        reason: reason.into(),
        missing_permission,
    }
}

/// `ranks` says whether the caller may learn how high the other user stands.
fn finding(rule: Rule, met: bool, roles: &[Role], ranks: bool) -> AccessFinding {
    let mut finding = AccessFinding {
        met,
        ..AccessFinding::default()
    };
    let rule = match rule {
        Rule::MethodOffered => AccessRule::MethodOffered,
        Rule::KindIncluded(_) => AccessRule::KindIncluded,
        Rule::AccountActive(status) => {
            finding.set_status(UserStatus::from(status));
            AccessRule::AccountActive
        }
        Rule::PermissionHeld(permission) => {
            finding.set_permission(permission);
            finding.roles = roles.iter().map(|role| held(role, permission)).collect();
            AccessRule::PermissionHeld
        }
        Rule::PermissionInToken(permission) => {
            finding.set_permission(permission);
            AccessRule::PermissionInToken
        }
        Rule::RoleExists => AccessRule::RoleExists,
        Rule::UserExists => AccessRule::UserExists,
        Rule::RoleChangeable => AccessRule::RoleChangeable,
        Rule::GrantHeld(missing) => {
            finding.permission = missing.unwrap_or_default();
            AccessRule::GrantHeld
        }
        Rule::RankReachesRole { actor, role } => {
            (finding.actor_rank, finding.target_rank) = (actor, role);
            AccessRule::RankReachesRole
        }
        Rule::RankReachesUser { actor, user } => {
            if ranks {
                (finding.actor_rank, finding.target_rank) = (actor, user);
            }
            AccessRule::RankReachesUser
        }
        Rule::AdminRemains => AccessRule::AdminRemains,
    };
    finding.set_rule(rule);
    finding
}

fn held(role: &Role, permission: Permission) -> AccessRole {
    AccessRole {
        role_id: role.role_id.to_string(),
        name: role.name.clone(),
        rank: role.rank,
        grants: role.permissions.has(permission),
    }
}
