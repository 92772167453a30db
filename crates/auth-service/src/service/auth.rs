//! `AuthService`: registration, sign-in, tokens and their end.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use tidings_proto_auth::v1::{
    CreateUserTokenRequest, CreateUserTokenResponse, ExchangeExternalTokenRequest, ExchangeExternalTokenResponse,
    IntrospectTokenRequest, IntrospectTokenResponse, ListSigningKeysRequest, ListSigningKeysResponse, LoginRequest,
    LoginResponse, LogoutAllRequest, LogoutAllResponse, LogoutRequest, LogoutResponse, RefreshTokenRequest,
    RefreshTokenResponse, RegisterRequest, RegisterResponse, Revocation, RevocationBatch, RotateSigningKeyRequest,
    RotateSigningKeyResponse, SigningKey, TokenKind, WatchRevocationsRequest, WatchRevocationsResponse,
    auth_service_server::AuthService, watch_revocations_response,
};
use tidings_proto_common::v1::FeedHeartbeat;
use tidings_rpc::{Problem, Violations, caller, text::TextRule};
use tonic::{Request, Response, Status};

use super::{Answer, Rpcs, authenticators::Codes as _};
use crate::{
    Error,
    auth::Repeatable,
    blocklist::check_names,
    client::Client,
    convert::{Fields as _, timestamp},
    introspect::{self, Active},
    login::{self, Issued, Proof},
    password,
    registration::{self, Applicant, Terms},
    revocations::{self, Frame},
    signing::PublishedKey,
    throttle,
};

const ROTATE_SIGNING_KEY: &str = "tidings.auth.v1.AuthService/RotateSigningKey";
const REGISTER: &str = "tidings.auth.v1.AuthService/Register";

