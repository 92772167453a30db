//! Logins and refreshed tokens.

use std::pin::Pin;

use futures_util::Stream;
use tidings_proto_auth::v1::{self as auth, auth_service_server::AuthService};
use tonic::{Request, Response, Status};

use super::{Fake, PASSWORD, USERNAME, unused};

#[tonic::async_trait]
impl AuthService for Fake {
    async fn login(&self, request: Request<auth::LoginRequest>) -> Result<Response<auth::LoginResponse>, Status> {
        let request = request.into_inner();
        if (request.identifier.as_str(), request.password.as_str()) != (USERNAME, PASSWORD) {
            return Err(Status::unauthenticated("the credentials are not valid"));
        }
        let mut state = self.state.lock();
        state.logins += 1;
        let (access_token, refresh_token, expires) = state.tokens();
        Ok(Response::new(auth::LoginResponse {
            access_token,
            refresh_token,
            access_token_expire_time: Some(expires),
            user_id: state.assistant.to_string(),
            ..auth::LoginResponse::default()
        }))
    }

    async fn refresh_token(
        &self,
        _: Request<auth::RefreshTokenRequest>,
    ) -> Result<Response<auth::RefreshTokenResponse>, Status> {
        let mut state = self.state.lock();
        state.refreshes += 1;
        let (access_token, refresh_token, expires) = state.tokens();
        Ok(Response::new(auth::RefreshTokenResponse {
            access_token,
            refresh_token,
            access_token_expire_time: Some(expires),
            user_id: state.assistant.to_string(),
            ..auth::RefreshTokenResponse::default()
        }))
    }

    type WatchRevocationsStream = Pin<Box<dyn Stream<Item = Result<auth::WatchRevocationsResponse, Status>> + Send>>;

    async fn register(&self, _: Request<auth::RegisterRequest>) -> Result<Response<auth::RegisterResponse>, Status> {
        unused()
    }

    async fn introspect_token(
        &self,
        _: Request<auth::IntrospectTokenRequest>,
    ) -> Result<Response<auth::IntrospectTokenResponse>, Status> {
        unused()
    }

    async fn rotate_signing_key(
        &self,
        _: Request<auth::RotateSigningKeyRequest>,
    ) -> Result<Response<auth::RotateSigningKeyResponse>, Status> {
        unused()
    }

    async fn create_user_token(
        &self,
        _: Request<auth::CreateUserTokenRequest>,
    ) -> Result<Response<auth::CreateUserTokenResponse>, Status> {
        unused()
    }

    async fn exchange_external_token(
        &self,
        _: Request<auth::ExchangeExternalTokenRequest>,
    ) -> Result<Response<auth::ExchangeExternalTokenResponse>, Status> {
        unused()
    }

    async fn logout(&self, _: Request<auth::LogoutRequest>) -> Result<Response<auth::LogoutResponse>, Status> {
        unused()
    }

    async fn logout_all(
        &self,
        _: Request<auth::LogoutAllRequest>,
    ) -> Result<Response<auth::LogoutAllResponse>, Status> {
        unused()
    }

    async fn list_signing_keys(
        &self,
        _: Request<auth::ListSigningKeysRequest>,
    ) -> Result<Response<auth::ListSigningKeysResponse>, Status> {
        unused()
    }

    async fn watch_revocations(
        &self,
        _: Request<auth::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        unused()
    }
}
