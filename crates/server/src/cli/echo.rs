//! The built-in assistant of `dev` and `all`: its account, and its work.

use std::time::Duration;

use anyhow::{Result, anyhow};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use tidings_assistant::{Config, Patience, Transport, USERNAME};
use tidings_auth_service::NewAccount;
use tidings_authn::SuiteSecret;
use tidings_gateway::Gateway;
use tidings_ids::{Source, UserId};
use tidings_proto_common::v1::ErrorReason;
use tidings_rpc::{Drain, Problem};

use crate::suite::services::AuthHandle;

/// Another node that makes the same account at the same time, or a database that has just started, is out of the way by then.
const ATTEMPTS_MAX: u32 = 20;
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The echo assistant, which has its account.
pub struct Echo {
    /// Who it is.
    pub user_id: UserId,
    password: SecretString,
}

impl Echo {
    /// Makes its account at the first start. `None` where the name or the address is somebody else's, or the process is stopping.
    pub async fn ensure(
        auth: &AuthHandle,
        secret: &SuiteSecret,
        drain: &Drain,
        source: &Source,
    ) -> Result<Option<Self>> {
        let password = password(secret);
        let mut attempt = 1;
        loop {
            let account = NewAccount {
                username: USERNAME.to_owned(),
                email: format!("{USERNAME}@localhost.localdomain"),
                password: password.clone(),
                display_name: "Echo".to_owned(),
            };
            let problem = match auth.ensure_bot(account).await {
                Ok(user_id) => return Ok(Some(Self { user_id, password })),
                Err(problem) => problem,
            };
            if drain.has_begun() {
                return Ok(None);
            }
            match problem.reason() {
                reason @ (ErrorReason::UsernameTaken | ErrorReason::EmailTaken) => {
                    tracing::warn!(
                        ?reason,
                        "the account {USERNAME} is somebody else's: there is no assistant"
                    );
                    return Ok(None);
                }
                _ if passes(&problem) && attempt < ATTEMPTS_MAX => {
                    tracing::debug!(%problem, "the assistant's account cannot be made yet: trying again");
                }
                _ => return Err(anyhow!("cannot make the account of the assistant: {problem}")),
            }
            attempt += 1;
            tokio::time::sleep(source.jitter(RETRY_DELAY)).await;
        }
    }

    /// Answers until the process stops, as a client of the gateway within this process.
    pub async fn work(self, gateway: Gateway, drain: Drain, source: Source) {
        let config = Config {
            username: USERNAME.to_owned(),
            password: self.password,
            patience: Patience::default(),
            source,
        };
        tidings_assistant::run(Transport::new(gateway), config, drain.token()).await;
    }
}

/// Made out of auth's secret, so that every start and every node knows it, and nothing else has to be kept.
fn password(secret: &SuiteSecret) -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(secret.derive("the echo assistant's password")))
}

fn passes(problem: &Problem) -> bool {
    use ErrorReason as R;
    matches!(
        problem.reason(),
        R::Conflict | R::DependencyUnavailable | R::Overloaded | R::DeadlineExceeded | R::CommitUnknown
    )
}
