//! `CredentialService`: what a user has for proofs, authenticator apps and recovery codes.

use secrecy::SecretString;
use tidings_authn::Caller;
use tidings_ids::kind;
use tidings_proto_auth::v1::{
    ConfirmTotpRequest, Credential, EmailCredential, EnrollTotpRequest, EnrollTotpResponse,
    GenerateRecoveryCodesRequest, ListCredentialsRequest, ListCredentialsResponse, PasswordCredential,
    RecoveryCodesCredential, RemoveTotpRequest, TotpCredential, credential::Kind,
};
use tidings_rpc::{PageScope, Problem, Violations, page_size, text::TextRule};

use super::Rpcs;
use crate::{
    Error,
    auth::Repeatable,
    authenticator::{self, Proof},
    convert::{Fields as _, timestamp},
    credential, password,
    second_factor::Factor,
};

const LIST_CREDENTIALS: &str = "tidings.auth.v1.CredentialService/ListCredentials";
const CONFIRM_TOTP: &str = "tidings.auth.v1.CredentialService/ConfirmTotp";
const REMOVE_TOTP: &str = "tidings.auth.v1.CredentialService/RemoveTotp";
const GENERATE_RECOVERY_CODES: &str = "tidings.auth.v1.CredentialService/GenerateRecoveryCodes";

/// Credentials on a page, as `api.md` has it for all lists.
const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 200;

/// Longer codes are not looked at: a recovery code has 19 characters with its hyphens.
const CODE_CHARS_MAX: usize = 64;

impl Rpcs {
    pub(super) async fn list(
        &self,
        caller: &Caller,
        request: &ListCredentialsRequest,
    ) -> Result<ListCredentialsResponse, Problem> {
        let mut violations = Violations::new();
        let user_id = violations.optional_id::<kind::User>("user_id", &request.user_id);
        violations.finish()?;
        let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let user_id = user_id.unwrap_or(caller.user_id);
        let whose = user_id.uuid();
        let scope = PageScope {
            caller: caller.user_id,
            method: LIST_CREDENTIALS,
            arguments: whose.as_bytes(),
        };
        let tokens = &self.auth.env.page_tokens;
        let after = tokens.read(scope, &request.page_token)?;
        let after = after.and_then(|cursor| cursor.first().copied()).unwrap_or(0);
        let mut page = if user_id == caller.user_id {
            credential::list(&self.auth, user_id).await?
        } else {
            credential::of_other(&self.auth, caller, user_id).await?
        };
        page.retain(|credential| credential.place() > after);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = page.len() > size;
        page.truncate(size);
        let last = page.last().filter(|_| more).map(credential::Credential::place);
        Ok(ListCredentialsResponse {
            next_page_token: last.map(|place| tokens.issue(scope, &[place])).unwrap_or_default(),
            credentials: page.into_iter().map(Credential::from).collect(),
        })
    }

    pub(super) async fn enroll(
        &self,
        caller: &Caller,
        request: EnrollTotpRequest,
    ) -> Result<EnrollTotpResponse, Error> {
        let mut violations = Violations::new();
        let password = violations.password("current_password", password::PROVEN, request.current_password);
        let password = password.ok_or(Error::Fields(violations))?;
        let enrolment = authenticator::enrol(&self.auth, caller, password).await?;
        Ok(EnrollTotpResponse {
            secret: enrolment.secret,
            otpauth_url: enrolment.otpauth_url,
        })
    }

    pub(super) async fn confirm(&self, caller: &Caller, mut request: ConfirmTotpRequest) -> Result<(), Error> {
        let mut violations = Violations::new();
        let code = violations.code("totp_code", std::mem::take(&mut request.totp_code));
        if code.is_none() && violations.is_empty() {
            violations.add("totp_code", "must have 6 digits");
        }
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        let (Some(code), true) = (code, violations.is_empty()) else {
            return Err(Error::Fields(violations));
        };
        let hash = self.auth.env.hasher.hash(CONFIRM_TOTP, &request);
        let call = Repeatable::by(caller.user_id, CONFIRM_TOTP, request_id, hash);
        authenticator::confirm(&self.auth, caller, code, call.as_ref()).await
    }

