use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_user::v1::{
    BatchGetUsersRequest, BatchGetUsersResponse, GetCurrentUserRequest, GetCurrentUserResponse, GetUserRequest,
    GetUserResponse, ListUsersRequest, ListUsersResponse, UpdateUserRequest, UpdateUserResponse,
    user_service_server::UserService,
};
use tidings_rpc::{Problem, Violations, caller};
use tonic::{Request, Response, Status};

use super::{Rpcs, given, take_request_id};
use crate::{convert::Mask, error::Error, profile::ProfileChange};

const LIST_USERS: &str = "tidings.user.v1.UserService/ListUsers";
const UPDATE_USER: &str = "tidings.user.v1.UserService/UpdateUser";

/// Users in one `BatchGetUsers`.
const BATCH_MAX: usize = 200;

const PROFILE_FIELDS: [&str; 5] = ["display_name", "bio", "avatar_url", "metadata", "external_id"];

#[tonic::async_trait]
impl UserService for Rpcs {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let caller = caller(&request)?;
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.get_ref().user_id);
        Error::if_any(violations)?;
        let user = self.directory.user(user_id.ok_or(Error::NotFound)?).await?;
        Ok(Response::new(GetUserResponse {
            user: Some(self.view(&caller).user(user)),
        }))
    }

    async fn get_current_user(
        &self,
        request: Request<GetCurrentUserRequest>,
    ) -> Result<Response<GetCurrentUserResponse>, Status> {
        let caller = caller(&request)?;
        let user = self.directory.user(caller.user_id).await.map_err(|error| match error {
            // A token of somebody who is no more.
            Error::NotFound => Error::Problem(Problem::new(ErrorReason::LoginSessionRevoked)),
            other => other,
        })?;
        Ok(Response::new(GetCurrentUserResponse {
            user: Some(self.view(&caller).user(user)),
        }))
    }

    async fn batch_get_users(
        &self,
        request: Request<BatchGetUsersRequest>,
    ) -> Result<Response<BatchGetUsersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let user_ids = violations.ids("user_ids", &request.user_ids, BATCH_MAX);
        if request.user_ids.is_empty() {
            violations.add("user_ids", "must have at least one entry");
        }
        Error::if_any(violations)?;
        let view = self.view(&caller);
        let users = self
            .directory
            .users(&user_ids)
            .await?
            .into_iter()
            .map(|user| view.user(user))
            .collect();
        Ok(Response::new(BatchGetUsersResponse { users }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = self.page(caller.user_id, LIST_USERS, b"", request.page_size, &request.page_token)?;
        let after = page.after().map(UserId::from_uuid);
        let mut users = self.directory.users_after(after, page.limit()).await?;
        let next_page_token = self.next_page_token(&page, &mut users, |last| last.user_id.uuid().as_bytes().to_vec());
        let view = self.view(&caller);
        let users = users.into_iter().map(|user| view.user(user)).collect();
        Ok(Response::new(ListUsersResponse { users, next_page_token }))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let request_id = take_request_id(&mut request.request_id, &mut violations);
        let user_id = violations
            .optional_id("user_id", &request.user_id)
            .unwrap_or(caller.user_id);
        let change = self.change(&caller, UPDATE_USER, request_id, &request);
        let etag = std::mem::take(&mut request.etag);
        let profile = parse_profile(request, &mut violations);
        Error::if_any(violations)?;
        let user = self
            .directory
            .update_user(&change, user_id, &profile, given(&etag))
            .await?;
        Ok(Response::new(UpdateUserResponse {
            user: Some(self.view(&caller).user(user)),
        }))
    }
}

fn parse_profile(request: UpdateUserRequest, violations: &mut Violations) -> ProfileChange {
    let mask = Mask::parse(request.update_mask, &PROFILE_FIELDS, violations);
    let profile = ProfileChange {
        display_name: mask.take("display_name", request.display_name),
        bio: mask.take("bio", request.bio),
        avatar_url: mask.take("avatar_url", request.avatar_url),
        metadata: mask.take("metadata", request.metadata),
        external_id: mask.take("external_id", request.external_id),
    };
    profile.check(violations);
    profile
}
