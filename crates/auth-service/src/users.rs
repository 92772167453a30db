//! The user service, as auth sees it. Each call can be repeated without harm, so each is: up to three times where the
//! peer was not there (`reliability.md` G37).

mod foreign;

use std::{future::Future, time::Duration};

pub(crate) use foreign::NewForeigner;

use tidings_authn::Caller;
use tidings_ids::{Source, UserId};
use tidings_proto_common::v1::{ErrorReason, Permission};
use tidings_proto_user::v1::{
    ActivateUserRequest, BatchGetUserStatesRequest, ChangeUserEmailRequest, CheckAuthorityRequest, CreateUserRequest,
    DiscardUserRequest, SetLoggedInRequest, UserState, UserStatus,
    provisioning_service_client::ProvisioningServiceClient, user_state_service_client::UserStateServiceClient,
};
use tidings_rpc::{Peer, Violations};
use time::OffsetDateTime;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt as _;

use crate::{Error, convert::timestamp, service_accounts::reach};

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
    /// Whether the user is created without the address where another has it.
    pub may_lack_email: bool,
}

/// What tokens are issued by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub account: AccountStatus,
    pub token_epoch: i64,
    /// Login sessions that began under a lower token epoch are over.
    pub login_epoch: i64,
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
    /// Another user has the external id.
    NameTaken,
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
    feed: UserStateServiceClient<Peer>,
    source: Source,
}

impl Users {
    /// A call gives up after this long where the call that it is made for leaves it more.
    const PATIENCE: Duration = Duration::from_secs(5);

    const ATTEMPTS_MAX: u32 = 3;

    pub(crate) fn new(peer: Peer, source: Source) -> Self {
        Self {
            client: ProvisioningServiceClient::new(peer.clone()),
            feed: UserStateServiceClient::new(peer),
            source,
        }
    }

    /// Creates a pending user: nobody sees it, and nobody else gets its name and address. True where it may lack the address
    /// and does, since another had it; the same call that insists on the address gives it to the user.
    pub(crate) async fn create(&self, user: &NewUser) -> Result<bool, Refused> {
        let request = CreateUserRequest {
            user_id: user.user_id.to_string(),
            username: user.username.clone(),
            email: user.email.clone(),
            display_name: user.display_name.clone(),
            bio: user.bio.clone(),
            is_bot: user.is_bot,
            role_names: user.role_names.clone(),
            request_id: String::new(),
            may_lack_email: user.may_lack_email,
            ..CreateUserRequest::default()
        };
        let response = self
            .call(&request, |mut client, request| async move {
                client.create_user(request).await
            })
            .await?;
        Ok(response.email_taken)
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
        self.try_discard(user_id, false).await
    }

    /// Takes the address from a pending user, who keeps the name.
    pub(crate) async fn withdraw_email(&self, user_id: UserId) -> Result<(), Refused> {
        self.try_discard(user_id, true).await
    }

    async fn try_discard(&self, user_id: UserId, email_only: bool) -> Result<(), Refused> {
        let request = DiscardUserRequest {
            user_id: user_id.to_string(),
            email_only,
        };
        self.call(&request, |mut client, request| async move {
            client.discard_user(request).await
        })
        .await?;
        Ok(())
    }

    /// Gives a user another address, which was proven; of two such statements the one with the higher revision holds.
    pub(crate) async fn change_email(&self, user_id: UserId, email: &str, revision: i64) -> Result<(), Refused> {
        let request = ChangeUserEmailRequest {
            user_id: user_id.to_string(),
            email: email.to_owned(),
            revision,
        };
        self.call(&request, |mut client, request| async move {
            client.change_user_email(request).await
        })
        .await?;
        Ok(())
    }

    /// Whether the actor stands high enough to act on the account.
    pub(crate) async fn check_authority(&self, actor: UserId, target: UserId) -> Result<(), Error> {
        self.judge(&CheckAuthorityRequest {
            actor_user_id: actor.to_string(),
            target_user_id: target.to_string(),
            ..CheckAuthorityRequest::default()
        })
        .await
    }

    /// The same for what lets the caller into the account: the user's roles must allow nothing that the caller does not hold, nor what
    /// the caller's token does not reach.
    pub(crate) async fn check_take_over(&self, caller: &Caller, target: UserId) -> Result<(), Error> {
        self.judge(&CheckAuthorityRequest {
            actor_user_id: caller.user_id.to_string(),
            target_user_id: target.to_string(),
            takes_over: true,
            actor_permissions: reach(caller),
        })
        .await
    }

    async fn judge(&self, request: &CheckAuthorityRequest) -> Result<(), Error> {
        let response = self
            .call(request, |mut client, request| async move {
                client.check_authority(request).await
            })
            .await;
        match response {
            Ok(_) => Ok(()),
            Err(Refused::NotFound) => Err(Error::NotFound),
            Err(refused) => Err(refused.into()),
        }
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

    /// How these users stand, at most 500 of them; those who are not there are left out.
    pub(crate) async fn states(&self, user_ids: &[UserId]) -> Result<Vec<UserState>, Error> {
        let request = BatchGetUserStatesRequest {
            user_ids: user_ids.iter().map(ToString::to_string).collect(),
        };
        let response = self
            .call(&request, |mut client, request| async move {
                client.batch_get_user_states(request).await
            })
            .await?;
        Ok(response.states)
    }

    /// The feed of how users stand, for [`crate::states`].
    pub(crate) fn feed(&self) -> UserStateServiceClient<Peer> {
        self.feed.clone()
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
        login_epoch: 0,
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
        login_epoch: state.login_epoch,
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
        ErrorReason::NameTaken => Refused::NameTaken,
        ErrorReason::StateUnsuitable => Refused::Unsuitable,
        ErrorReason::NotFound => Refused::NotFound,
        ErrorReason::FieldInvalid => Refused::Fields(violations(status)),
        ErrorReason::RankTooLow => Refused::Failed(Error::RankTooLow),
        ErrorReason::LastAdmin => Refused::Failed(Error::LastAdmin),
        ErrorReason::KindUnsuitable => Refused::Failed(Error::KindUnsuitable),
        // Without the name of a permission it is about us.
        ErrorReason::PermissionMissing if permission(status).is_some() => {
            Refused::Failed(Error::PermissionMissing(permission(status).unwrap_or_default()))
        }
        ErrorReason::LoginSessionRevoked => Refused::Failed(Error::LoginSessionEnded),
        ErrorReason::Conflict => Refused::Failed(Error::Conflict),
        ErrorReason::Overloaded => Refused::Failed(Error::Overloaded),
        ErrorReason::DeadlineExceeded => Refused::Failed(Error::DeadlineExceeded),
        _ => {
            tracing::warn!(code = ?status.code(), ?reason, "the user service did not do as asked");
            Refused::Failed(UNAVAILABLE)
        }
    }
}

/// The permission that a refusal names.
fn permission(status: &Status) -> Option<Permission> {
    let info = status.get_details_error_info()?;
    Permission::from_str_name(&format!("PERMISSION_{}", info.metadata.get("permission")?))
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
            Refused::Unsuitable | Refused::NotFound | Refused::NameTaken => Self::Conflict,
            Refused::Fields(violations) => Self::Fields(violations),
            Refused::Failed(error) => error,
        }
    }
}
