//! What an ID token must say (OpenID Connect Core 1.0, section 3.1.3.7), without asking anybody.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::issuer::{ExternalIssuer, SigningAlgorithm};

/// Clocks of two machines may differ by so much (`reliability.md` G22).
const LEEWAY: i64 = 5;

/// A token that is valid for longer is none that an issuer gives out to log in with. What was used is remembered for so long.
const LIFETIME_MAX: i64 = 24 * 3_600;

/// The longest `sub` of the specification.
const SUBJECT_BYTES_MAX: usize = 255;

/// A token that was taken apart and not yet believed.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    text: &'a str,
    /// What is signed.
    pub signed: &'a str,
    pub algorithm: SigningAlgorithm,
    pub key_id: Option<String>,
    /// Whose it says that it is.
    pub issuer: String,
}

/// Nothing else is looked at: no `jku`, `x5u`, `jwk` or `x5c` ever says where a key comes from.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

/// What a valid token says.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct IdClaims {
    iss: String,
    pub sub: String,
    aud: Audience,
    azp: Option<String>,
    pub exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'a> Unverified<'a> {
    /// Takes a token apart. `None` where it is none.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') || signature.is_empty() {
            return None;
        }
        let header: Header = decode(header)?;
        let typ_fits = header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        if !typ_fits || header.crit.is_some() {
            return None;
        }
        let algorithm = match header.alg.as_str() {
            "RS256" => SigningAlgorithm::RS256,
            "ES256" => SigningAlgorithm::ES256,
            "EdDSA" => SigningAlgorithm::EdDSA,
            _ => return None,
        };
        let claimed: Claimed = decode(claims)?;
        Some(Self {
            text,
            signed,
            algorithm,
            key_id: header.kid,
            issuer: claimed.iss,
        })
    }

    /// What it says, if this key signed it and it may be believed now.
    pub(crate) fn verify(
        &self,
        key: &DecodingKey,
        issuer: &ExternalIssuer,
        nonce: Option<&str>,
        now: OffsetDateTime,
    ) -> Option<IdClaims> {
        let mut validation = Validation::new(match self.algorithm {
            SigningAlgorithm::RS256 => Algorithm::RS256,
            SigningAlgorithm::ES256 => Algorithm::ES256,
            SigningAlgorithm::EdDSA => Algorithm::EdDSA,
        });
        // Claims are required by their types, and compared below with the given clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<IdClaims>(self.text, key, &validation)
            .ok()?
            .claims;
        claims
            .may_be_believed(issuer, nonce, now.unix_timestamp())
            .then_some(claims)
    }
}

impl IdClaims {
    fn may_be_believed(&self, issuer: &ExternalIssuer, nonce: Option<&str>, now: i64) -> bool {
        let is_ours = |audience: &String| issuer.audiences.contains(audience);
        let for_us = match &self.aud {
            Audience::One(audience) => is_ours(audience),
            // Made for several, it says which of them asked for it.
            Audience::Several(audiences) => {
                audiences.iter().any(is_ours) && (audiences.len() == 1 || self.azp.is_some())
            }
        };
        let lifetime = self.exp.checked_sub(self.iat);
        self.iss == issuer.issuer
            && for_us
            && self.azp.as_ref().is_none_or(is_ours)
            && (1..=SUBJECT_BYTES_MAX).contains(&self.sub.len())
            && now < self.exp.saturating_add(LEEWAY)
            && self.iat <= now + LEEWAY
            && self.nbf.is_none_or(|begin| begin <= now + LEEWAY)
            && lifetime.is_some_and(|lifetime| (1..=LIFETIME_MAX).contains(&lifetime))
            && nonce.is_none_or(|nonce| self.nonce.as_deref() == Some(nonce))
    }

    /// A claim that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match name {
            "sub" => Some(&self.sub),
            _ => self.others.get(name).and_then(Value::as_str),
        }
    }

    /// From when on it is worth nothing to anybody.
    pub(crate) fn forget_time(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp(self.exp.saturating_add(2 * LEEWAY)).ok()
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
