//! Roles, who has them, and what they allow.

mod definitions;
mod grants;
mod last_admin;

use tidings_ids::{RoleId, UserId};
use tidings_proto_common::v1::Permission as P;
use tidings_proto_user::v1::{AssignRoleRequest, GetRoleRequest, Role, UnassignRoleRequest};
use tonic::Status;

use crate::support::{Actor, World};

const ADMIN: &str = "00000000-0000-7000-8000-000000000001";
const MEMBER: &str = "00000000-0000-7000-8000-000000000002";
const BOT: &str = "00000000-0000-7000-8000-000000000003";

fn id(text: &str) -> RoleId {
    RoleId::parse(text).expect("an id")
}

async fn assign(world: &World, caller: &Actor, user_id: UserId, role_id: RoleId) -> Result<(), Status> {
    let request = AssignRoleRequest {
        user_id: user_id.to_string(),
        role_id: role_id.to_string(),
        request_id: String::new(),
    };
    world.roles().assign_role(caller.asks(request)).await.map(drop)
}

async fn unassign(world: &World, caller: &Actor, user_id: UserId, role_id: RoleId) -> Result<(), Status> {
    let request = UnassignRoleRequest {
        user_id: user_id.to_string(),
        role_id: role_id.to_string(),
        request_id: String::new(),
    };
    world.roles().unassign_role(caller.asks(request)).await.map(drop)
}

async fn get(world: &World, caller: &Actor, role_id: &str) -> Result<Role, Status> {
    let request = GetRoleRequest {
        role_id: role_id.to_owned(),
    };
    Ok(world
        .roles()
        .get_role(caller.asks(request))
        .await?
        .into_inner()
        .role
        .expect("a role"))
}

/// All permissions that there are: an enum's numbers have no holes here.
fn every_permission() -> Vec<i32> {
    (1..).take_while(|number| P::try_from(*number).is_ok()).collect()
}
