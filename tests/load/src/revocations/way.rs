use std::fmt;

use anyhow::{Context as _, Result};
use tidings_proto_auth::v1::{
    ChangePasswordRequest, LogoutAllRequest, LogoutRequest, RequestPasswordResetRequest, ResetPasswordRequest,
    RevokeLoginSessionRequest, auth_service_client::AuthServiceClient,
    credential_service_client::CredentialServiceClient, login_session_service_client::LoginSessionServiceClient,
};
use tidings_proto_common::v1::ErrorReason;
use tidings_proto_user::v1::{
    DeleteUserRequest, SuspendUserRequest, UnassignRoleRequest, role_service_client::RoleServiceClient,
    user_service_client::UserServiceClient,
};

use super::stage::{Stage, User, token_mailed_to};
use crate::client::authorized;

/// How somebody's rights end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// `Logout`.
    Logout,
    /// `LogoutAll`, from another login session.
    LogoutAll,
    /// `RevokeLoginSession`, from another login session.
    LoginSessionRevoked,
    /// `ChangePassword`, from another login session, which goes on.
    PasswordChange,
    /// `ResetPassword`, by the token that was mailed.
    PasswordReset,
    /// `SuspendUser`, by an administrator.
    Suspension,
    /// `DeleteUser`, by oneself.
    Deletion,
    /// `UnassignRole`, by an administrator: the token's permissions are too many from then on.
    RoleRemoval,
}

impl Way {
    /// All ways, or those without mails.
    #[must_use]
    pub fn all(with_mail: bool) -> Vec<Self> {
        let all = [
            Self::Logout,
            Self::LogoutAll,
            Self::LoginSessionRevoked,
            Self::PasswordChange,
            Self::PasswordReset,
            Self::Suspension,
            Self::Deletion,
            Self::RoleRemoval,
        ];
        all.into_iter()
            .filter(|way| with_mail || *way != Self::PasswordReset)
            .collect()
    }

    /// What the user's calls and streams are refused with from then on.
    #[must_use]
    pub fn refusal(self) -> ErrorReason {
        match self {
            // A new token has the permissions that are left.
            Self::RoleRemoval => ErrorReason::TokenInvalid,
            _ => ErrorReason::LoginSessionRevoked,
        }
    }

    /// What has to be done before the end itself.
    pub(super) async fn prepare(self, stage: &Stage, user: &User) -> Result<Prepared> {
        match self {
            Self::LogoutAll | Self::LoginSessionRevoked | Self::PasswordChange => {
                Ok(Prepared::Other(stage.log_in(user).await?.access_token))
            }
            Self::PasswordReset => {
                let request = RequestPasswordResetRequest {
                    email: user.email.clone(),
                    ..RequestPasswordResetRequest::default()
                };
                CredentialServiceClient::new(stage.gateway.clone())
                    .request_password_reset(request)
                    .await?;
                let folder = stage.mail_dir.as_deref().context("no folder of mails is named")?;
                Ok(Prepared::Token(token_mailed_to(folder, &user.email).await?))
            }
            Self::Logout | Self::Suspension | Self::Deletion | Self::RoleRemoval => Ok(Prepared::Nothing),
        }
    }

    /// Ends the user's rights. From its return on they are over.
    pub(super) async fn end(self, stage: &Stage, user: &User, prepared: Prepared) -> Result<()> {
        let gateway = || stage.gateway.clone();
        match (self, prepared) {
            (Self::Logout, _) => {
                let logout = authorized(LogoutRequest {}, &user.access_token);
                AuthServiceClient::new(gateway()).logout(logout).await?;
            }
            (Self::LogoutAll, Prepared::Other(other)) => {
                let logout = authorized(LogoutAllRequest { keep_current: true }, &other);
                AuthServiceClient::new(gateway()).logout_all(logout).await?;
            }
            (Self::LoginSessionRevoked, Prepared::Other(other)) => {
                let revoke = RevokeLoginSessionRequest {
                    login_session_id: user.login_session_id.clone(),
                    request_id: stage.request_id(),
                    ..RevokeLoginSessionRequest::default()
                };
                let revoke = authorized(revoke, &other);
                LoginSessionServiceClient::new(gateway())
                    .revoke_login_session(revoke)
                    .await?;
            }
            (Self::PasswordChange, Prepared::Other(other)) => {
                let change = ChangePasswordRequest {
                    current_password: user.password.clone(),
                    new_password: format!("another {}", user.password),
                    request_id: stage.request_id(),
                    ..ChangePasswordRequest::default()
                };
                let change = authorized(change, &other);
                CredentialServiceClient::new(gateway()).change_password(change).await?;
            }
            (Self::PasswordReset, Prepared::Token(token)) => {
                let reset = ResetPasswordRequest {
                    token,
                    new_password: format!("another {}", user.password),
                    request_id: stage.request_id(),
                };
                CredentialServiceClient::new(gateway()).reset_password(reset).await?;
            }
            (Self::Suspension, _) => {
                let suspend = SuspendUserRequest {
                    user_id: user.user_id.clone(),
                    request_id: stage.request_id(),
                    ..SuspendUserRequest::default()
                };
                let suspend = authorized(suspend, &stage.admin_token);
                UserServiceClient::new(gateway()).suspend_user(suspend).await?;
            }
            (Self::Deletion, _) => {
                let delete = DeleteUserRequest {
                    request_id: stage.request_id(),
                    ..DeleteUserRequest::default()
                };
                let delete = authorized(delete, &user.access_token);
                UserServiceClient::new(gateway()).delete_user(delete).await?;
            }
            (Self::RoleRemoval, _) => {
                let unassign = UnassignRoleRequest {
                    role_id: stage.role_id.clone(),
                    user_id: user.user_id.clone(),
                    request_id: stage.request_id(),
                };
                let unassign = authorized(unassign, &stage.admin_token);
                RoleServiceClient::new(gateway()).unassign_role(unassign).await?;
            }
            (Self::LogoutAll | Self::LoginSessionRevoked | Self::PasswordChange | Self::PasswordReset, _) => {
                anyhow::bail!("{self} was not prepared")
            }
        }
        Ok(())
    }
}

/// What an end needs.
pub(super) enum Prepared {
    Nothing,
    /// The access token of another login session.
    Other(String),
    /// The token of a reset.
    Token(String),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Logout => "logout",
            Self::LogoutAll => "logout of all others",
            Self::LoginSessionRevoked => "login session revoked",
            Self::PasswordChange => "password change",
            Self::PasswordReset => "password reset",
            Self::Suspension => "suspension",
            Self::Deletion => "deletion",
            Self::RoleRemoval => "role removal",
        })
    }
}
