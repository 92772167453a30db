//! A login session that stays usable: tokens are refreshed before they expire, and a session that has ended is begun again.

use std::{future::Future, sync::Arc, time::Duration};

use tidings_ids::{Source, kind};
use tidings_proto_auth::v1::{
    LoginRequest, LoginResponse, RefreshTokenRequest, RegisterRequest, auth_service_client::AuthServiceClient,
};
use tokio::{sync::Mutex, time::Instant};
use tonic::{Request, Response, Status, metadata::MetadataValue, transport::Channel};

use super::{Client, Failure};

/// A token that lives shorter than this is refreshed before it is used.
const REFRESH_BEFORE: Duration = Duration::from_secs(30);

/// Tokens that one call may use up: the present one, a refreshed one, and one more for rights that changed in between.
const RENEWALS_PER_CALL_MAX: u32 = 3;

/// Whom to register and log in.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name to be known by.
    pub username: String,
    /// The address.
    pub email: String,
    /// What `Login` asks for.
    pub password: String,
    /// The name that others see.
    pub display_name: String,
    /// The `request_id` of the registration.
    pub request_id: String,
}

impl Account {
    /// Registers the account; again, if it has been before. Answers the `user_id`.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn register(&self, client: &Client) -> Result<String, Failure> {
        let request = RegisterRequest {
            username: self.username.clone(),
            email: self.email.clone(),
            password: self.password.clone(),
            display_name: self.display_name.clone(),
            bio: String::new(),
            request_id: self.request_id.clone(),
        };
        let answer = client
            .call("Register", &request, |channel, request| async move {
                AuthServiceClient::new(channel).register(request).await
            })
            .await?;
        Ok(answer.user_id)
    }
}

/// A signed-in account. Clones are the same login session.
#[derive(Clone)]
pub struct Session {
    client: Client,
    username: Arc<str>,
    password: Arc<str>,
    user_id: Arc<str>,
    tokens: Arc<Mutex<Tokens>>,
}

struct Tokens {
    access: Arc<str>,
    refresh: String,
    refresh_at: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    ///
    /// What the server refuses.
    pub async fn log_in(client: &Client, username: &str, password: &str) -> Result<Self, Failure> {
        let answer = login(client, username, password).await?;
        Ok(Self {
            client: client.clone(),
            username: username.into(),
            password: password.into(),
            user_id: answer.user_id.as_str().into(),
            tokens: Arc::new(Mutex::new(Tokens::of_login(answer, client.source()))),
        })
    }

