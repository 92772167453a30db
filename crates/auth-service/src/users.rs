//! The user service, as auth sees it. Each call can be repeated without harm, so each is: up to three times where the
//! peer was not there (`reliability.md` G37).

use std::{future::Future, time::Duration};

use tidings_ids::{Source, UserId};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_user::v1::{
    ActivateUserRequest, CreateUserRequest, DiscardUserRequest, SetLoggedInRequest, UserState, UserStatus,
    provisioning_service_client::ProvisioningServiceClient,
};
use tidings_rpc::{Peer, Violations};
use time::OffsetDateTime;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::{Error, convert::timestamp};

/// What the user service is asked to create.
#[derive(Debug, Clone)]
pub(crate) struct NewUser {
    pub user_id: UserId,
    pub username: String,
    pub email: String,
    pub display_name: String,
    pub bio: String,
    pub role_names: Vec<String>,
    pub is_bot: bool,
}

/// What tokens are issued by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub account: AccountStatus,
    pub token_epoch: i64,
    pub permissions: Vec<i32>,
    pub is_bot: bool,
}

/// Whether a user may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccountStatus {
    Active,
    Suspended,
    /// The registration is not complete.
    Pending,
    /// Deleted, or never there.
    Gone,
}

/// Why the user service did not do as asked.
#[derive(Debug)]
pub(crate) enum Refused {
    UsernameTaken,
    EmailTaken,
    /// The user is in a state that forbids it: discarded before it was created, active when it was to be discarded.
    Unsuitable,
    NotFound,
    Fields(Violations),
    /// It did not answer, or not as it should.
    Failed(Error),
}

/// Calls the user service.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    client: ProvisioningServiceClient<Peer>,
    source: Source,
}

impl Users {
    /// A call gives up after this long where the call that it is made for leaves it more.
    const PATIENCE: Duration = Duration::from_secs(5);

    const ATTEMPTS_MAX: u32 = 3;

    pub(crate) fn new(peer: Peer, source: Source) -> Self {
        Self {
            client: ProvisioningServiceClient::new(peer),
            source,
        }
    }

    /// Creates a pending user: nobody sees it, and nobody else gets its name and address.
    pub(crate) async fn create(&self, user: &NewUser) -> Result<(), Refused> {
        let request = CreateUserRequest {
            user_id: user.user_id.to_string(),
            username: user.username.clone(),
            email: user.email.clone(),
            display_name: user.display_name.clone(),
            bio: user.bio.clone(),
            is_bot: user.is_bot,
            role_names: user.role_names.clone(),
            request_id: String::new(),
        };
        self.call(&request, |mut client, request| async move {
            client.create_user(request).await
        })
        .await?;
        Ok(())
    }

    /// Makes a pending user active.
    pub(crate) async fn activate(&self, user_id: UserId, email_verified: bool) -> Result<(), Refused> {
        let request = ActivateUserRequest {
            user_id: user_id.to_string(),
            email_verified,
        };
        self.call(&request, |mut client, request| async move {
            client.activate_user(request).await
        })
        .await?;
        Ok(())
    }

    /// Removes a pending user, also one whose creation is still on its way.
    pub(crate) async fn discard(&self, user_id: UserId) -> Result<(), Refused> {
        let request = DiscardUserRequest {
            user_id: user_id.to_string(),
        };
        self.call(&request, |mut client, request| async move {
            client.discard_user(request).await
        })
        .await?;
        Ok(())
    }

    /// Says until when a login session of the user lives, and asks how the user stands.
    pub(crate) async fn set_logged_in(
        &self,
        user_id: UserId,
        until: Option<OffsetDateTime>,
        revision: i64,
    ) -> Result<Standing, Error> {
        let request = SetLoggedInRequest {
            user_id: user_id.to_string(),
            logged_in_until: until.map(timestamp),
            revision,
        };
        let response = self
            .call(&request, |mut client, request| async move {
                client.set_logged_in(request).await
            })
            .await;
        match response {
            Ok(response) => standing(response.state),
            Err(Refused::NotFound) => Ok(Standing::GONE),
            Err(Refused::Failed(error)) => Err(error),
            Err(refused) => Err(Error::Internal(format!(
                "the user service refused SetLoggedIn: {refused:?}"
            ))),
        }
    }

