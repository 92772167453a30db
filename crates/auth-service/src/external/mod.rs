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
mod token;

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use tidings_authn::Caller;
use tidings_ids::{Source, UserId};
use tidings_proto_common::v1::Permission;
use tidings_rpc::text::TextRule;

pub use self::issuer::{ExternalIssuer, SigningAlgorithm};
use self::{
    fetch::Fetcher,
    keys::IssuerKeys,
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
    users::{AccountStatus, Standing},
    vouched::{self, Spent},
};

/// What the external ids of issuers' users begin with.
pub(crate) const RESERVED_PREFIX: &str = "oidc:";

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
    let created = found.is_none();
    let (user_id, standing) = match found {
        Some(found) => found,
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

/// Tokens for the user of an ID token.
pub(crate) async fn exchange(
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
    let (user_id, standing) = match auth.users.external(&external_id).await? {
        Some(found) => found,
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
async fn create(
    auth: &Auth,
    config: &ExternalIssuer,
    claims: &IdClaims,
    external_id: &str,
) -> Result<(UserId, Standing), Error> {
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
async fn bring_in(auth: &Auth, newcomer: &Newcomer, external_id: &str) -> Result<(UserId, Standing), Error> {
    match provision::provide(auth, newcomer, None).await? {
        Provided::Yes(user_id) => Ok((user_id, auth.users.standing(user_id).await?)),
        Provided::ExternalIdTaken => auth.users.external(external_id).await?.ok_or(Error::Conflict),
    }
}

/// What an issuer's user is known by here: issuers are told apart by their length too, so that no two pairs have the same bytes.
fn external_id(issuer: &str, subject: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(&u64::try_from(issuer.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(issuer.as_bytes());
    context.update(subject.as_bytes());
    format!("{RESERVED_PREFIX}{}", URL_SAFE_NO_PAD.encode(context.finish()))
}

/// A username made of what somebody is called elsewhere. The first attempt is the name itself, further ones have some letters more.
fn username(wished: &str, attempt: usize, source: &Source) -> Username {
    /// Of the name, so that the letters fit behind it.
    const CHARS_MAX: usize = 24;
    let local = wished.split('@').next().unwrap_or_default().to_lowercase();
    let mut name = String::new();
    for letter in local.chars() {
        let fits = letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '.' | '_' | '-');
        if fits && !(letter == '.' && name.ends_with('.')) && name.len() < CHARS_MAX {
            name.push(letter);
        }
    }
    let plain = Username::parse(&name).ok();
    match plain {
        Some(name) if attempt == 0 => name,
        plain => {
            let letters: [u8; 5] = source.random();
            let letters = letters.map(|byte| char::from(b"abcdefghijkmnpqrstuvwxyz23456789"[usize::from(byte % 32)]));
            let base = plain.as_ref().map_or("user", Username::as_str);
            let name = format!("{base}-{}", String::from_iter(letters));
            Username::parse(&name).expect("some letters, a hyphen and five letters are a username")
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
        let fetcher = Fetcher::new();
        let issuer = |config: &ExternalIssuer| {
            let keys = IssuerKeys::new(&config.issuer, fetcher.clone());
            (
                config.issuer.clone(),
                Issuer {
                    config: config.clone(),
                    keys,
                },
            )
        };
        Ok(Self(issuers.iter().map(issuer).collect()))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, name: &str) -> Option<&Issuer> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;

    use super::{external_id, username};

    #[test]
    fn a_user_is_one_issuers_and_one_subjects() {
        let id = external_id("https://a.example", "bob");
        assert_eq!(id, external_id("https://a.example", "bob"));
        assert!(id.starts_with("oidc:") && id.len() == 48);
        assert_ne!(id, external_id("https://a.example", "Bob"));
        assert_ne!(id, external_id("https://a.exampleb", "ob"));
        assert_ne!(id, external_id("https://b.example", "bob"));
    }

    #[test]
    fn names_from_elsewhere_become_usernames() {
        let source = Source::seeded(1);
        for (wished, name) in [
            ("Ada.Lovelace", "ada.lovelace"),
            ("ada@example.org", "ada"),
            ("a..b", "a.b"),
            ("Ädä L", "dl"),
        ] {
            assert_eq!(username(wished, 0, &source).as_str(), name, "{wished}");
            let other = username(wished, 1, &source);
            assert!(other.as_str().starts_with(&format!("{name}-")), "{other:?}");
        }
        for wished in ["", "@", "李", "..", "-", "a"] {
            assert!(username(wished, 0, &source).as_str().starts_with("user-"), "{wished}");
        }
        assert!(username(&"x".repeat(300), 3, &source).as_str().len() <= 32);
    }
}
