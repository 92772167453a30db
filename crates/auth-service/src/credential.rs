//! What a user can prove their identity by, without what is secret in it.

use tidings_ids::UserId;
use time::OffsetDateTime;

use crate::{
    Error,
    auth::Auth,
    store::{accounts, recovery_codes, totps},
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
