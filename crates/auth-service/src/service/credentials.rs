//! `CredentialService`: passwords and addresses, and how they are recovered. Authenticator apps stand in `authenticators`.

use secrecy::SecretString;
use tidings_proto_auth::v1::{
    ChangeEmailRequest, ChangeEmailResponse, ChangePasswordRequest, ChangePasswordResponse, ConfirmTotpRequest,
    ConfirmTotpResponse, EnrollTotpRequest, EnrollTotpResponse, GenerateRecoveryCodesRequest,
    GenerateRecoveryCodesResponse, ListCredentialsRequest, ListCredentialsResponse, RemoveTotpRequest,
    RemoveTotpResponse, RequestEmailVerificationRequest, RequestEmailVerificationResponse, RequestPasswordResetRequest,
    RequestPasswordResetResponse, ResetPasswordRequest, ResetPasswordResponse, SetPasswordRequest, SetPasswordResponse,
    VerifyEmailRequest, VerifyEmailResponse, credential_service_server::CredentialService,
};
use tidings_rpc::{Violations, caller};
use tonic::{Request, Response};

use super::{Answer, Rpcs};
use crate::{
    Error,
    account::Email,
    auth::Repeatable,
    client::Client,
    convert::Fields as _,
    email_change, password,
    password_change::{self, FIELD},
    recovery,
    store::mails::Kind,
};

const REQUEST_PASSWORD_RESET: &str = "tidings.auth.v1.CredentialService/RequestPasswordReset";
const RESET_PASSWORD: &str = "tidings.auth.v1.CredentialService/ResetPassword";
const REQUEST_EMAIL_VERIFICATION: &str = "tidings.auth.v1.CredentialService/RequestEmailVerification";
const VERIFY_EMAIL: &str = "tidings.auth.v1.CredentialService/VerifyEmail";
const CHANGE_PASSWORD: &str = "tidings.auth.v1.CredentialService/ChangePassword";
const SET_PASSWORD: &str = "tidings.auth.v1.CredentialService/SetPassword";
const CHANGE_EMAIL: &str = "tidings.auth.v1.CredentialService/ChangeEmail";

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
        let new_password = self.new_password(&mut violations, request.new_password).await?;
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

    async fn change_password(&self, request: Request<ChangePasswordRequest>) -> Answer<ChangePasswordResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let current = std::mem::take(&mut request.current_password);
        let current = violations.password("current_password", password::PROVEN, current);
        let new = std::mem::take(&mut request.new_password);
        let new = self.new_password(&mut violations, new).await?;
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(current), Some(new), true) = (current, new, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(CHANGE_PASSWORD, &request);
        let call = Repeatable::by(caller.user_id, CHANGE_PASSWORD, request_id, hash);
        password_change::change(&self.auth, &caller, current, new, request.end_current, call.as_ref()).await?;
        Ok(Response::new(ChangePasswordResponse {}))
    }

    async fn set_password(&self, request: Request<SetPasswordRequest>) -> Answer<SetPasswordResponse> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let user_id = violations.id("user_id", &request.user_id);
        if user_id == Some(caller.user_id) {
            violations.add("user_id", "must be another user's: ChangePassword sets one's own");
        }
        let new = std::mem::take(&mut request.new_password);
        let new = self.new_password(&mut violations, new).await?;
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(user_id), Some(new), true) = (user_id, new, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(SET_PASSWORD, &request);
        let call = Repeatable::by(caller.user_id, SET_PASSWORD, request_id, hash);
        password_change::set(&self.auth, &caller, user_id, new, call.as_ref()).await?;
        Ok(Response::new(SetPasswordResponse {}))
    }

    async fn change_email(&self, request: Request<ChangeEmailRequest>) -> Answer<ChangeEmailResponse> {
        let (caller, address) = (caller(&request)?, Client::of(&request).address);
        let mut request = request.into_inner();
        let mut violations = Violations::new();
        let email = violations.check("new_email", Email::parse(&request.new_email));
        let password = std::mem::take(&mut request.current_password);
        let password = violations.password("current_password", password::PROVEN, password);
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(email), Some(password), true) = (email, password, violations.is_empty()) else {
            return Err(Error::Fields(violations).into());
        };
        let hash = self.auth.env.hasher.hash(CHANGE_EMAIL, &request);
        let call = Repeatable::by(caller.user_id, CHANGE_EMAIL, request_id, hash);
        email_change::ask(&self.auth, &caller, address, &email, password, call.as_ref()).await?;
        Ok(Response::new(ChangeEmailResponse {}))
    }

    async fn list_credentials(&self, request: Request<ListCredentialsRequest>) -> Answer<ListCredentialsResponse> {
        let caller = caller(&request)?;
        Ok(Response::new(self.list(&caller, &request.into_inner()).await?))
    }

    async fn enroll_totp(&self, request: Request<EnrollTotpRequest>) -> Answer<EnrollTotpResponse> {
        let caller = caller(&request)?;
        Ok(Response::new(self.enroll(&caller, request.into_inner()).await?))
    }

    async fn confirm_totp(&self, request: Request<ConfirmTotpRequest>) -> Answer<ConfirmTotpResponse> {
        let caller = caller(&request)?;
        self.confirm(&caller, request.into_inner()).await?;
        Ok(Response::new(ConfirmTotpResponse {}))
    }

    async fn remove_totp(&self, request: Request<RemoveTotpRequest>) -> Answer<RemoveTotpResponse> {
        let caller = caller(&request)?;
        self.remove(&caller, request.into_inner()).await?;
        Ok(Response::new(RemoveTotpResponse {}))
    }

    async fn generate_recovery_codes(
        &self,
        request: Request<GenerateRecoveryCodesRequest>,
    ) -> Answer<GenerateRecoveryCodesResponse> {
        let caller = caller(&request)?;
        let recovery_codes = self.generate(&caller, request.into_inner()).await?;
        Ok(Response::new(GenerateRecoveryCodesResponse { recovery_codes }))
    }
}

impl Rpcs {
    /// A password that is to be an account's, looked up in the lists of those that are known.
    async fn new_password(&self, violations: &mut Violations, text: String) -> Result<Option<SecretString>, Error> {
        let Some(password) = violations.password(FIELD, password::NEW, text) else {
            return Ok(None);
        };
        self.auth.blocklist.check(violations, FIELD, &password).await?;
        Ok(Some(password))
    }

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
