//! What a user may do, judged by the rules and the facts that the RPCs go by.

use tidings_proto_common::v1::{Authentication, ErrorReason, Permission};
use tidings_rpc::{Policy, Problem};

use super::{Directory, authority};
use crate::{
    access::{Asked, Decision, Effect, Query, audience},
    authority::{Deed, Kind, Rule, Verdict, judge_all},
    error::Error,
    role::Rank,
    store::{roles, users},
    user::Status,
};

impl Directory {
    /// Answers a question.
    pub(crate) async fn decide(&self, query: &Query) -> Result<Decision, Error> {
        let mut connection = self.pool.acquire().await?;
        let connection = &mut *connection;
        // Somebody whose registration is not complete is nobody yet.
        let subject = users::standing(&mut *connection, query.subject).await?;
        subject
            .filter(|subject| subject.status.is_known())
            .ok_or(Error::NotFound)?;
        let held = roles::of_user(&mut *connection, query.subject).await?;
        let effect = match &query.asked {
            Asked::Permission(permission) => Effect::of_permission(*permission),
            Asked::Method(policy) => match offered(policy) {
                Ok(true) => Effect::of(policy),
                Ok(false) => return Ok(Decision::of(Verdict::met(Rule::MethodOffered))),
                Err(refusal) => return Ok(Decision::of(Verdict::unmet(Rule::MethodOffered, refusal))),
            },
        };
        let asked_for = match &query.asked {
            Asked::Permission(permission) => *permission,
            Asked::Method(policy) => policy.permission,
        };
        let actor = authority::actor_of(connection, query.subject, query.reach.clone()).await?;
        let role = match query.role {
            Some(role_id) => Some(roles::find(&mut *connection, role_id).await?),
            None => None,
        };
        let user = match query.user {
            Some(user_id) => Some(rank_for(connection, user_id, effect).await?),
            None => None,
        };
        let last_admin = last_admin(connection, query, effect).await?;
        let held_by_user = match (effect, query.user) {
            (Effect::OnUser { takes_over: true, .. }, Some(user_id)) if user_id != query.subject => {
                Some(authority::held_by(connection, user_id).await?)
            }
            _ => None,
        };
        let mut deeds = vec![Deed::Use(asked_for)];
        let oneself = query.user == Some(query.subject);
        if let Asked::Method(policy) = &query.asked
            && let Some(audience) = audience(policy, oneself)
        {
            let kind = kind(connection, query.subject).await?;
            deeds.push(Deed::CallAs { kind, audience });
        }
        match (effect, user, role.as_ref()) {
            (Effect::OnUser { permission, own, .. }, Some(user), _) => {
                let permission = if own && oneself {
                    Permission::Unspecified
                } else {
                    permission
                };
                deeds.push(Deed::ActOnUser {
                    permission,
                    user,
                    last_admin,
                });
                deeds.extend(held_by_user.as_ref().map(Deed::TakeOver));
            }
            (Effect::OfOthers(permission), Some(_), _) if !oneself => {
                deeds.push(Deed::Use(permission));
            }
            (Effect::AssignRole, Some(user), Some(role)) => deeds.push(Deed::AssignRole {
                role: role.as_ref(),
                user,
            }),
            (Effect::UnassignRole, Some(user), Some(role)) => deeds.push(Deed::UnassignRole {
                role: role.as_ref(),
                user,
                last_admin,
            }),
            (Effect::UpdateRole, _, Some(role)) => deeds.push(Deed::UpdateRole {
                before: role.as_ref(),
                after: None,
            }),
            (Effect::DeleteRole, _, Some(role)) => deeds.push(Deed::DeleteRole(role.as_ref())),
            _ => {}
        }
        let mut verdict = judge_all(&actor, deeds);
        if matches!(query.asked, Asked::Method(_)) {
            verdict.findings.insert(0, (Rule::MethodOffered, true));
        }
        Ok(Decision { verdict, roles: held })
    }
}

impl Decision {
    fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            roles: Vec::new(),
        }
    }
}

/// Whether the RPC asks who calls; it is refused where it is not there for users.
fn offered(policy: &Policy) -> Result<bool, Error> {
    match policy.authentication {
        Authentication::User => Ok(true),
        Authentication::None => Ok(false),
        Authentication::Service | Authentication::Unspecified => {
            Err(Error::Problem(Problem::new(ErrorReason::MethodUnknown)))
        }
    }
}

/// How the user's account comes in. What tells a program that logs in from a service account is the address that logging in asks for.
async fn kind(connection: &mut sqlx::PgConnection, user_id: tidings_ids::UserId) -> Result<Kind, Error> {
    let user = users::find(connection, &[user_id])
        .await?
        .pop()
        .ok_or(Error::NotFound)?;
    Ok(match (user.is_bot, user.email) {
        (false, _) => Kind::Person,
        (true, Some(_)) => Kind::Program,
        (true, None) => Kind::ServiceAccount,
    })
}

/// The rank of the user that an RPC is about; `None` where there is no such user for it.
async fn rank_for(
    connection: &mut sqlx::PgConnection,
    user_id: tidings_ids::UserId,
    effect: Effect,
) -> Result<Option<Rank>, Error> {
    if matches!(effect, Effect::OnUser { deleted: true, .. }) {
        let standing = users::standing(connection, user_id).await?;
        let known = standing.filter(|user| user.status.is_known());
        return Ok(known.map(|user| user.rank));
    }
    users::rank(connection, user_id).await
}

/// Whether the last admin would go.
async fn last_admin(connection: &mut sqlx::PgConnection, query: &Query, effect: Effect) -> Result<bool, Error> {
    let Some(user_id) = query.user else { return Ok(false) };
    match (effect, query.role) {
        (Effect::OnUser { ends: true, .. }, _) => {
            let standing = users::standing(&mut *connection, user_id).await?;
            let active = standing.is_some_and(|user| user.status == Status::Active);
            Ok(active && authority::is_last_admin(connection, user_id).await?)
        }
        (Effect::UnassignRole, Some(role_id)) => authority::takes_last_admin(connection, user_id, role_id).await,
        _ => Ok(false),
    }
}