    pub(super) async fn remove(&self, caller: &Caller, mut request: RemoveTotpRequest) -> Result<(), Error> {
        let mut violations = Violations::new();
        let user_id = violations.optional_id::<kind::User>("user_id", &request.user_id);
        let proof = proof(
            &mut violations,
            std::mem::take(&mut request.current_password),
            std::mem::take(&mut request.totp_code),
            std::mem::take(&mut request.recovery_code),
        );
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        if !violations.is_empty() {
            return Err(Error::Fields(violations));
        }
        let hash = self.auth.env.hasher.hash(REMOVE_TOTP, &request);
        let call = Repeatable::by(caller.user_id, REMOVE_TOTP, request_id, hash);
        match user_id.filter(|user_id| *user_id != caller.user_id) {
            None => authenticator::remove(&self.auth, caller, proof, call.as_ref()).await,
            Some(user_id) => authenticator::remove_others(&self.auth, caller, user_id, call.as_ref()).await,
        }
    }

    pub(super) async fn generate(
        &self,
        caller: &Caller,
        mut request: GenerateRecoveryCodesRequest,
    ) -> Result<Vec<String>, Error> {
        let mut violations = Violations::new();
        let proof = proof(
            &mut violations,
            std::mem::take(&mut request.current_password),
            std::mem::take(&mut request.totp_code),
            String::new(),
        );
        let request_id = violations.request_id(&std::mem::take(&mut request.request_id));
        if !violations.is_empty() {
            return Err(Error::Fields(violations));
        }
        let hash = self.auth.env.hasher.hash(GENERATE_RECOVERY_CODES, &request);
        let call = Repeatable::by(caller.user_id, GENERATE_RECOVERY_CODES, request_id, hash);
        authenticator::generate_recovery_codes(&self.auth, caller, proof, call.as_ref()).await
    }
}

/// The one proof of three that stands in a request.
fn proof(violations: &mut Violations, password: String, totp_code: String, recovery_code: String) -> Option<Proof> {
    let rule = TextRule {
        chars_min: 0,
        ..password::PROVEN
    };
    let given = |secret: SecretString| {
        use secrecy::ExposeSecret as _;
        (!secret.expose_secret().is_empty()).then_some(secret)
    };
    let password = violations
        .password("current_password", rule, password)
        .and_then(given)
        .map(|password| ("current_password", Proof::Password(password)));
    let factor = violations.factor(totp_code, recovery_code);
    let factor = factor.map(|factor| {
        let field = match factor {
            Factor::Totp(_) => "totp_code",
            Factor::RecoveryCode(_) => "recovery_code",
        };
        (field, Proof::Factor(factor))
    });
    match (password, factor) {
        (Some(_), Some((field, _))) => {
            violations.add(field, "must not be given besides the password: one proof is enough");
            None
        }
        (password, factor) => password.or(factor).map(|(_, proof)| proof),
    }
}

/// Codes in requests.
pub(super) trait Codes {
    /// The code in a field that may be empty.
    fn code(&mut self, field: &'static str, text: String) -> Option<SecretString>;

    /// The one code of two that may stand in a request.
    fn factor(&mut self, totp_code: String, recovery_code: String) -> Option<Factor>;
}

impl Codes for Violations {
    fn code(&mut self, field: &'static str, text: String) -> Option<SecretString> {
        if text.is_empty() {
            return None;
        }
        let rule = TextRule {
            chars_min: 1,
            chars_max: CODE_CHARS_MAX,
            bytes_max: CODE_CHARS_MAX,
            ..password::PROVEN
        };
        self.password(field, rule, text)
    }

    fn factor(&mut self, totp_code: String, recovery_code: String) -> Option<Factor> {
        let totp_code = self.code("totp_code", totp_code).map(Factor::Totp);
        let recovery_code = self.code("recovery_code", recovery_code).map(Factor::RecoveryCode);
        if totp_code.is_some() && recovery_code.is_some() {
            self.add(
                "recovery_code",
                "must not be given besides a code of the app: one is enough",
            );
        }
        totp_code.or(recovery_code)
    }
}

impl From<credential::Credential> for Credential {
    fn from(credential: credential::Credential) -> Self {
        use credential::Credential as C;
        let kind = match credential {
            C::Password { set_time } => Kind::Password(PasswordCredential {
                set_time: Some(timestamp(set_time)),
            }),
            C::Email { email, verified } => Kind::Email(EmailCredential { email, verified }),
            C::Totp {
                create_time,
                confirm_time,
            } => Kind::Totp(TotpCredential {
                create_time: Some(timestamp(create_time)),
                confirm_time: confirm_time.map(timestamp),
            }),
            C::RecoveryCodes { create_time, left } => Kind::RecoveryCodes(RecoveryCodesCredential {
                create_time: Some(timestamp(create_time)),
                left_count: left,
            }),
        };
        Self { kind: Some(kind) }
    }
}