    async fn call<Q, R, F>(
        &self,
        request: &Q,
        send: impl Fn(ProvisioningServiceClient<Peer>, Request<Q>) -> F,
    ) -> Result<R, Refused>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let give_up = Instant::now() + Self::PATIENCE;
        let give_up = tidings_rpc::deadline().map_or(give_up, |deadline| give_up.min(deadline));
        let mut attempt = 1;
        loop {
            let mut sent = Request::new(request.clone());
            sent.set_timeout(
                give_up
                    .saturating_duration_since(Instant::now())
                    .max(Duration::from_millis(1)),
            );
            let refused = match tokio::time::timeout_at(give_up, send(self.client.clone(), sent)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => refused(&status),
                Err(_) => return Err(Refused::Failed(UNAVAILABLE)),
            };
            let again = matches!(refused, Refused::Failed(Error::Unavailable(_) | Error::Conflict));
            let wait = self.source.jitter(Duration::from_millis(50) * 2_u32.pow(attempt));
            if !again || attempt == Self::ATTEMPTS_MAX || Instant::now() + wait >= give_up {
                return Err(refused);
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

impl Standing {
    const GONE: Self = Self {
        account: AccountStatus::Gone,
        token_epoch: 0,
        permissions: Vec::new(),
        is_bot: false,
    };
}

const UNAVAILABLE: Error = Error::Unavailable("the user service");

fn standing(state: Option<UserState>) -> Result<Standing, Error> {
    let state = state.ok_or_else(|| Error::Internal("the user service answered without a state".to_owned()))?;
    let account = match state.status() {
        UserStatus::Active => AccountStatus::Active,
        UserStatus::Suspended => AccountStatus::Suspended,
        UserStatus::Pending => AccountStatus::Pending,
        // What a newer user service may add is not known to permit anything.
        UserStatus::Deleted | UserStatus::Unspecified => AccountStatus::Gone,
    };
    Ok(Standing {
        account,
        token_epoch: state.token_epoch,
        permissions: state.permissions,
        is_bot: state.is_bot,
    })
}

fn refused(status: &Status) -> Refused {
    let reason = status
        .get_details_error_info()
        .map(|info| format!("ERROR_REASON_{}", info.reason));
    let reason = reason
        .and_then(|name| ErrorReason::from_str_name(&name))
        .unwrap_or_default();
    match reason {
        ErrorReason::UsernameTaken => Refused::UsernameTaken,
        ErrorReason::EmailTaken => Refused::EmailTaken,
        ErrorReason::StateUnsuitable => Refused::Unsuitable,
        ErrorReason::NotFound => Refused::NotFound,
        ErrorReason::FieldInvalid => Refused::Fields(violations(status)),
        ErrorReason::Conflict => Refused::Failed(Error::Conflict),
        ErrorReason::Overloaded => Refused::Failed(Error::Overloaded),
        ErrorReason::DeadlineExceeded => Refused::Failed(Error::DeadlineExceeded),
        _ => {
            tracing::warn!(code = ?status.code(), ?reason, "the user service did not do as asked");
            Refused::Failed(UNAVAILABLE)
        }
    }
}

fn violations(status: &Status) -> Violations {
    let mut violations = Violations::new();
    let fields = status
        .get_details_bad_request()
        .map(|details| details.field_violations)
        .unwrap_or_default();
    for violation in fields {
        violations.add(violation.field, violation.description);
    }
    violations
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::UsernameTaken => Self::UsernameTaken,
            Refused::EmailTaken => Self::EmailTaken,
            Refused::Unsuitable | Refused::NotFound => Self::Conflict,
            Refused::Fields(violations) => Self::Fields(violations),
            Refused::Failed(error) => error,
        }
    }
}
