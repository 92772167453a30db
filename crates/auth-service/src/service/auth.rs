//! `AuthService`: registration, sign-in, tokens and their end.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use tidings_proto_auth::v1::{
    ListSigningKeysRequest, ListSigningKeysResponse, LoginRequest, LoginResponse, LogoutAllRequest, LogoutAllResponse,
    LogoutRequest, LogoutResponse, RefreshTokenRequest, RefreshTokenResponse, RegisterRequest, RegisterResponse,
    Revocation, RevocationBatch, SigningKey, WatchRevocationsRequest, WatchRevocationsResponse,
    auth_service_server::AuthService, watch_revocations_response,
};
use tidings_proto_common::v1::FeedHeartbeat;
use tidings_rpc::{Problem, Violations, caller, text::TextRule};
use tonic::{Request, Response, Status};

use super::{Answer, Rpcs};
use crate::{
    Error,
    auth::Repeatable,
    convert::{Fields as _, timestamp},
    login::{self, Issued},
    password,
    registration::{self, Applicant, Terms},
    revocations::{self, Frame},
    signing::PublishedKey,
};

const REGISTER: &str = "tidings.auth.v1.AuthService/Register";

#[tonic::async_trait]
impl AuthService for Rpcs {
    async fn register(&self, request: Request<RegisterRequest>) -> Answer<RegisterResponse> {
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let username = violations.username(&request.username);
        let email = violations.email(&request.email);
        let password = violations.password("password", password::NEW, std::mem::take(&mut request.password));
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
        let user_id = registration::register(&self.auth, applicant, terms, call.as_ref()).await?;
        Ok(Response::new(RegisterResponse {
            user_id: user_id.to_string(),
        }))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Answer<LoginResponse> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let who = violations.identifier(&request.identifier);
        let password = violations.password("password", password::PROVEN, request.password);
        let device_label = violations.text("device_label", TextRule::OPTIONAL_NAME, request.device_label);
        let (Some(who), Some(password), Some(device_label)) = (who, password, device_label) else {
            return Err(Error::Fields(violations).into());
        };
        let issued = login::login(&self.auth, &who, password, &device_label).await?;
        Ok(Response::new(issued.into()))
    }

    async fn refresh_token(&self, request: Request<RefreshTokenRequest>) -> Answer<RefreshTokenResponse> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let token = violations.token("refresh_token", request.refresh_token);
        let request_id = violations.request_id(&request.request_id);
        let (Some(token), true) = (token, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let issued = LoginResponse::from(login::refresh(&self.auth, &token, request_id).await?);
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
