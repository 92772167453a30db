//! Users who come from elsewhere: those of a product with its own users, whom its service account brings in ([`create_user_token`]),
//! and those of OpenID Connect issuers, who bring an ID token ([`exchange`]). Both get a login session like everybody else's.
//!
//! Users are found by their `external_id` alone, never by an address or a name: whoever can choose these elsewhere would otherwise be
//! somebody here. That of an issuer's user is `oidc:` and the SHA-256 of issuer and subject, and nothing else may begin so.
//!
//! Neither asks for a second factor or for a password that the account may have here: what proves the user is the other system's
//! affair. Such an account has no password until an operator sets one.

mod fetch;
mod issuer;
mod keys;
mod names;
mod token;

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use tidings_authn::Caller;
use tidings_ids::UserId;
use tidings_proto_common::v1::Permission;
use tidings_rpc::text::TextRule;

pub use self::issuer::{ExternalIssuer, SigningAlgorithm};
pub(crate) use self::names::RESERVED_PREFIX;
use self::{
    fetch::Fetcher,
    keys::IssuerKeys,
    names::{external_id, username},
    token::{IdClaims, Unverified},
};
use crate::{
    Error, InvalidSetting,
    account::Username,
    auth::Auth,
    client::Client,
    login::Issued,
    provision::{self, Kind, Newcomer, Provided},
    service_accounts::reach,
    trail,
    users::{AccountStatus, Standing},
    vouched::{self, Spent},
};

/// A name that is taken gets another end so often.
const NAMES_TRIED_MAX: usize = 5;

/// What a product knows of a user whom it brings in.
#[derive(Debug)]
pub(crate) struct Foreigner {
    pub external_id: String,
    /// The name under which to create them, if they are to be.
    pub username: Option<Username>,
    pub display_name: String,
}

/// A user who is there now.
#[derive(Debug)]
struct Arrived {
    user_id: UserId,
    standing: Standing,
    /// This call has created the user: of many at once for one user it is one at the most.
    created: bool,
}

/// Tokens for a user of a service account's product. `true` where the user was created by it.
pub(crate) async fn create_user_token(
    auth: &Auth,
    caller: &Caller,
    foreigner: Foreigner,
    device_label: &str,
    client: &Client,
) -> Result<(Issued, bool), Error> {
    if !caller.is_bot {
        // What it is for is a program: a person who holds the permission does not become others by it.
        return Err(Error::PermissionMissing(Permission::UserTokensCreate));
    }
    let may_have = |standing: &Standing| {
        if standing.is_bot {
            return Err(Error::KindUnsuitable);
        }
        let beyond = standing
            .permissions
            .iter()
            .find(|number| !reach(caller).contains(*number));
        match beyond {
            Some(number) => Err(Error::PermissionMissing(
                Permission::try_from(*number).unwrap_or_default(),
            )),
            None => Ok(()),
        }
    };
    let found = auth.users.external(&foreigner.external_id).await?;
    let Arrived {
        user_id,
        standing,
        created,
    } = match found {
        Some(found) => Arrived::before(found),
        None => {
            let username = foreigner.username.ok_or(Error::NotFound)?;
            let newcomer = Newcomer {
                username,
                display_name: foreigner.display_name,
                role_names: Vec::new(),
                giver: Some((caller.user_id, reach(caller))),
                kind: Kind::Foreigner {
                    external_id: foreigner.external_id.clone(),
                },
            };
            bring_in(auth, &newcomer, &foreigner.external_id).await?
        }
    };
    match standing.account {
        AccountStatus::Gone => return Err(Error::NotFound),
        AccountStatus::Suspended => return Err(Error::AccountSuspended),
        AccountStatus::Pending | AccountStatus::Active => {}
    }
    may_have(&standing)?;
    if standing.account == AccountStatus::Active {
        auth.users.check_authority(caller.user_id, user_id).await?;
    }
    let issued = vouched::begin(auth, user_id, device_label, client, None, may_have).await?;
    Ok((issued, created))
}

/// Tokens for the user of an ID token. One that proves nothing is written down, as a wrong password is.
pub(crate) async fn exchange(
    auth: &Auth,
    token: &SecretString,
    nonce: Option<&str>,
    device_label: &str,
    client: &Client,
) -> Result<Issued, Error> {
    match begin(auth, token, nonce, device_label, client).await {
        Err(error) => Err(trail::refused_login(auth, None, error).await),
        issued => issued,
    }
}

