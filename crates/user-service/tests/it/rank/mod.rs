//! Who may do what to whom: every actor, target and action, against a table written by hand (`reliability.md` A13).

mod parts;
mod standing;

use tidings_ids::{RoleId, UserId};
use tidings_proto_common::v1::{ErrorReason as R, Permission as P};
use tidings_proto_user::v1::{
    AccessQuery, AssignRoleRequest, ChangeUsernameRequest, CheckAccessRequest, CheckAuthorityRequest,
    CreateRoleRequest, DeleteRoleRequest, DeleteUserRequest, ListRolesRequest, Role, SuspendUserRequest,
    UnassignRoleRequest, UpdateRoleRequest, UpdateUserRequest, access_query,
};
use tonic::Status;

use crate::support::{Actor, World, reason};

/// What a role that is not there from the start allows, and how high it stands.
type Custom = (&'static [P], i32);

/// The roles, in the order of the table's rows and columns: what each is called, allows, and how high it stands.
const ROLES: [(&str, Option<Custom>); 8] = [
    ("admin", None),
    ("chief", Some((&[P::UsersManage, P::RolesRead, P::RolesManage], 500))),
    ("crown", Some((&[], 700))),
    ("clerk", Some((&[P::RolesRead, P::RolesManage], 100))),
    ("aide", Some((&[P::RolesRead], 100))),
    ("low", Some((&[P::RolesManage], 0))),
    ("member", None),
    ("bot", None),
];

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Create a role that allows as much and stands as high.
    Create,
    /// Describe the role otherwise.
    Describe,
    /// Delete the role.
    Delete,
    /// Give the role to somebody who has none but `member`.
    Assign,
    /// Take the role from somebody who has only this.
    Unassign,
    /// Give a role that is nothing to somebody who has only this role.
    AssignTrifle,
    /// Change the profile of somebody who has only this role.
    Profile,
    /// Give another name to somebody who has only this role.
    Rename,
    /// Suspend somebody who has only this role.
    Suspend,
    /// Delete the account of somebody who has only this role.
    DeleteUser,
    /// Be somebody of higher rank, or of the same, to who has only this role.
    Authority,
    /// Get into the account of somebody who has only this role, as an operator does who sets a password.
    TakeOver,
}