    /// Who has logged in.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The client that the session speaks through.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Makes a call with the access token, until it succeeds or is refused for good; see [`Client::call`].
    ///
    /// # Errors
    ///
    /// What the server refuses, or what the last attempt met when patience is over.
    pub async fn call<M, R, F, A>(&self, method: &'static str, message: &M, invoke: F) -> Result<R, Failure>
    where
        M: Clone,
        F: Fn(Channel, Request<M>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let mut attempts = self.client.attempts(method);
        let mut renewals = 0;
        loop {
            let token = self.access_token().await?;
            match self.client.attempt(authorized(message.clone(), &token), &invoke).await {
                Ok(answer) => return Ok(answer),
                Err(status) => {
                    let failure = Failure::of(method, &status);
                    if failure.is_about_the_token() && renewals < RENEWALS_PER_CALL_MAX {
                        renewals += 1;
                        self.renew(&token).await?;
                    } else {
                        attempts.pause_after_failure(failure).await?;
                    }
                }
            }
        }
    }

    /// An access token that is good for a while.
    ///
    /// # Errors
    ///
    /// When it had to be refreshed and could not be.
    pub async fn access_token(&self) -> Result<Arc<str>, Failure> {
        let mut tokens = self.tokens.lock().await;
        if Instant::now() >= tokens.refresh_at {
            self.renew_locked(&mut tokens).await?;
        }
        Ok(Arc::clone(&tokens.access))
    }

    /// Replaces a token that was refused, unless somebody else has done so already.
    ///
    /// # Errors
    ///
    /// When neither a refresh nor a new login succeeds.
    pub async fn renew(&self, refused: &str) -> Result<(), Failure> {
        let mut tokens = self.tokens.lock().await;
        if *tokens.access == *refused {
            self.renew_locked(&mut tokens).await
        } else {
            Ok(())
        }
    }

    /// A refresh token works once, so its use and its replacement stand under one lock, and one `request_id` covers all attempts.
    /// Where its answer was lost for longer than the server remembers, the login session has ended, and another one begins.
    async fn renew_locked(&self, tokens: &mut Tokens) -> Result<(), Failure> {
        let source = self.client.source();
        let request = RefreshTokenRequest {
            refresh_token: tokens.refresh.clone(),
            request_id: source.new_id::<kind::Request>().to_string(),
        };
        let answer = self
            .client
            .call("RefreshToken", &request, |channel, request| async move {
                AuthServiceClient::new(channel).refresh_token(request).await
            })
            .await;
        match answer {
            Ok(answer) => {
                self.client.meter().count_refresh();
                *tokens = Tokens::new(
                    &answer.access_token,
                    answer.refresh_token,
                    answer.access_token_expire_time,
                    source,
                );
            }
            Err(failure) if failure.code == tonic::Code::Unauthenticated => {
                let answer = login(&self.client, &self.username, &self.password).await?;
                *tokens = Tokens::of_login(answer, source);
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

impl Tokens {
    fn of_login(answer: LoginResponse, source: &Source) -> Self {
        Self::new(
            &answer.access_token,
            answer.refresh_token,
            answer.access_token_expire_time,
            source,
        )
    }

    fn new(access: &str, refresh: String, expires: Option<prost_types::Timestamp>, source: &Source) -> Self {
        Self {
            access: access.into(),
            refresh,
            refresh_at: Instant::now() + usable_for(expires, source),
        }
    }
}

/// How long a token can be used without a thought, by this machine's clock; where the clocks differ, the server's refusal tells.
fn usable_for(expires: Option<prost_types::Timestamp>, source: &Source) -> Duration {
    let left = expires.map_or(0, |time| time.seconds - source.now().unix_timestamp());
    Duration::from_secs(u64::try_from(left).unwrap_or(0))
        .saturating_sub(REFRESH_BEFORE)
        .max(Duration::from_secs(1))
}

async fn login(client: &Client, username: &str, password: &str) -> Result<LoginResponse, Failure> {
    let request = LoginRequest {
        identifier: username.to_owned(),
        password: password.to_owned(),
        device_label: "tidings-load".to_owned(),
        ..LoginRequest::default()
    };
    let answer = client
        .call("Login", &request, |channel, request| async move {
            AuthServiceClient::new(channel).login(request).await
        })
        .await?;
    client.meter().count_login();
    Ok(answer)
}

pub(super) fn authorized<M>(message: M, token: &str) -> Request<M> {
    let mut request = Request::new(message);
    // What is no header value is no token either, and the server says so.
    if let Ok(value) = MetadataValue::try_from(format!("Bearer {token}")) {
        request.metadata_mut().insert("authorization", value);
    }
    request
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_ids::Source;

    use super::usable_for;

    #[test]
    fn a_token_is_refreshed_before_it_expires() {
        let source = Source::seeded(1);
        let in_seconds = |seconds| {
            Some(prost_types::Timestamp {
                seconds: source.now().unix_timestamp() + seconds,
                nanos: 0,
            })
        };
        assert_eq!(usable_for(in_seconds(600), &source), Duration::from_secs(570));
        assert_eq!(usable_for(in_seconds(10), &source), Duration::from_secs(1));
        assert_eq!(usable_for(in_seconds(-100), &source), Duration::from_secs(1));
        assert_eq!(usable_for(None, &source), Duration::from_secs(1));
    }
}