#[tonic::async_trait]
impl AuthService for Rpcs {
    async fn register(&self, request: Request<RegisterRequest>) -> Answer<RegisterResponse> {
        let address = Client::of(&request).address;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let username = violations.username(&request.username);
        let email = violations.email(&request.email);
        let password = violations.password("password", password::NEW, std::mem::take(&mut request.password));
        if let Some(password) = &password {
            self.auth.blocklist.check(&mut violations, "password", password).await?;
            check_names(
                &mut violations,
                "password",
                password,
                &request.username,
                Some(&request.email),
            );
        }
        let display_name = violations.display_name(request.display_name.clone());
        let bio = violations.text("bio", TextRule::DESCRIPTION, request.bio.clone());
        let request_id = violations.request_id(&request.request_id);
        let (Some(username), Some(email), Some(password), Some(display_name), Some(bio), true) =
            (username, email, password, display_name, bio, violations.is_empty())
        else {
            return Err(Error::Fields(violations).into());
        };
        request.request_id.clear();
        let call = request_id.map(|request_id| Repeatable {
            caller: String::new(),
            method: REGISTER,
            identifier: username.as_str().to_owned(),
            request_id,
            request_hash: self.auth.env.hasher.hash(REGISTER, &request),
        });
        let applicant = Applicant {
            username,
            email,
            password,
            display_name,
            bio,
        };
        let terms = Terms::Public(self.auth.config.registration);
        throttle::permit_names(&self.auth, address).await?;
        let registered = registration::register(&self.auth, applicant, terms, call.as_ref()).await;
        if let Err(Error::UsernameTaken | Error::EmailTaken) = registered {
            throttle::count_taken(&self.auth, address).await?;
        }
        let user_id = registered?;
        Ok(Response::new(RegisterResponse {
            user_id: user_id.to_string(),
        }))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Answer<LoginResponse> {
        let client = Client::of(&request);
        let request = request.into_inner();
        let mut violations = Violations::new();
        let who = violations.identifier(&request.identifier);
        let password = violations.password("password", password::PROVEN, request.password);
        let device_label = violations.text("device_label", TextRule::OPTIONAL_NAME, request.device_label);
        let device_token = violations.device_token(request.device_token);
        let factor = violations.factor(request.totp_code, request.recovery_code);
        let (Some(who), Some(password), Some(device_label), true) =
            (who, password, device_label, violations.is_empty())
        else {
            return Err(Error::Fields(violations).into());
        };
        let proof = Proof {
            who,
            password,
            device_token,
            factor,
        };
        let (issued, device_token) = login::login(&self.auth, proof, &device_label, &client).await?;
        Ok(Response::new(LoginResponse {
            device_token,
            ..issued.into()
        }))
    }

    async fn refresh_token(&self, request: Request<RefreshTokenRequest>) -> Answer<RefreshTokenResponse> {
        let client = Client::of(&request);
        let request = request.into_inner();
        let mut violations = Violations::new();
        let token = violations.token("refresh_token", request.refresh_token);
        let request_id = violations.request_id(&request.request_id);
        let (Some(token), true) = (token, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let issued = LoginResponse::from(login::refresh(&self.auth, &token, request_id, &client).await?);
        Ok(Response::new(RefreshTokenResponse {
            access_token: issued.access_token,
            refresh_token: issued.refresh_token,
            access_token_expire_time: issued.access_token_expire_time,
            login_session_id: issued.login_session_id,
            user_id: issued.user_id,
        }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Answer<LogoutResponse> {
        login::logout(&self.auth, &*caller(&request)?).await?;
        Ok(Response::new(LogoutResponse {}))
    }

    async fn logout_all(&self, request: Request<LogoutAllRequest>) -> Answer<LogoutAllResponse> {
        let caller = caller(&request)?;
        login::logout_all(&self.auth, &caller, request.into_inner().keep_current).await?;
        Ok(Response::new(LogoutAllResponse {}))
    }

    async fn introspect_token(&self, request: Request<IntrospectTokenRequest>) -> Answer<IntrospectTokenResponse> {
        let mut violations = Violations::new();
        let token = violations.any_token("token", request.into_inner().token);
        let Some(token) = token else {
            return Err(Error::Fields(violations).into());
        };
        let active = introspect::introspect(&self.auth, &token).await?;
        Ok(Response::new(
            active.map(IntrospectTokenResponse::from).unwrap_or_default(),
        ))
    }

    async fn rotate_signing_key(&self, request: Request<RotateSigningKeyRequest>) -> Answer<RotateSigningKeyResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        violations.finish()?;
        let hash = self.auth.env.hasher.hash(ROTATE_SIGNING_KEY, &request);
        let call = Repeatable::by(caller.user_id, ROTATE_SIGNING_KEY, request_id, hash);
        let key = self.auth.signing.rotate(&self.auth, call.as_ref()).await?;
        Ok(Response::new(RotateSigningKeyResponse {
            key: key.map(SigningKey::from),
        }))
    }

    async fn create_user_token(&self, request: Request<CreateUserTokenRequest>) -> Answer<CreateUserTokenResponse> {
        self.bring_in(request).await
    }

    async fn exchange_external_token(
        &self,
        request: Request<ExchangeExternalTokenRequest>,
    ) -> Answer<ExchangeExternalTokenResponse> {
        self.exchange(request).await
    }

    async fn list_signing_keys(&self, _: Request<ListSigningKeysRequest>) -> Answer<ListSigningKeysResponse> {
        let keys = self.auth.signing.published(self.auth.now())?;
        Ok(Response::new(ListSigningKeysResponse {
            keys: keys.into_iter().map(SigningKey::from).collect(),
        }))
    }

    type WatchRevocationsStream = Pin<Box<dyn Stream<Item = Result<WatchRevocationsResponse, Status>> + Send>>;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Answer<Self::WatchRevocationsStream> {
        let after = request.into_inner().after_number;
        if after < 0 {
            return Err(Problem::field("after_number", "must not be negative").into());
        }
        let feed = revocations::watch(&self.auth, after).await?;
        let frames = stream::unfold(feed.frames, async |mut frames| {
            Some((Ok(frames.recv().await?.into()), frames))
        });
        let end = stream::once(feed.end).filter_map(async |end| end.ok().map(|problem| Err(problem.into())));
        Ok(Response::new(Box::pin(frames.chain(end))))
    }
}

impl From<Issued> for LoginResponse {
    fn from(issued: Issued) -> Self {
        Self {
            access_token: issued.access_token,
            refresh_token: issued.refresh_token,
            access_token_expire_time: Some(timestamp(issued.access_token_expire_time)),
            login_session_id: issued.login_session_id.to_string(),
            user_id: issued.user_id.to_string(),
            device_token: String::new(),
        }
    }
}

impl From<Active> for IntrospectTokenResponse {
    fn from(active: Active) -> Self {
        match active {
            Active::Access(caller, key) => Self {
                active: true,
                kind: TokenKind::Access.into(),
                user_id: caller.user_id.to_string(),
                login_session_id: key
                    .as_ref()
                    .map_or_else(|| caller.login_session_id.to_string(), |_| String::new()),
                permissions: caller.permissions.iter().copied().map(i32::from).collect(),
                is_bot: caller.is_bot,
                expire_time: Some(timestamp(caller.expire_time)),
                api_key_id: key.map(|key| key.api_key_id.to_string()).unwrap_or_default(),
            },
            Active::ApiKey(key, permissions) => Self {
                active: true,
                kind: TokenKind::ApiKey.into(),
                user_id: key.user_id.to_string(),
                permissions,
                is_bot: true,
                expire_time: key.expire_time.map(timestamp),
                api_key_id: key.api_key_id.to_string(),
                ..Self::default()
            },
            Active::Refresh {
                user_id,
                login_session_id,
                expire_time,
            } => Self {
                active: true,
                kind: TokenKind::Refresh.into(),
                user_id: user_id.to_string(),
                login_session_id: login_session_id.to_string(),
                expire_time: Some(timestamp(expire_time)),
                ..Self::default()
            },
        }
    }
}

impl From<PublishedKey> for SigningKey {
    fn from(key: PublishedKey) -> Self {
        Self {
            key_id: key.key_id.to_string(),
            algorithm: "EdDSA".to_owned(),
            public_key: key.public_key,
            create_time: Some(timestamp(key.create_time)),
            sign_time: Some(timestamp(key.sign_time)),
            retire_time: key.retire_time.map(timestamp),
        }
    }
}

impl From<Frame> for WatchRevocationsResponse {
    fn from(frame: Frame) -> Self {
        let frame = match frame {
            Frame::Heartbeat { head, sent } => watch_revocations_response::Frame::Heartbeat(FeedHeartbeat {
                head_number: head,
                sent_number: sent,
            }),
            Frame::Entries(entries) => {
                let revocations = entries.into_iter().map(|entry| Revocation {
                    number: entry.number,
                    login_session_id: entry.login_session_id.to_string(),
                    revoke_time: Some(timestamp(entry.revoke_time)),
                });
                watch_revocations_response::Frame::Revocations(RevocationBatch {
                    revocations: revocations.collect(),
                })
            }
        };
        Self { frame: Some(frame) }
    }
}
