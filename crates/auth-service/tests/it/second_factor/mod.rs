//! Authenticator apps and recovery codes, and the logins that ask for them.

mod enrolment;
mod logins;
mod recovery_codes;

use std::time::Duration;

use tidings_auth_service::{Config, Throttle};
use tidings_proto_auth::v1::{
    ConfirmTotpRequest, EnrollTotpRequest, EnrollTotpResponse, GenerateRecoveryCodesRequest, LoginRequest,
    LoginResponse, RemoveTotpRequest,
};
use tonic::Status;
use totp_rs::{Builder, Secret, Totp};

use crate::world::{PASSWORD, World, bearing};

/// An authenticator app that was told a secret.
struct App(Totp);

impl App {
    fn of(enrolment: &EnrollTotpResponse) -> Self {
        let secret = Secret::try_from_base32(&enrolment.secret).expect("Base32");
        assert_eq!(secret.as_bytes().len(), 20);
        assert!(enrolment.otpauth_url.contains(&enrolment.secret));
        let app = Builder::new().with_secret(secret).build();
        Self(app.expect("what every app can do"))
    }

    fn code_in(&self, world: &World, seconds: i64) -> String {
        let time = world.source.now().unix_timestamp() + seconds;
        self.0.generate(u64::try_from(time).expect("after 1970")).to_string()
    }

    fn code(&self, world: &World) -> String {
        self.code_in(world, 0)
    }

    /// A code that is none of those taken now.
    fn wrong_code(&self, world: &World) -> String {
        let taken = [-30, 0, 30].map(|seconds| self.code_in(world, seconds));
        (0..)
            .map(|n| format!("{n:06}"))
            .find(|code| !taken.contains(code))
            .expect("one of four")
    }
}

impl World {
    pub async fn enrol(&self, access_token: &str) -> Result<EnrollTotpResponse, Status> {
        let request = EnrollTotpRequest {
            current_password: PASSWORD.to_owned(),
        };
        let answer = self.credentials().enroll_totp(bearing(request, access_token)).await;
        Ok(answer?.into_inner())
    }

    async fn confirm(&self, access_token: &str, code: &str, request_id: &str) -> Result<(), Status> {
        let request = ConfirmTotpRequest {
            totp_code: code.to_owned(),
            request_id: request_id.to_owned(),
        };
        let answer = self.credentials().confirm_totp(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    /// Sets an app up. The time goes on, so that its present code was not taken yet.
    async fn set_up_app(&self, access_token: &str) -> App {
        let app = App::of(&self.enrol(access_token).await.expect("enrolled"));
        self.confirm(access_token, &app.code(self), "")
            .await
            .expect("confirmed");
        self.next_step();
        app
    }

    /// An app and recovery codes, one of them used.
    pub async fn give_second_factor(&self, access_token: &str) {
        self.set_up_app(access_token).await;
        let codes = self.new_codes(access_token).await;
        self.login_as(with_recovery(&codes[0])).await.expect("logged in");
    }

    fn next_step(&self) {
        self.source.advance(Duration::from_secs(30));
    }

    async fn generate_codes(
        &self,
        access_token: &str,
        request: GenerateRecoveryCodesRequest,
    ) -> Result<Vec<String>, Status> {
        let answer = self
            .credentials()
            .generate_recovery_codes(bearing(request, access_token))
            .await;
        Ok(answer?.into_inner().recovery_codes)
    }

    pub async fn new_codes(&self, access_token: &str) -> Vec<String> {
        let request = GenerateRecoveryCodesRequest {
            current_password: PASSWORD.to_owned(),
            ..Default::default()
        };
        self.generate_codes(access_token, request).await.expect("generated")
    }

    pub async fn remove_totp(&self, access_token: &str, request: RemoveTotpRequest) -> Result<(), Status> {
        let answer = self.credentials().remove_totp(bearing(request, access_token)).await;
        answer.map(|_| ())
    }

    async fn login_as(&self, request: LoginRequest) -> Result<LoginResponse, Status> {
        Ok(self.auth().login(request).await?.into_inner())
    }
}

fn ada() -> LoginRequest {
    LoginRequest {
        identifier: "ada".to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    }
}

fn with_code(code: &str) -> LoginRequest {
    LoginRequest {
        totp_code: code.to_owned(),
        ..ada()
    }
}

fn with_recovery(code: &str) -> LoginRequest {
    LoginRequest {
        recovery_code: code.to_owned(),
        ..ada()
    }
}

/// Ada with an app, in a world where failed logins are not limited for their own sake.
async fn with_app() -> (World, String, LoginResponse, App) {
    let world = World::with(|config| Config {
        throttle: Some(Throttle::STANDARD.times(1_000.try_into().expect("not zero"))),
        ..config
    })
    .await;
    let user_id = world.register("ada").await.expect("registered");
    let session = world.login("ada").await.expect("logged in");
    let app = world.set_up_app(&session.access_token).await;
    (world, user_id, session, app)
}
