//! What an operator does at the machine, without an RPC.

use tidings_ids::UserId;
use tidings_rpc::{Problem, Violations};

use crate::{
    Error, Service,
    convert::Fields as _,
    password,
    registration::{self, Applicant, Terms},
};

/// An administrator to be created.
pub struct NewAdmin {
    /// As in `Register`.
    pub username: String,
    /// As in `Register`. The operator answers for it: it counts as verified.
    pub email: String,
    /// As in `Register`.
    pub password: secrecy::SecretString,
    /// As in `Register`; empty means the username.
    pub display_name: String,
}

impl std::fmt::Debug for NewAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewAdmin {{ username: {:?} }}", self.username)
    }
}

/// Creates an administrator, whatever the mode of registration: what `tidings admin create` does. The user service must
/// be there.
///
/// # Errors
///
/// `FIELD_INVALID`, `USERNAME_TAKEN`, `EMAIL_TAKEN`, or what else kept it from being done.
pub async fn create_admin(service: &Service, admin: NewAdmin) -> Result<UserId, Problem> {
    use secrecy::ExposeSecret as _;
    let mut violations = Violations::new();
    let username = violations.username(&admin.username);
    let email = violations.email(&admin.email);
    let password = violations.password("password", password::NEW, admin.password.expose_secret().to_owned());
    let display_name = violations.display_name(admin.display_name);
    let (Some(username), Some(email), Some(password), Some(display_name)) = (username, email, password, display_name)
    else {
        return Err(Error::Fields(violations).into());
    };
    let applicant = Applicant {
        username,
        email,
        password,
        display_name,
        bio: String::new(),
    };
    Ok(registration::register(&service.auth, applicant, Terms::Admin, None).await?)
}
