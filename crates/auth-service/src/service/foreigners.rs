//! The RPCs of `AuthService` that bring users of other systems in.

use secrecy::SecretString;
use tidings_proto_auth::v1::{
    CreateUserTokenRequest, CreateUserTokenResponse, ExchangeExternalTokenRequest, ExchangeExternalTokenResponse,
    LoginResponse,
};
use tidings_rpc::{Violations, caller, text::TextRule};
use tonic::{Request, Response};

use super::{Answer, Rpcs};
use crate::{
    Error,
    client::Client,
    convert::Fields as _,
    external::{self, Foreigner, RESERVED_PREFIX},
};

/// What another system calls a user.
const EXTERNAL_ID: TextRule = TextRule {
    chars_min: 1,
    chars_max: 128,
    bytes_max: 128,
    multiline: false,
    plain: true,
    visible: true,
};

const NONCE: TextRule = TextRule {
    chars_min: 0,
    chars_max: 255,
    bytes_max: 255,
    multiline: false,
    plain: false,
    visible: false,
};

/// ID tokens with many claims have some KiB.
const ID_TOKEN: TextRule = TextRule {
    chars_min: 1,
    chars_max: 16_384,
    bytes_max: 16_384,
    ..NONCE
};

impl Rpcs {
    pub(super) async fn bring_in(&self, request: Request<CreateUserTokenRequest>) -> Answer<CreateUserTokenResponse> {
        let (caller, client) = (caller(&request)?, Client::of(&request));
        let request = request.into_inner();
        let mut violations = Violations::new();
        let external_id = violations.text("external_id", EXTERNAL_ID, request.external_id);
        if external_id.as_ref().is_some_and(|id| id.starts_with(RESERVED_PREFIX)) {
            violations.add("external_id", format!("must not begin with {RESERVED_PREFIX}"));
        }
        let username = match request.username.as_str() {
            "" => None,
            username => violations.username(username),
        };
        let display_name = violations.display_name(request.display_name);
        let device_label = violations.text("device_label", TextRule::OPTIONAL_NAME, request.device_label);
        let (Some(external_id), Some(display_name), Some(device_label), true) =
            (external_id, display_name, device_label, violations.is_empty())
        else {
            return Err(Error::Fields(violations).into());
        };
        let foreigner = Foreigner {
            external_id,
            username,
            display_name,
        };
        let (issued, created) =
            external::create_user_token(&self.auth, &caller, foreigner, &device_label, &client).await?;
        let issued = LoginResponse::from(issued);
        Ok(Response::new(CreateUserTokenResponse {
            access_token: issued.access_token,
            refresh_token: issued.refresh_token,
            access_token_expire_time: issued.access_token_expire_time,
            login_session_id: issued.login_session_id,
            user_id: issued.user_id,
            created,
        }))
    }

    pub(super) async fn exchange(
        &self,
        request: Request<ExchangeExternalTokenRequest>,
    ) -> Answer<ExchangeExternalTokenResponse> {
        let client = Client::of(&request);
        let request = request.into_inner();
        let mut violations = Violations::new();
        let checked = violations.check("id_token", ID_TOKEN.check(&request.id_token));
        let id_token = SecretString::from(request.id_token);
        let nonce = violations.text("nonce", NONCE, request.nonce);
        let device_label = violations.text("device_label", TextRule::OPTIONAL_NAME, request.device_label);
        let (Some(()), Some(nonce), Some(device_label)) = (checked, nonce, device_label) else {
            return Err(Error::Fields(violations).into());
        };
        let nonce = Some(nonce.as_str()).filter(|nonce| !nonce.is_empty());
        let issued = external::exchange(&self.auth, &id_token, nonce, &device_label, &client).await?;
        let issued = LoginResponse::from(issued);
        Ok(Response::new(ExchangeExternalTokenResponse {
            access_token: issued.access_token,
            refresh_token: issued.refresh_token,
            access_token_expire_time: issued.access_token_expire_time,
            login_session_id: issued.login_session_id,
            user_id: issued.user_id,
        }))
    }
}
