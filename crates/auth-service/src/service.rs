//! The RPCs: read the request, do as it says, answer. The only file that names messages of `auth.v1`.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use secrecy::SecretString;
use tidings_proto_auth::v1::{
    ListSigningKeysRequest, ListSigningKeysResponse, LoginRequest, LoginResponse, LogoutAllRequest, LogoutAllResponse,
    LogoutRequest, LogoutResponse, RefreshTokenRequest, RefreshTokenResponse, RegisterRequest, RegisterResponse,
    RequestEmailVerificationRequest, RequestEmailVerificationResponse, RequestPasswordResetRequest,
    RequestPasswordResetResponse, ResetPasswordRequest, ResetPasswordResponse, Revocation, RevocationBatch, SigningKey,
    VerifyEmailRequest, VerifyEmailResponse, WatchRevocationsRequest, WatchRevocationsResponse,
    auth_service_server::AuthService, credential_service_server::CredentialService, watch_revocations_response,
};
use tidings_proto_common::v1::FeedHeartbeat;
use tidings_rpc::{Problem, Violations, caller, text::TextRule};
use tonic::{Request, Response, Status};

use crate::{
    Error,
    auth::{Repeatable, Shared},
    convert::{Fields as _, timestamp},
    login::{self, Issued},
    password, recovery,
    registration::{self, Applicant, Terms},
    revocations::{self, Frame},
    signing::PublishedKey,
    store::mails::Kind,
};

const REGISTER: &str = "tidings.auth.v1.AuthService/Register";
const REQUEST_PASSWORD_RESET: &str = "tidings.auth.v1.CredentialService/RequestPasswordReset";
const RESET_PASSWORD: &str = "tidings.auth.v1.CredentialService/ResetPassword";
const REQUEST_EMAIL_VERIFICATION: &str = "tidings.auth.v1.CredentialService/RequestEmailVerification";
const VERIFY_EMAIL: &str = "tidings.auth.v1.CredentialService/VerifyEmail";

/// Serves both services.
#[derive(Debug, Clone)]
pub(crate) struct Rpcs {
    pub auth: Shared,
}

type Answer<T> = Result<Response<T>, Status>;

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

#[tonic::async_trait]
impl CredentialService for Rpcs {
    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Answer<RequestPasswordResetResponse> {
        let mut request = request.into_inner();
        let request_id = std::mem::take(&mut request.request_id);
        let hash = self.auth.env.hasher.hash(REQUEST_PASSWORD_RESET, &request);
        self.request_mail(
            Kind::ResetPassword,
            REQUEST_PASSWORD_RESET,
            &request.email,
            &request_id,
            hash,
        )
        .await?;
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn reset_password(&self, request: Request<ResetPasswordRequest>) -> Answer<ResetPasswordResponse> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let token = violations.token("token", request.token);
        let new_password = violations.password("new_password", password::NEW, request.new_password);
        let request_id = violations.request_id(&request.request_id);
        let (Some(token), Some(new_password), true) = (token, new_password, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let call = request_id.map(|request_id| self.by_token(RESET_PASSWORD, &token, request_id));
        recovery::reset_password(&self.auth, &token, new_password, call.as_ref()).await?;
        Ok(Response::new(ResetPasswordResponse {}))
    }

    async fn request_email_verification(
        &self,
        request: Request<RequestEmailVerificationRequest>,
    ) -> Answer<RequestEmailVerificationResponse> {
        let mut request = request.into_inner();
        let request_id = std::mem::take(&mut request.request_id);
        let hash = self.auth.env.hasher.hash(REQUEST_EMAIL_VERIFICATION, &request);
        self.request_mail(
            Kind::VerifyEmail,
            REQUEST_EMAIL_VERIFICATION,
            &request.email,
            &request_id,
            hash,
        )
        .await?;
        Ok(Response::new(RequestEmailVerificationResponse {}))
    }

    async fn verify_email(&self, request: Request<VerifyEmailRequest>) -> Answer<VerifyEmailResponse> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let token = violations.token("token", request.token);
        let request_id = violations.request_id(&request.request_id);
        let (Some(token), true) = (token, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let call = request_id.map(|request_id| self.by_token(VERIFY_EMAIL, &token, request_id));
        recovery::verify_email(&self.auth, &token, call.as_ref()).await?;
        Ok(Response::new(VerifyEmailResponse {}))
    }
}

impl Rpcs {
    async fn request_mail(
        &self,
        kind: Kind,
        method: &'static str,
        email: &str,
        request_id: &str,
        request_hash: [u8; 32],
    ) -> Result<(), Error> {
        let mut violations = Violations::new();
        let email = violations.email(email);
        let request_id = violations.request_id(request_id);
        let (Some(email), true) = (email, violations.is_empty()) else {
            return Err(Error::Fields(violations));
        };
        let identifier = email.key().to_owned();
        let call = request_id.map(|request_id| Repeatable {
            method,
            identifier,
            request_id,
            request_hash,
        });
        recovery::request_mail(&self.auth, kind, email.key(), call.as_ref()).await
    }

    /// A call that names nothing but a token: its identifier is the token's hash, and all else in it is secret.
    fn by_token(&self, method: &'static str, token: &SecretString, request_id: tidings_ids::RequestId) -> Repeatable {
        let identifier: String = recovery::token_hash(token)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let request_hash = self.auth.env.hasher.hash(method, &VerifyEmailRequest::default());
        Repeatable {
            method,
            identifier,
            request_id,
            request_hash,
        }
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
