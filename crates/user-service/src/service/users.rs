use prost::Message as _;
use tidings_authn::Caller;
use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_user::v1::{
    self as proto, BatchGetUsersRequest, BatchGetUsersResponse, ChangeUsernameRequest, ChangeUsernameResponse,
    DeleteUserRequest, DeleteUserResponse, GetCurrentUserRequest, GetCurrentUserResponse, GetUserRequest,
    GetUserResponse, ListUsersRequest, ListUsersResponse, LookupUserRequest, LookupUserResponse, ReactivateUserRequest,
    ReactivateUserResponse, SearchUsersRequest, SearchUsersResponse, SuspendUserRequest, SuspendUserResponse,
    UndeleteUserRequest, UndeleteUserResponse, UpdateUserRequest, UpdateUserResponse, user_service_server::UserService,
};
use tidings_rpc::{Problem, Violations, caller};
use tonic::{Request, Response, Status};

use super::{Rpcs, given, lookup, open, valid};
use crate::{
    access::DELETE_ONESELF,
    authority::Kind,
    convert::{Mask, timestamp},
    error::Error,
    lifecycle::Step,
    profile::ProfileChange,
    search::Query,
    username::Username,
};

const LIST_USERS: &str = "tidings.user.v1.UserService/ListUsers";
const SEARCH_USERS: &str = "tidings.user.v1.UserService/SearchUsers";
const UPDATE_USER: &str = "tidings.user.v1.UserService/UpdateUser";
const CHANGE_USERNAME: &str = "tidings.user.v1.UserService/ChangeUsername";
const SUSPEND_USER: &str = "tidings.user.v1.UserService/SuspendUser";
const REACTIVATE_USER: &str = "tidings.user.v1.UserService/ReactivateUser";
const DELETE_USER: &str = "tidings.user.v1.UserService/DeleteUser";
const UNDELETE_USER: &str = "tidings.user.v1.UserService/UndeleteUser";

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

    async fn lookup_user(&self, request: Request<LookupUserRequest>) -> Result<Response<LookupUserResponse>, Status> {
        let caller = caller(&request)?;
        let key = lookup::parse_key(request.into_inner(), &caller)?;
        let user = self.directory.look_up(&key).await?;
        Ok(Response::new(LookupUserResponse {
            user: Some(self.view(&caller).user(user)),
        }))
    }

    async fn search_users(
        &self,
        request: Request<SearchUsersRequest>,
    ) -> Result<Response<SearchUsersResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let query = violations.check("query", Query::parse(&request.query));
        if request.page_size < 0 {
            violations.add("page_size", "must not be negative");
        }
        let query = valid(violations, query)?;
        let (size, token) = (
            std::mem::take(&mut request.page_size),
            std::mem::take(&mut request.page_token),
        );
        let arguments = request.encode_to_vec();
        let page = self.page(caller.user_id, SEARCH_USERS, &arguments, size, &token)?;
        let after = page.cursor.as_deref().and_then(lookup::place);
        let hits = self.directory.search(&query, after.as_ref(), page.size).await?;
        let next_page_token = hits.next.map_or_else(String::new, |next| {
            self.environment.page_tokens.issue(page.scope, &lookup::cursor(&next))
        });
        let view = self.view(&caller);
        let users = hits.users.into_iter().map(|user| view.user(user)).collect();
        Ok(Response::new(SearchUsersResponse { users, next_page_token }))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        let (caller, mut request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
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

    async fn change_username(
        &self,
        request: Request<ChangeUsernameRequest>,
    ) -> Result<Response<ChangeUsernameResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let user_id = violations
            .optional_id("user_id", &request.user_id)
            .unwrap_or(caller.user_id);
        let username = violations.check("username", Username::parse(&request.username.to_ascii_lowercase()));
        let username = valid(violations, username)?;
        let change = self.change(&caller, CHANGE_USERNAME, request_id, &request);
        let user = self
            .directory
            .change_username(&change, user_id, &username, given(&request.etag))
            .await?;
        Ok(Response::new(ChangeUsernameResponse {
            user: Some(self.view(&caller).user(user)),
        }))
    }

    async fn suspend_user(
        &self,
        request: Request<SuspendUserRequest>,
    ) -> Result<Response<SuspendUserResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let user_id = violations.id("user_id", &request.user_id);
        let user_id = valid(violations, user_id)?;
        let call = (request_id, &request);
        let user = self
            .step(&caller, SUSPEND_USER, Step::Suspend, user_id, &request.etag, call)
            .await?;
        Ok(Response::new(SuspendUserResponse { user: Some(user) }))
    }

    async fn reactivate_user(
        &self,
        request: Request<ReactivateUserRequest>,
    ) -> Result<Response<ReactivateUserResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let user_id = violations.id("user_id", &request.user_id);
        let user_id = valid(violations, user_id)?;
        let call = (request_id, &request);
        let user = self
            .step(&caller, REACTIVATE_USER, Step::Reactivate, user_id, &request.etag, call)
            .await?;
        Ok(Response::new(ReactivateUserResponse { user: Some(user) }))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let user_id = violations
            .optional_id("user_id", &request.user_id)
            .unwrap_or(caller.user_id);
        Error::if_any(violations)?;
        let kind = if caller.is_bot { Kind::Program } else { Kind::Person };
        if user_id == caller.user_id && !DELETE_ONESELF.includes(kind) {
            return Err(DELETE_ONESELF.refusal().into());
        }
        let call = (request_id, &request);
        self.step(&caller, DELETE_USER, Step::Delete, user_id, &request.etag, call)
            .await?;
        let final_time = self.directory.final_time(user_id).await?.map(timestamp);
        Ok(Response::new(DeleteUserResponse { final_time }))
    }

    async fn undelete_user(
        &self,
        request: Request<UndeleteUserRequest>,
    ) -> Result<Response<UndeleteUserResponse>, Status> {
        let (caller, request, request_id, mut violations) = open(request, |request| &mut request.request_id)?;
        let user_id = violations.id("user_id", &request.user_id);
        let user_id = valid(violations, user_id)?;
        let call = (request_id, &request);
        let user = self
            .step(&caller, UNDELETE_USER, Step::Undelete, user_id, "", call)
            .await?;
        Ok(Response::new(UndeleteUserResponse { user: Some(user) }))
    }
}

impl Rpcs {
    /// Takes a step with an account that the request names.
    async fn step(
        &self,
        caller: &Caller,
        method: &'static str,
        step: Step,
        user_id: UserId,
        etag: &str,
        (request_id, content): (Option<uuid::Uuid>, &impl prost::Message),
    ) -> Result<proto::User, Error> {
        let change = self.change(caller, method, request_id, content);
        let user = self.directory.step(&change, user_id, step, given(etag)).await?;
        Ok(self.view(caller).user(user))
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
