//! Suspension and deletion, and what undoes them.

mod authority;
mod deletion;
mod steps;
mod suspension;

use std::time::Duration;

use tidings_ids::UserId;
use tidings_proto_user::v1::{
    BatchGetUserStatesRequest, DeleteUserRequest, DeleteUserResponse, GetUserRequest, ReactivateUserRequest,
    SuspendUserRequest, UndeleteUserRequest, User, UserState,
};
use tonic::{Response, Status};

use crate::support::{Actor, World, until};

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const ADMIN: &str = "00000000-0000-7000-8000-000000000001";

async fn suspend(world: &World, by: &Actor, whom: &Actor) -> Result<User, Status> {
    let request = SuspendUserRequest {
        user_id: whom.user_id.to_string(),
        ..SuspendUserRequest::default()
    };
    let response = world.users().suspend_user(by.asks(request)).await?;
    Ok(response.into_inner().user.expect("a user"))
}

async fn reactivate(world: &World, by: &Actor, whom: &Actor) -> Result<User, Status> {
    let request = ReactivateUserRequest {
        user_id: whom.user_id.to_string(),
        ..ReactivateUserRequest::default()
    };
    let response = world.users().reactivate_user(by.asks(request)).await?;
    Ok(response.into_inner().user.expect("a user"))
}

async fn delete(world: &World, by: &Actor, whom: &Actor) -> Result<DeleteUserResponse, Status> {
    let request = DeleteUserRequest {
        user_id: whom.user_id.to_string(),
        ..DeleteUserRequest::default()
    };
    world
        .users()
        .delete_user(by.asks(request))
        .await
        .map(Response::into_inner)
}

async fn undelete(world: &World, by: &Actor, whom: &Actor) -> Result<User, Status> {
    let request = UndeleteUserRequest {
        user_id: whom.user_id.to_string(),
        ..UndeleteUserRequest::default()
    };
    let response = world.users().undelete_user(by.asks(request)).await?;
    Ok(response.into_inner().user.expect("a user"))
}

async fn get(world: &World, by: &Actor, whom: UserId) -> User {
    let request = GetUserRequest {
        user_id: whom.to_string(),
    };
    let response = world.users().get_user(by.asks(request)).await.expect("shown");
    response.into_inner().user.expect("a user")
}

/// The user's state without any side effect.
async fn state(world: &World, whom: &Actor) -> UserState {
    let request = BatchGetUserStatesRequest {
        user_ids: vec![whom.user_id.to_string()],
    };
    let response = world
        .provisioning()
        .batch_get_user_states(request)
        .await
        .expect("states");
    response.into_inner().states.pop().expect("a state")
}

fn only_deleted(whom: &Actor) -> User {
    User {
        user_id: whom.user_id.to_string(),
        deleted: true,
        ..User::default()
    }
}

/// Does the service's housekeeping until the condition holds.
async fn after_housekeeping(world: &World, condition: impl AsyncFn() -> bool) {
    for work in world.service.background() {
        world.environment.drain.spawn(work);
    }
    until("what housekeeping does", || condition()).await;
}
