//! Two services with known answers, behind the real middleware.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use http::HeaderMap;
use parking_lot::Mutex;
use tidings_proto_auth::v1::{
    CreateUserTokenRequest, CreateUserTokenResponse, ExchangeExternalTokenRequest, ExchangeExternalTokenResponse,
    IntrospectTokenRequest, IntrospectTokenResponse, ListSigningKeysRequest, ListSigningKeysResponse, LoginRequest,
    LoginResponse, LogoutAllRequest, LogoutAllResponse, LogoutRequest, LogoutResponse, RefreshTokenRequest,
    RefreshTokenResponse, RegisterRequest, RegisterResponse, RotateSigningKeyRequest, RotateSigningKeyResponse,
    SigningKey, WatchRevocationsRequest, WatchRevocationsResponse, auth_service_server::AuthService,
};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_message::v1::{
    GetSyncStateRequest, GetSyncStateResponse, Heartbeat, Opened, StreamChangesRequest, StreamChangesResponse,
    SyncChangesRequest, SyncChangesResponse, stream_changes_response::Frame, sync_service_server::SyncService,
};
use tidings_rpc::{Problem, client_address};
use tonic::{Request, Response, Status};

/// What the services saw of the last call.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Option<Call>>>);

#[derive(Debug, Clone)]
pub struct Call {
    pub headers: HeaderMap,
    pub address: Option<std::net::IpAddr>,
    pub time_left: Duration,
}

impl Seen {
    fn note<T>(&self, request: &Request<T>) {
        let deadline = tidings_rpc::deadline().expect("within a call");
        *self.0.lock() = Some(Call {
            headers: request.metadata().clone().into_headers(),
            address: client_address(request),
            time_left: deadline.saturating_duration_since(tokio::time::Instant::now()),
        });
    }

    /// The last call; panics when there was none since.
    pub fn take(&self) -> Call {
        self.0.lock().take().expect("a call arrived")
    }

    pub fn nothing(&self) -> bool {
        self.0.lock().is_none()
    }
}

/// Auth, whose `Login` does what the identifier says.
pub struct FakeAuth(pub Seen);

#[tonic::async_trait]
impl AuthService for FakeAuth {
    type WatchRevocationsStream = Pin<Box<dyn Stream<Item = Result<WatchRevocationsResponse, Status>> + Send>>;

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        self.0.note(&request);
        let request = request.into_inner();
        match request.identifier.as_str() {
            "wrong" => return Err(Problem::new(ErrorReason::CredentialsInvalid).into()),
            "invalid" => return Err(Problem::field("password", "is too short").into()),
            "busy" => {
                return Err(Problem::new(ErrorReason::Overloaded)
                    .retry_after(Duration::from_millis(1_500))
                    .into());
            }
            "slow" => {
                // As real ones do, it ends soon after nobody waits for it any more.
                let deadline = tidings_rpc::deadline().expect("within a call");
                tokio::time::sleep_until(deadline + Duration::from_millis(20)).await;
            }
            "panic" => panic!("asked to"),
            _ => {}
        }
        Ok(Response::new(LoginResponse {
            user_id: request.identifier,
            access_token: request.password,
            login_session_id: request.device_label,
            ..LoginResponse::default()
        }))
    }

    async fn register(&self, _: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn refresh_token(&self, _: Request<RefreshTokenRequest>) -> Result<Response<RefreshTokenResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn introspect_token(
        &self,
        _: Request<IntrospectTokenRequest>,
    ) -> Result<Response<IntrospectTokenResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn rotate_signing_key(
        &self,
        _: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn create_user_token(
        &self,
        _: Request<CreateUserTokenRequest>,
    ) -> Result<Response<CreateUserTokenResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn exchange_external_token(
        &self,
        _: Request<ExchangeExternalTokenRequest>,
    ) -> Result<Response<ExchangeExternalTokenResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        self.0.note(&request);
        Ok(Response::new(Default::default()))
    }

    async fn logout_all(&self, _: Request<LogoutAllRequest>) -> Result<Response<LogoutAllResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn list_signing_keys(
        &self,
        request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        self.0.note(&request);
        let key = SigningKey {
            key_id: "key-1".to_owned(),
            algorithm: "EdDSA".to_owned(),
            public_key: vec![7; 32],
            ..SigningKey::default()
        };
        Ok(Response::new(ListSigningKeysResponse { keys: vec![key] }))
    }

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        self.0.note(&request);
        Ok(Response::new(Box::pin(stream::pending())))
    }
}

/// Message, whose `StreamChanges` does what `log_id` says.
pub struct FakeSync(pub Seen);

/// Beyond what a double can hold.
pub const BIG: i64 = 9_007_199_254_740_993;

#[tonic::async_trait]
impl SyncService for FakeSync {
    type StreamChangesStream = Pin<Box<dyn Stream<Item = Result<StreamChangesResponse, Status>> + Send>>;

    async fn get_sync_state(
        &self,
        request: Request<GetSyncStateRequest>,
    ) -> Result<Response<GetSyncStateResponse>, Status> {
        self.0.note(&request);
        Ok(Response::new(GetSyncStateResponse {
            log_id: request.into_inner().page_token,
            user_position: BIG,
            ..GetSyncStateResponse::default()
        }))
    }

    async fn sync_changes(
        &self,
        request: Request<SyncChangesRequest>,
    ) -> Result<Response<SyncChangesResponse>, Status> {
        self.0.note(&request);
        Ok(Response::new(Default::default()))
    }

    async fn stream_changes(
        &self,
        request: Request<StreamChangesRequest>,
    ) -> Result<Response<Self::StreamChangesStream>, Status> {
        self.0.note(&request);
        let log_id = request.into_inner().after.unwrap_or_default().log_id;
        if log_id == "refused" {
            return Err(Problem::field("after", "is wrong").into());
        }
        let opened = Frame::Opened(Opened {
            log_id: log_id.clone(),
            user_position: BIG,
            reset: false,
        });
        let heartbeat = Frame::Heartbeat(Heartbeat::default());
        let frames = [opened, heartbeat].map(|frame| Ok(StreamChangesResponse { frame: Some(frame) }));
        let frames = stream::iter(frames);
        Ok(Response::new(match log_id.as_str() {
            "fails" => {
                let error: Status = Problem::new(ErrorReason::SlowConsumer).into();
                Box::pin(frames.chain(stream::iter([Err(error)])))
            }
            "open" => Box::pin(frames.chain(stream::pending())),
            _ => Box::pin(frames),
        }))
    }
}
