//! What an operator does at the machine, without an RPC.

use secrecy::{ExposeSecret as _, SecretString};
use tidings_ids::{RequestId, UserId};
use tidings_proto_auth::v1::RegisterRequest;
use tidings_proto_user::v1::UserStatus;
use tidings_rpc::{Problem, Violations};
use uuid::Uuid;

use crate::{
    Error, Service,
    account::{Identifier, Username},
    auth::{Auth, Repeatable},
    blocklist,
    convert::Fields as _,
    password,
    registration::{self, Applicant, Holder, Terms},
    store::{accounts, registrations},
};

/// The scope of the one request by which a bot is made: repeated by every start, it goes on where the last one was cut off.
const ENSURE_BOT: &str = "ensure_bot";

/// The role of administrators, as the user service names it.
const ADMIN: &str = "admin";

/// An account to be created.
pub struct NewAccount {
    /// As in `Register`.
    pub username: String,
    /// As in `Register`. The operator answers for it: it counts as verified.
    pub email: String,
    /// As in `Register`.
    pub password: SecretString,
    /// As in `Register`; empty means the username.
    pub display_name: String,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewAccount {{ username: {:?} }}", self.username)
    }
}

/// The username as an account would have it, in small letters.
///
/// # Errors
///
/// What a username must be, where it is none.
pub fn username(text: &str) -> Result<String, String> {
    match Username::parse(text) {
        Ok(username) => Ok(username.as_str().to_owned()),
        Err(invalid) => Err(format!("a username {invalid}")),
    }
}

/// Creates an administrator, whatever the mode of registration: what `tidings admin create` does. The user service must
/// be there.
///
/// # Errors
///
/// `FIELD_INVALID`, `USERNAME_TAKEN`, `EMAIL_TAKEN`, or what else kept it from being done.
pub async fn create_admin(service: &Service, admin: NewAccount) -> Result<UserId, Problem> {
    let terms = Terms::Operator(Holder::Admin);
    let (auth, admin) = (&service.auth, applicant(admin)?);
    let mut violations = Violations::new();
    auth.blocklist
        .check(&mut violations, "password", &admin.password)
        .await?;
    let (username, email) = (admin.username.as_str(), admin.email.as_str());
    blocklist::check_names(&mut violations, "password", &admin.password, username, Some(email));
    violations.finish()?;
    Ok(registration::register(auth, admin, terms, None).await?)
}

/// Who has a username that [`create_admin`] found to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameHolder {
    /// A user with the role `admin`.
    Admin,
    /// A registration that has not come to its end.
    Registration,
    /// Somebody else, or nobody who could log in.
    Other,
}

/// Says who has the username, in small letters. The user service must be there.
///
/// # Errors
///
/// What kept it from being found out.
pub async fn name_holder(service: &Service, username: &str) -> Result<NameHolder, Problem> {
    let auth = &service.auth;
    if registrations::is_under_way(&auth.pool, username)
        .await
        .map_err(Error::from)?
    {
        return Ok(NameHolder::Registration);
    }
    let name = Identifier::Username(username.to_owned());
    let account = accounts::find(&auth.pool, &name).await.map_err(Error::from)?;
    let states = match account {
        Some(account) => auth.users.states(&[account.user_id]).await?,
        None => Vec::new(),
    };
    Ok(match states.first() {
        Some(state) if state.status() == UserStatus::Pending => NameHolder::Registration,
        Some(state) if state.roles.iter().any(|role| role == ADMIN) => NameHolder::Admin,
        _ => NameHolder::Other,
    })
}

/// Creates the account of a program of our own, with the role `bot`, unless it is there: what a start does that was perhaps
/// cut off before. The account is known by its password, which nobody else has; with another one it is somebody else's. The
/// user service must be there.
///
/// # Errors
///
/// `FIELD_INVALID`; `USERNAME_TAKEN` and `EMAIL_TAKEN` where they are somebody else's; or what else kept it from being done.
pub async fn ensure_bot(service: &Service, bot: NewAccount) -> Result<UserId, Problem> {
    let auth = &service.auth;
    let applicant = applicant(bot)?;
    if let Some(user_id) = known_bot(auth, &applicant).await? {
        return Ok(user_id);
    }
    let identity = RegisterRequest {
        username: applicant.username.as_str().to_owned(),
        ..RegisterRequest::default()
    };
    let call = Repeatable {
        caller: String::new(),
        method: ENSURE_BOT,
        identifier: identity.username.clone(),
        request_id: RequestId::from_uuid(Uuid::nil()),
        request_hash: auth.env.hasher.hash(ENSURE_BOT, &identity),
    };
    let terms = Terms::Operator(Holder::Bot);
    Ok(registration::register(auth, applicant, terms, Some(&call)).await?)
}

/// The account of the name, if it has the password.
async fn known_bot(auth: &Auth, applicant: &Applicant) -> Result<Option<UserId>, Error> {
    let name = Identifier::Username(applicant.username.as_str().to_owned());
    let Some(account) = accounts::find(&auth.pool, &name).await? else {
        return Ok(None);
    };
    let password = applicant.password.clone();
    if !auth.passwords.verify(password, Some(account.password_hash)).await? {
        return Err(Error::UsernameTaken);
    }
    registration::conclude(auth, account.user_id).await.map(Some)
}

fn applicant(new: NewAccount) -> Result<Applicant, Error> {
    let mut violations = Violations::new();
    let username = violations.username(&new.username);
    let email = violations.email(&new.email);
    let password = violations.password("password", password::NEW, new.password.expose_secret().to_owned());
    let display_name = violations.display_name(new.display_name);
    let (Some(username), Some(email), Some(password), Some(display_name)) = (username, email, password, display_name)
    else {
        return Err(Error::Fields(violations));
    };
    Ok(Applicant {
        username,
        email,
        password,
        display_name,
        bio: String::new(),
    })
}
