use std::{fmt, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidings_ids::Source;

use crate::{Refusal, SuiteSecret};

/// A service of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Credentials and login sessions.
    Auth,
    /// Users and roles.
    User,
    /// Groups, chats, memberships.
    Chat,
    /// Messages and their logs.
    Message,
    /// The public port.
    Gateway,
}

impl Service {
    /// All services.
    pub const ALL: [Self; 5] = [Self::Auth, Self::User, Self::Chat, Self::Message, Self::Gateway];

    /// The name in configuration, logs and the `callers` of a policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::User => "user",
            Self::Chat => "chat",
            Self::Message => "message",
            Self::Gateway => "gateway",
        }
    }

    /// What its certificate names where services speak TLS. The domain is reserved for private use, and needs no name server:
    /// where a service is reached is a setting of its own.
    #[must_use]
    pub const fn host(self) -> &'static str {
        match self {
            Self::Auth => "auth.tidings.internal",
            Self::User => "user.tidings.internal",
            Self::Chat => "chat.tidings.internal",
            Self::Message => "message.tidings.internal",
            Self::Gateway => "gateway.tidings.internal",
        }
    }

    /// Whether it makes calls to `callee` on behalf of users, by the call graph (`design.md` section 2). RPCs between services
    /// name their callers themselves.
    #[must_use]
    pub const fn calls(self, callee: Self) -> bool {
        match self {
            Self::Gateway => true,
            Self::Auth => matches!(callee, Self::User),
            Self::Chat => matches!(callee, Self::User | Self::Message),
            Self::User | Self::Message => false,
        }
    }

    /// The service with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The `typ` header of a service token.
const TYPE: &str = "tidings-service+jwt";

/// A token lives this long, so that one that leaks is soon worthless. Clocks may differ by [`SKEW_SECS`] in both directions.
const LIFETIME_SECS: i64 = 60;

/// A token is made again when it is this old.
const RENEW_AFTER: Duration = Duration::from_secs(30);

/// Clocks of two nodes may differ by this much (`reliability.md` F49 has nodes ten minutes apart).
const SKEW_SECS: i64 = 600;

#[derive(Serialize, Deserialize)]
struct ServiceClaims {
    iss: Service,
    aud: Service,
    iat: i64,
    exp: i64,
}

/// One service's proof of who it is, to others.
pub struct ServiceIdentity {
    me: Service,
    key: EncodingKey,
    source: Source,
    tokens: Mutex<[Option<Issued>; Service::ALL.len()]>,
}

#[derive(Clone)]
struct Issued {
    token: String,
    at: i64,
}

impl ServiceIdentity {
    /// The identity of `me` in the deployment that has this secret.
    #[must_use]
    pub fn new(me: Service, secret: &SuiteSecret, source: Source) -> Self {
        let key = EncodingKey::from_secret(&secret.derive("service identity"));
        Self {
            me,
            key,
            source,
            tokens: Mutex::new([const { None }; Service::ALL.len()]),
        }
    }

    /// The service whose identity this is.
    #[must_use]
    pub fn service(&self) -> Service {
        self.me
    }

    /// A token for a call to `callee`.
    #[must_use]
    pub fn token_for(&self, callee: Service) -> String {
        let now = self.source.now().unix_timestamp();
        let renew_after = i64::try_from(RENEW_AFTER.as_secs()).expect("30 fits");
        let mut tokens = self.tokens.lock();
        let slot = &mut tokens[callee as usize];
        if let Some(issued) = slot
            .as_ref()
            .filter(|issued| (issued.at..issued.at + renew_after).contains(&now))
        {
            return issued.token.clone();
        }
        let token = self.issue(callee, now);
        *slot = Some(Issued {
            token: token.clone(),
            at: now,
        });
        token
    }

    fn issue(&self, callee: Service, now: i64) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.to_owned());
        let claims = ServiceClaims {
            iss: self.me,
            aud: callee,
            iat: now,
            exp: now + LIFETIME_SECS,
        };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("an HMAC key signs any claims")
    }
}

impl fmt::Debug for ServiceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceIdentity {{ {} }}", self.me)
    }
}

/// Checks which service calls.
pub struct ServiceVerifier {
    me: Service,
    key: DecodingKey,
    source: Source,
    validation: Validation,
}

impl ServiceVerifier {
    /// The verifier of calls to `me`.
    #[must_use]
    pub fn new(me: Service, secret: &SuiteSecret, source: Source) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Times and audience are compared below: by the given clock, and with the exact type.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self {
            me,
            key: DecodingKey::from_secret(&secret.derive("service identity")),
            source,
            validation,
        }
    }

    /// The service that the token proves.
    ///
    /// # Errors
    ///
    /// [`Refusal::TokenInvalid`] when it proves none, or is meant for another service.
    pub fn verify(&self, token: &str) -> Result<Service, Refusal> {
        let data = jsonwebtoken::decode::<ServiceClaims>(token, &self.key, &self.validation)
            .map_err(|_| Refusal::TokenInvalid)?;
        let now = self.source.now().unix_timestamp();
        let claims = data.claims;
        let in_time = claims.iat - SKEW_SECS <= now && now < claims.exp + SKEW_SECS;
        if data.header.typ.as_deref() != Some(TYPE) || claims.aud != self.me || !in_time {
            return Err(Refusal::TokenInvalid);
        }
        Ok(claims.iss)
    }
}

impl fmt::Debug for ServiceVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceVerifier {{ {} }}", self.me)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_ids::Source;

    use super::{Service, ServiceIdentity, ServiceVerifier};
    use crate::{Refusal, SuiteSecret};

    fn secret(text: &str) -> SuiteSecret {
        SuiteSecret::new(&format!("{text}-0c9f6ad2b1e84e7fa3d5c7b09d1e2f34")).expect("long enough")
    }

    #[test]
    fn a_service_proves_who_it_is_to_the_one_it_calls_only() {
        let source = Source::seeded(1);
        let chat = ServiceIdentity::new(Service::Chat, &secret("a"), source.clone());
        let message = ServiceVerifier::new(Service::Message, &secret("a"), source.clone());
        let user = ServiceVerifier::new(Service::User, &secret("a"), source);
        let token = chat.token_for(Service::Message);
        assert_eq!(message.verify(&token), Ok(Service::Chat));
        assert_eq!(user.verify(&token), Err(Refusal::TokenInvalid));
    }

    #[test]
    fn tokens_of_another_deployment_and_old_ones_are_refused() {
        let source = Source::seeded(1);
        let verifier = ServiceVerifier::new(Service::Message, &secret("a"), source.clone());
        let stranger = ServiceIdentity::new(Service::Chat, &secret("b"), source.clone());
        assert_eq!(
            verifier.verify(&stranger.token_for(Service::Message)),
            Err(Refusal::TokenInvalid)
        );
        let token = ServiceIdentity::new(Service::Chat, &secret("a"), source.clone()).token_for(Service::Message);
        source.advance(Duration::from_secs(661));
        assert_eq!(verifier.verify(&token), Err(Refusal::TokenInvalid));
    }

    #[test]
    fn a_token_is_renewed_before_it_grows_old() {
        let source = Source::seeded(1);
        let chat = ServiceIdentity::new(Service::Chat, &secret("a"), source.clone());
        let first = chat.token_for(Service::Message);
        assert_eq!(chat.token_for(Service::Message), first);
        source.advance(Duration::from_secs(31));
        assert_ne!(chat.token_for(Service::Message), first);
    }
}