async fn begin(
    auth: &Auth,
    token: &SecretString,
    nonce: Option<&str>,
    device_label: &str,
    client: &Client,
) -> Result<Issued, Error> {
    if auth.issuers.is_empty() {
        return Err(Error::FeatureDisabled);
    }
    let token = Unverified::read(token.expose_secret()).ok_or(Error::CredentialsInvalid)?;
    let issuer = auth.issuers.get(&token.issuer).ok_or(Error::CredentialsInvalid)?;
    let (config, now) = (&issuer.config, auth.now());
    if !config.algorithms.contains(&token.algorithm) {
        return Err(Error::CredentialsInvalid);
    }
    let key = issuer.keys.find(token.key_id.as_deref(), token.algorithm, now).await?;
    let key = key.ok_or(Error::CredentialsInvalid)?;
    let claims = token
        .verify(&key, config, nonce, now)
        .ok_or(Error::CredentialsInvalid)?;
    let spent = Spent {
        token_hash: digest(&SHA256, token.signed.as_bytes())
            .as_ref()
            .try_into()
            .expect("SHA-256 has 32 bytes"),
        forget_time: claims.forget_time().ok_or(Error::CredentialsInvalid)?,
    };

    let external_id = external_id(&config.issuer, &claims.sub);
    let Arrived { user_id, standing, .. } = match auth.users.external(&external_id).await? {
        Some(found) => Arrived::before(found),
        None if config.create_users => create(auth, config, &claims, &external_id).await?,
        None => return Err(Error::NotFound),
    };
    if standing.account == AccountStatus::Gone {
        return Err(Error::NotFound);
    }
    let no_bot = |standing: &Standing| {
        if standing.is_bot {
            Err(Error::KindUnsuitable)
        } else {
            Ok(())
        }
    };
    vouched::begin(auth, user_id, device_label, client, Some(spent), no_bot).await
}

/// Creates the user of an ID token, under the name that it says or one like it.
async fn create(auth: &Auth, config: &ExternalIssuer, claims: &IdClaims, external_id: &str) -> Result<Arrived, Error> {
    let display_name = claims.text(&config.display_name_claim).unwrap_or_default();
    let display_name = if TextRule::NAME.check(display_name).is_ok() {
        display_name
    } else {
        ""
    };
    let wished = claims.text(&config.username_claim).unwrap_or_default();
    for attempt in 0..NAMES_TRIED_MAX {
        let newcomer = Newcomer {
            username: username(wished, attempt, auth.source()),
            display_name: display_name.to_owned(),
            role_names: Vec::new(),
            giver: None,
            kind: Kind::Foreigner {
                external_id: external_id.to_owned(),
            },
        };
        match bring_in(auth, &newcomer, external_id).await {
            Err(Error::UsernameTaken) => {}
            outcome => return outcome,
        }
    }
    Err(Error::UsernameTaken)
}

/// Creates a user, or finds the one whom another call has brought in meanwhile.
async fn bring_in(auth: &Auth, newcomer: &Newcomer, external_id: &str) -> Result<Arrived, Error> {
    let otherwise = match provision::provide(auth, newcomer, None).await {
        Ok(Provided::Yes(user_id)) => {
            return Ok(Arrived {
                user_id,
                standing: auth.users.standing(user_id).await?,
                created: true,
            });
        }
        Ok(Provided::ExternalIdTaken) => Error::Conflict,
        // Perhaps by this very user.
        Err(Error::UsernameTaken) => Error::UsernameTaken,
        Err(error) => return Err(error),
    };
    let found = auth.users.external(external_id).await?;
    found.map(Arrived::before).ok_or(otherwise)
}

impl Arrived {
    /// One whom this call has not created.
    fn before((user_id, standing): (UserId, Standing)) -> Self {
        Self {
            user_id,
            standing,
            created: false,
        }
    }
}

/// The issuers of the deployment, by name.
#[derive(Debug, Default)]
pub(crate) struct Issuers(HashMap<String, Issuer>);

#[derive(Debug)]
pub(crate) struct Issuer {
    config: ExternalIssuer,
    keys: IssuerKeys,
}

impl Issuers {
    pub(crate) fn new(issuers: &[ExternalIssuer]) -> Result<Self, InvalidSetting> {
        ExternalIssuer::check_list(issuers)?;
        if issuers.is_empty() {
            return Ok(Self::default());
        }
        let roots = fetch::machine_roots();
        let usual = Fetcher::trusting(roots.clone());
        let issuer = |config: &ExternalIssuer| {
            let fetcher = match &config.ca_file {
                None => usual.clone(),
                Some(file) => {
                    let mut roots = roots.clone();
                    issuer::trust(&mut roots, file)?;
                    Fetcher::trusting(roots)
                }
            };
            let issuer = Issuer {
                config: config.clone(),
                keys: IssuerKeys::new(&config.issuer, fetcher),
            };
            Ok((config.issuer.clone(), issuer))
        };
        Ok(Self(issuers.iter().map(issuer).collect::<Result<_, _>>()?))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, name: &str) -> Option<&Issuer> {
        self.0.get(name)
    }
}