/// A row an actor, a column a target, both in the order of [`ROLES`]: `.` is done, `P` is `PERMISSION_MISSING`, `R` is
/// `RANK_TOO_LOW`, `K` is `KIND_UNSUITABLE`.
const TABLE: [(Action, [&str; 8]); 12] = [
    (
        Action::Create,
        [
            "........", "P.R...PP", "PPPPPPPP", "PPR...PP", "PPPPPPPP", "PPRPP.PP", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::Describe,
        [
            "K.....KK", "K.R...KK", "PPPPPPPP", "KRR...KK", "PPPPPPPP", "KRRRR.KK", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::Delete,
        [
            "K.....KK", "K.R...KK", "PPPPPPPP", "KPR...KK", "PPPPPPPP", "KPRPP.KK", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::Assign,
        [
            "........", "P.R...PP", "PPPPPPPP", "PPR...PP", "PPPPPPPP", "PPRPP.PP", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::Unassign,
        [
            "........", "P.R...PP", "PPPPPPPP", "PPR...PP", "PPPPPPPP", "PPRPP.PP", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::AssignTrifle,
        [
            "........", "R.R.....", "PPPPPPPP", "RRR.....", "PPPPPPPP", "RRRRR...", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::Profile,
        [
            "........", "R.R.....", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::Rename,
        [
            "........", "R.R.....", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::Suspend,
        [
            "........", "R.R.....", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::DeleteUser,
        [
            "........", "R.R.....", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP", "PPPPPPPP",
        ],
    ),
    (
        Action::Authority,
        [
            "........", "R.R.....", "R.......", "RRR.....", "RRR.....", "RRRRR...", "RRRRR...", "RRRRR...",
        ],
    ),
    (
        Action::TakeOver,
        [
            "........", "R.R...PP", "RP.PPPPP", "RRR...PP", "RRRP.PPP", "RRRRR.PP", "RRRRRP.P", "RRRRRPP.",
        ],
    ),
];

fn expected(letter: char) -> Option<R> {
    match letter {
        '.' => None,
        'P' => Some(R::PermissionMissing),
        'R' => Some(R::RankTooLow),
        'K' => Some(R::KindUnsuitable),
        other => panic!("{other} is not in the table's words"),
    }
}

/// Somebody for each role, and a role that is nothing.
struct Stage {
    world: World,
    ruth: Actor,
    actors: Vec<Actor>,
    trifle: RoleId,
}

impl Stage {
    async fn set() -> Self {
        let world = World::begin().await;
        let ruth = world.register("ruth", &["admin"]).await;
        let mut actors = Vec::new();
        for (name, custom) in ROLES {
            if let Some((permissions, rank)) = custom {
                world.ranked_role(&ruth, name, permissions, rank).await;
            }
            actors.push(world.register(&format!("actor-{name}"), &[name]).await);
        }
        let trifle = world.role(&ruth, "trifle", &[]).await;
        Self {
            world,
            ruth,
            actors,
            trifle,
        }
    }

    async fn roles(&self) -> Vec<Role> {
        let mut client = self.world.roles();
        let listed = client.list_roles(self.ruth.asks(ListRolesRequest::default())).await;
        let listed = listed.expect("listed").into_inner().roles;
        let find = |name: &str| listed.iter().find(|role| role.name == name).cloned().expect("there");
        ROLES.iter().map(|(name, _)| find(name)).collect()
    }

    /// Somebody who has only this role, or only `member`.
    async fn holder(&self, case: &str, role: &str) -> UserId {
        self.world.register(case, &[role]).await.user_id
    }

    /// What `CheckAccess` says beforehand that a call of this RPC would be refused with, whoever asks.
    async fn foretell(&self, actor: &Actor, method: &str, user_id: &str, role_id: &str) -> Option<R> {
        let query = |subject: &str| AccessQuery {
            user_id: subject.to_owned(),
            action: Some(access_query::Action::Method(method.to_owned())),
            target_user_id: user_id.to_owned(),
            target_role_id: role_id.to_owned(),
        };
        let subject = actor.user_id.to_string();
        let mut decisions = Vec::new();
        for (asker, subject) in [(&self.ruth, subject.as_str()), (actor, "")] {
            let request = CheckAccessRequest {
                query: Some(query(subject)),
            };
            let checked = self.world.access().check_access(asker.asks(request)).await;
            decisions.push(checked.expect("decided").into_inner().decision.expect("a decision"));
        }
        assert_eq!(decisions[0], decisions[1], "{method}");
        assert_eq!(decisions[0].allowed, decisions[0].reason() == R::Unspecified);
        (!decisions[0].allowed).then(|| decisions[0].reason())
    }

    /// A role like this one, or this one where it cannot be deleted anyway.
    async fn like(&self, role: &Role, case: &str) -> String {
        if role.built_in {
            return role.role_id.clone();
        }
        let like = CreateRoleRequest {
            name: case.to_owned(),
            permissions: role.permissions.clone(),
            rank: role.rank,
            ..CreateRoleRequest::default()
        };
        let created = self.world.roles().create_role(self.ruth.asks(like)).await;
        created.expect("created").into_inner().role.expect("a role").role_id
    }

    /// Tries it. `case` is a name that nothing else has. Returns also what was foretold: what it is refused with, if anything;
    /// nothing at all where there is nothing to ask `CheckAccess` about.
    async fn act(
        &self,
        action: Action,
        actor: &Actor,
        role: &Role,
        case: &str,
    ) -> (Result<(), Status>, Option<Option<R>>) {
        let (world, role_id) = (&self.world, role.role_id.clone());
        match action {
            Action::Create => {
                let request = CreateRoleRequest {
                    name: case.to_owned(),
                    permissions: role.permissions.clone(),
                    rank: role.rank,
                    ..CreateRoleRequest::default()
                };
                (world.roles().create_role(actor.asks(request)).await.map(drop), None)
            }
            Action::Describe => {
                let foretold = self.foretell(actor, "tidings.user.v1.RoleService/UpdateRole", "", &role_id);
                let foretold = foretold.await;
                let request = UpdateRoleRequest {
                    role_id,
                    description: case.to_owned(),
                    ..UpdateRoleRequest::default()
                };
                let outcome = world.roles().update_role(actor.asks(request)).await;
                (outcome.map(drop), Some(foretold))
            }
            Action::Delete => {
                let role_id = self.like(role, case).await;
                let foretold = self.foretell(actor, "tidings.user.v1.RoleService/DeleteRole", "", &role_id);
                let foretold = foretold.await;
                let request = DeleteRoleRequest {
                    role_id,
                    ..DeleteRoleRequest::default()
                };
                let outcome = world.roles().delete_role(actor.asks(request)).await;
                (outcome.map(drop), Some(foretold))
            }
            Action::Assign | Action::AssignTrifle => {
                let trifle = action == Action::AssignTrifle;
                let holder = self.holder(case, if trifle { &role.name } else { "member" });
                let user_id = holder.await.to_string();
                let role_id = if trifle { self.trifle.to_string() } else { role_id };
                let foretold = self.foretell(actor, "tidings.user.v1.RoleService/AssignRole", &user_id, &role_id);
                let foretold = foretold.await;
                let request = AssignRoleRequest {
                    user_id,
                    role_id,
                    request_id: String::new(),
                };
                let outcome = world.roles().assign_role(actor.asks(request)).await;
                (outcome.map(drop), Some(foretold))
            }
            Action::Unassign => {
                let user_id = self.holder(case, &role.name).await.to_string();
                let foretold = self.foretell(actor, "tidings.user.v1.RoleService/UnassignRole", &user_id, &role_id);
                let foretold = foretold.await;
                let request = UnassignRoleRequest {
                    user_id,
                    role_id,
                    request_id: String::new(),
                };
                let outcome = world.roles().unassign_role(actor.asks(request)).await;
                (outcome.map(drop), Some(foretold))
            }
            Action::Profile => {
                let user_id = self.holder(case, &role.name).await.to_string();
                let foretold = self.foretell(actor, "tidings.user.v1.UserService/UpdateUser", &user_id, "");
                let foretold = foretold.await;
                let request = UpdateUserRequest {
                    user_id,
                    bio: "x".to_owned(),
                    ..UpdateUserRequest::default()
                };
                let outcome = world.users().update_user(actor.asks(request)).await;
                (outcome.map(drop), Some(foretold))
            }
            Action::Rename => {
                let user_id = self.holder(case, &role.name).await.to_string();
                let foretold = self.foretell(actor, "tidings.user.v1.UserService/ChangeUsername", &user_id, "");
                let foretold = foretold.await;
                let request = ChangeUsernameRequest {
                    user_id,
                    username: format!("{case}-other"),
                    ..ChangeUsernameRequest::default()
                };
                let outcome = world.users().change_username(actor.asks(request)).await;
                (outcome.map(drop), Some(foretold))
            }
            Action::Suspend => {
                let user_id = self.holder(case, &role.name).await.to_string();
                let foretold = self.foretell(actor, "tidings.user.v1.UserService/SuspendUser", &user_id, "");
                let foretold = foretold.await;
                let request = SuspendUserRequest {
                    user_id,
                    ..SuspendUserRequest::default()
                };
                let outcome = world.users().suspend_user(actor.asks(request)).await;
                (outcome.map(drop), Some(foretold))
            }
            Action::DeleteUser => {
                let user_id = self.holder(case, &role.name).await.to_string();
                let foretold = self.foretell(actor, "tidings.user.v1.UserService/DeleteUser", &user_id, "");
                let foretold = foretold.await;
                let request = DeleteUserRequest {
                    user_id,
                    ..DeleteUserRequest::default()
                };
                let outcome = world.users().delete_user(actor.asks(request)).await;
                (outcome.map(drop), Some(foretold))
            }
            Action::Authority => {
                let request = CheckAuthorityRequest {
                    actor_user_id: actor.user_id.to_string(),
                    target_user_id: self.holder(case, &role.name).await.to_string(),
                    ..CheckAuthorityRequest::default()
                };
                (world.provisioning().check_authority(request).await.map(drop), None)
            }
            Action::TakeOver => {
                let request = CheckAuthorityRequest {
                    actor_user_id: actor.user_id.to_string(),
                    target_user_id: self.holder(case, &role.name).await.to_string(),
                    takes_over: true,
                    actor_permissions: (1..=15).collect(),
                };
                (world.provisioning().check_authority(request).await.map(drop), None)
            }
        }
    }
}

#[tokio::test]
async fn every_actor_does_to_every_target_what_the_table_says_and_nothing_else() {
    let stage = Stage::set().await;
    let roles = stage.roles().await;
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (action, rows) in TABLE {
        for (actor, row) in stage.actors.iter().zip(rows) {
            assert_eq!(row.len(), ROLES.len());
            for (role, letter) in roles.iter().zip(row.chars()) {
                tried += 1;
                let (outcome, foretold) = stage.act(action, actor, role, &format!("case{tried}")).await;
                let told = outcome.is_err().then(|| reason(outcome));
                if told != expected(letter) || foretold.is_some_and(|foretold| foretold != told) {
                    let name = ROLES[stage
                        .actors
                        .iter()
                        .position(|other| other.user_id == actor.user_id)
                        .unwrap()]
                    .0;
                    wrong.push(format!(
                        "{name} {action:?} {}: {told:?} ({foretold:?}), not {letter}",
                        role.name
                    ));
                }
            }
        }
    }
    assert_eq!(tried, TABLE.len() * ROLES.len() * ROLES.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
