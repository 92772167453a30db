//! `CredentialService`: passwords and addresses, and how they are recovered.

use secrecy::SecretString;
use tidings_proto_auth::v1::{
    RequestEmailVerificationRequest, RequestEmailVerificationResponse, RequestPasswordResetRequest,
    RequestPasswordResetResponse, ResetPasswordRequest, ResetPasswordResponse, VerifyEmailRequest, VerifyEmailResponse,
    credential_service_server::CredentialService,
};
use tidings_rpc::Violations;
use tonic::{Request, Response};

use super::{Answer, Rpcs};
use crate::{Error, auth::Repeatable, convert::Fields as _, password, recovery, store::mails::Kind};

const REQUEST_PASSWORD_RESET: &str = "tidings.auth.v1.CredentialService/RequestPasswordReset";
const RESET_PASSWORD: &str = "tidings.auth.v1.CredentialService/ResetPassword";
const REQUEST_EMAIL_VERIFICATION: &str = "tidings.auth.v1.CredentialService/RequestEmailVerification";
const VERIFY_EMAIL: &str = "tidings.auth.v1.CredentialService/VerifyEmail";

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
            caller: String::new(),
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
            caller: String::new(),
            method,
            identifier,
            request_id,
            request_hash,
        }
    }
}
