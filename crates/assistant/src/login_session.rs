//! Signed in, with a token that works, and calls with it.

use std::{future::Future, sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use tidings_ids::{Source, UserId, kind};
use tidings_proto_auth::v1::{
    LoginRequest, LoginResponse, RefreshTokenRequest, RefreshTokenResponse, auth_service_client::AuthServiceClient,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tonic::{Request, Response, Status, metadata::MetadataValue};

use crate::{
    Config, Transport,
    failure::{Failure, Kind},
};

/// A token is replaced this long before it expires.
const REFRESH_BEFORE: Duration = Duration::from_secs(60);

/// The server's limit ends a call first, unless it does not answer at all.
const GRACE: Duration = Duration::from_secs(2);

/// The bot's login session. It begins with the first call, and another one begins where it has ended.
#[derive(Debug)]
pub(crate) struct LoginSession {
    transport: Transport,
    username: String,
    password: SecretString,
    call_limit: Duration,
    source: Source,
    tokens: Mutex<Option<Tokens>>,
}

/// What a call is made with.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    token: Arc<SecretString>,
    pub(crate) user_id: UserId,
}

#[derive(Debug)]
struct Tokens {
    access: Access,
    refresh: SecretString,
    /// All attempts to use the refresh token are one request, so that a lost answer does not end the login session.
    refresh_request: String,
    refresh_at: Instant,
}

impl LoginSession {
    pub(crate) fn new(transport: Transport, config: &Config) -> Self {
        Self {
            transport,
            username: config.username.clone(),
            password: config.password.clone(),
            call_limit: config.patience.call,
            source: config.source.clone(),
            tokens: Mutex::new(None),
        }
    }

    /// Makes a call, once.
    pub(crate) async fn call<M, R, F>(
        &self,
        message: M,
        invoke: impl FnOnce(Transport, Request<M>) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let access = self.access().await?;
        let mut request = access.authorize(message);
        request.set_timeout(self.call_limit);
        let outcome = self.answered(invoke(self.transport.clone(), request)).await;
        self.judged(&access, outcome).await
    }

    /// Opens a stream, which no limit ends once it is open. Also says as whom.
    pub(crate) async fn open<M, R, F>(
        &self,
        message: impl FnOnce(UserId) -> M,
        invoke: impl FnOnce(Transport, Request<M>) -> F,
    ) -> Result<R, Failure>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let access = self.access().await?;
        let request = access.authorize(message(access.user_id));
        let outcome = self.answered(invoke(self.transport.clone(), request)).await;
        self.judged(&access, outcome).await
    }

    /// What ended a stream that was open.
    pub(crate) async fn ended(&self, status: &Status) -> Failure {
        let failure = Failure::of(status);
        if failure.kind == Kind::Unauthenticated {
            self.renew_next_time(None).await;
        }
        failure
    }

    async fn answered<R>(&self, call: impl Future<Output = Result<Response<R>, Status>>) -> Result<R, Failure> {
        match timeout(self.call_limit + GRACE, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Failure::of(&status)),
            Err(_) => Err(Failure::timeout()),
        }
    }

    async fn judged<R>(&self, access: &Access, outcome: Result<R, Failure>) -> Result<R, Failure> {
        if matches!(&outcome, Err(failure) if failure.kind == Kind::Unauthenticated) {
            self.renew_next_time(Some(access)).await;
        }
        outcome
    }

    /// The token was refused. Somebody else may have replaced it meanwhile.
    async fn renew_next_time(&self, refused: Option<&Access>) {
        if let Some(tokens) = self.tokens.lock().await.as_mut()
            && refused.is_none_or(|refused| Arc::ptr_eq(&refused.token, &tokens.access.token))
        {
            tokens.refresh_at = Instant::now();
        }
    }

    async fn access(&self) -> Result<Access, Failure> {
        let mut tokens = self.tokens.lock().await;
        if let Some(tokens) = tokens.as_ref()
            && Instant::now() < tokens.refresh_at
        {
            return Ok(tokens.access.clone());
        }
        let fresh = match tokens.as_ref() {
            Some(spent) => match self.refresh(spent).await {
                // The login session has ended, or its user may not go on with it.
                Err(failure) if matches!(failure.kind, Kind::Unauthenticated | Kind::Refused) => {
                    *tokens = None;
                    self.login().await?
                }
                outcome => outcome?,
            },
            None => self.login().await?,
        };
        let access = fresh.access.clone();
        *tokens = Some(fresh);
        Ok(access)
    }

    async fn login(&self) -> Result<Tokens, Failure> {
        let request = self.limited(LoginRequest {
            identifier: self.username.clone(),
            password: self.password.expose_secret().to_owned(),
            device_label: "assistant".to_owned(),
            ..LoginRequest::default()
        });
        let mut client = AuthServiceClient::new(self.transport.clone());
        let answer = self.answered(client.login(request)).await?;
        tracing::info!(
            user_id = answer.user_id,
            "the assistant {} has logged in",
            self.username
        );
        let LoginResponse {
            access_token,
            refresh_token,
            access_token_expire_time,
            user_id,
            ..
        } = answer;
        self.tokens(access_token, refresh_token, access_token_expire_time, &user_id)
    }

    async fn refresh(&self, spent: &Tokens) -> Result<Tokens, Failure> {
        let request = self.limited(RefreshTokenRequest {
            refresh_token: spent.refresh.expose_secret().to_owned(),
            request_id: spent.refresh_request.clone(),
        });
        let mut client = AuthServiceClient::new(self.transport.clone());
        let RefreshTokenResponse {
            access_token,
            refresh_token,
            access_token_expire_time,
            user_id,
            ..
        } = self.answered(client.refresh_token(request)).await?;
        self.tokens(access_token, refresh_token, access_token_expire_time, &user_id)
    }

    fn limited<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(self.call_limit);
        request
    }

    fn tokens(
        &self,
        access_token: String,
        refresh_token: String,
        expires: Option<prost_types::Timestamp>,
        user_id: &str,
    ) -> Result<Tokens, Failure> {
        let foreign = |_| Failure::of(&Status::unknown("an answer that this client does not understand"));
        Ok(Tokens {
            access: Access {
                token: Arc::new(SecretString::from(access_token)),
                user_id: UserId::parse(user_id).map_err(foreign)?,
            },
            refresh: SecretString::from(refresh_token),
            refresh_request: self.source.new_id::<kind::Request>().to_string(),
            refresh_at: Instant::now() + usable_for(expires, &self.source),
        })
    }
}

impl Access {
    fn authorize<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        // What is no header's value is no token either, and the server says so.
        if let Ok(mut value) = MetadataValue::try_from(format!("Bearer {}", self.token.expose_secret())) {
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        request
    }
}

/// How long a token can be used without a thought, by this machine's clock; where the clocks differ, the server's refusal tells.
fn usable_for(expires: Option<prost_types::Timestamp>, source: &Source) -> Duration {
    let left = expires.map_or(0, |time| time.seconds - source.now().unix_timestamp());
    Duration::from_secs(u64::try_from(left).unwrap_or(0))
        .saturating_sub(REFRESH_BEFORE)
        .max(Duration::from_secs(1))
}
