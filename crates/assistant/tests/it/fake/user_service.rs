//! The person whom the assistant talks to.

use tidings_proto_user::v1::{self as user, user_service_server::UserService};
use tonic::{Request, Response, Status};

use super::{Fake, unused};

#[tonic::async_trait]
impl UserService for Fake {
    async fn lookup_user(
        &self,
        _: Request<user::LookupUserRequest>,
    ) -> Result<Response<user::LookupUserResponse>, Status> {
        unused()
    }

    async fn search_users(
        &self,
        _: Request<user::SearchUsersRequest>,
    ) -> Result<Response<user::SearchUsersResponse>, Status> {
        unused()
    }

    async fn change_username(
        &self,
        _: Request<user::ChangeUsernameRequest>,
    ) -> Result<Response<user::ChangeUsernameResponse>, Status> {
        unused()
    }

    async fn suspend_user(
        &self,
        _: Request<user::SuspendUserRequest>,
    ) -> Result<Response<user::SuspendUserResponse>, Status> {
        unused()
    }

    async fn reactivate_user(
        &self,
        _: Request<user::ReactivateUserRequest>,
    ) -> Result<Response<user::ReactivateUserResponse>, Status> {
        unused()
    }

    async fn delete_user(
        &self,
        _: Request<user::DeleteUserRequest>,
    ) -> Result<Response<user::DeleteUserResponse>, Status> {
        unused()
    }

    async fn undelete_user(
        &self,
        _: Request<user::UndeleteUserRequest>,
    ) -> Result<Response<user::UndeleteUserResponse>, Status> {
        unused()
    }

    async fn get_user(
        &self,
        request: Request<user::GetUserRequest>,
    ) -> Result<Response<user::GetUserResponse>, Status> {
        self.authorize(&request)?;
        let user_id = request.into_inner().user_id;
        let is_bot = self.state.lock().bot.is_some_and(|bot| bot.to_string() == user_id);
        let user = user::User {
            user_id,
            is_bot,
            ..user::User::default()
        };
        Ok(Response::new(user::GetUserResponse { user: Some(user) }))
    }

    async fn get_current_user(
        &self,
        _: Request<user::GetCurrentUserRequest>,
    ) -> Result<Response<user::GetCurrentUserResponse>, Status> {
        unused()
    }

    async fn batch_get_users(
        &self,
        _: Request<user::BatchGetUsersRequest>,
    ) -> Result<Response<user::BatchGetUsersResponse>, Status> {
        unused()
    }

    async fn list_users(
        &self,
        _: Request<user::ListUsersRequest>,
    ) -> Result<Response<user::ListUsersResponse>, Status> {
        unused()
    }

    async fn update_user(
        &self,
        _: Request<user::UpdateUserRequest>,
    ) -> Result<Response<user::UpdateUserResponse>, Status> {
        unused()
    }
}
