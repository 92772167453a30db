use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use tidings_ids::{LoginSessionId, UserId};

/// How long an access token is valid (`reliability.md` G22 allows ten minutes at the most).
pub const LIFETIME: Duration = Duration::from_secs(600);

/// The `typ` header of an access token (RFC 9068), which no other kind of token of the suite has.
pub const TYPE: &str = "at+jwt";

/// The `iss` claim.
pub const ISSUER: &str = "tidings";

/// The `aud` claim.
pub const AUDIENCE: &str = "tidings";

/// What an access token says. All are required, each in this type exactly: a claim of another JSON type makes the token
/// invalid instead of absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// Always [`AUDIENCE`].
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The login session that the token belongs to.
    pub sid: LoginSessionId,
    /// The user's token epoch at issue: a later change of rights raises it and ends the token.
    pub epoch: i64,
    /// The user's permissions, as numbers of `tidings.common.v1.Permission`.
    pub perms: Vec<i32>,
    /// Whether the user is a bot.
    pub bot: bool,
    /// When the token was issued, in seconds since 1970.
    pub iat: i64,
    /// Before when it is not valid.
    pub nbf: i64,
    /// From when on it is not valid.
    pub exp: i64,
}

/// Signs an access token with the Ed25519 key that is published under `key_id`.
///
/// # Errors
///
/// When the key is not an Ed25519 private key in PKCS #8.
pub fn sign(claims: &Claims, key_id: &str, key: &EncodingKey) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(key_id.to_owned());
    jsonwebtoken::encode(&header, claims, key)
}
