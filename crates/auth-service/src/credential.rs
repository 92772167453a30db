//! What a user can prove their identity by, without what is secret in it.

use tidings_authn::Caller;
use tidings_ids::UserId;
use tidings_proto_common::v1::Permission;
use time::OffsetDateTime;

use crate::{
    Error,
    auth::Auth,
    store::{accounts, recovery_codes, totps},
    users::AccountStatus,
};

/// Something that a user proves their identity by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Password {
        set_time: OffsetDateTime,
    },
    Email {
        email: String,
        verified: bool,
    },
    Totp {
        create_time: OffsetDateTime,
        confirm_time: Option<OffsetDateTime>,
    },
    RecoveryCodes {
        create_time: OffsetDateTime,
        left: i32,
    },
}

impl Credential {
    /// Where it stands in the list: a page token says up to where its page went.
    pub(crate) fn place(&self) -> u8 {
        match self {
            Self::Password { .. } => 1,
            Self::Email { .. } => 2,
            Self::Totp { .. } => 3,
            Self::RecoveryCodes { .. } => 4,
        }
    }
}

/// Another user's credentials, for an operator. The address is empty for who may not see others' addresses.
pub(crate) async fn of_other(auth: &Auth, caller: &Caller, user_id: UserId) -> Result<Vec<Credential>, Error> {
    if !caller.holds(Permission::CredentialsManage) {
        return Err(Error::PermissionMissing(Permission::CredentialsManage));
    }
    match auth.users.standing(user_id).await?.account {
        AccountStatus::Active | AccountStatus::Suspended => {}
        // As for whoever would act on them.
        AccountStatus::Pending | AccountStatus::Gone => return Err(Error::NotFound),
    }
    let mut credentials = list(auth, user_id).await?;
    if !caller.holds(Permission::UsersReadPrivate) {
        for credential in &mut credentials {
            if let Credential::Email { email, .. } = credential {
                email.clear();
            }
        }
    }
    Ok(credentials)
}

/// The user's credentials in their order: one of each kind at the most.
pub(crate) async fn list(auth: &Auth, user_id: UserId) -> Result<Vec<Credential>, Error> {
    let own = accounts::own_credentials(&auth.pool, user_id)
        .await?
        .ok_or(Error::NotFound)?;
    let totp = totps::get(&auth.pool, user_id, auth.now()).await?;
    let codes = recovery_codes::summary(&auth.pool, user_id).await?;
    let mut credentials = Vec::new();
    credentials.extend(own.password_set_time.map(|set_time| Credential::Password { set_time }));
    credentials.extend(own.email.map(|email| Credential::Email {
        email,
        verified: own.email_verified,
    }));
    credentials.extend(totp.map(|totp| Credential::Totp {
        create_time: totp.create_time,
        confirm_time: totp.confirm_time,
    }));
    credentials.extend(codes.map(|codes| Credential::RecoveryCodes {
        create_time: codes.create_time,
        left: i32::try_from(codes.left).unwrap_or(i32::MAX),
    }));
    Ok(credentials)
}
