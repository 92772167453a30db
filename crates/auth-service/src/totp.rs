//! Codes of authenticator apps (RFC 6238), and recovery codes. Pure: what was used already is the store's to know.

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use tidings_authn::SuiteSecret;
use tidings_ids::{Source, UserId};
use time::OffsetDateTime;
use totp_rs::{Algorithm, Builder, Totp};

use crate::{Error, seal::Seal};

/// What every app can do: SHA-1 (as a MAC it is sound), 6 digits, steps of 30 seconds.
const DIGITS: u8 = 6;
const STEP_SECONDS: u64 = 30;

/// A code is taken one step early or late, for clocks that differ (RFC 6238, 5.2, recommends at most one for delays).
const SKEW_STEPS: u16 = 1;

/// The length of a SHA-1, which RFC 4226 recommends.
const SECRET_BYTES: usize = 20;

/// The name that apps show beside the user's.
const ISSUER: &str = "Tidings";

/// Recovery codes that an account gets.
pub(crate) const RECOVERY_CODES: usize = 10;

/// 80 bits in Base32 without padding are 16 characters, in 4 groups of 4.
const RECOVERY_CODE_BYTES: usize = 10;
const GROUP_CHARS: usize = 4;

/// RFC 4648, in small letters: what is read from paper is never mistaken for another one of it.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A secret as its owner sees it once.
pub(crate) struct Enrolment {
    pub secret: String,
    pub otpauth_url: String,
    pub sealed: Vec<u8>,
}

/// Makes and checks codes of a deployment.
pub(crate) struct Codes {
    seal: Seal,
    recovery: hmac::Key,
}

/// A recovery code as the store knows it.
pub(crate) type CodeHash = [u8; 32];

impl Codes {
    pub(crate) fn new(secret: &SuiteSecret) -> Self {
        Self {
            seal: Seal::new(secret, "totp secrets"),
            recovery: hmac::Key::new(hmac::HMAC_SHA256, &secret.derive("recovery codes")),
        }
    }

    /// A new secret for an app.
    pub(crate) fn enrol(&self, source: &Source, user_id: UserId, username: &str) -> Result<Enrolment, Error> {
        let bytes: [u8; SECRET_BYTES] = source.random();
        let totp = totp(&bytes, username)?;
        let otpauth_url = totp
            .to_url()
            .map_err(|error| Error::Internal(format!("an otpauth URL could not be made: {error}")))?;
        Ok(Enrolment {
            secret: totp.secret().to_base32(),
            otpauth_url,
            sealed: self.seal.seal(source, user_id.uuid().as_bytes(), &bytes)?,
        })
    }

    /// The time step that the code is of, if it is one of the secret's at this time.
    pub(crate) fn step(
        &self,
        user_id: UserId,
        sealed: &[u8],
        code: &SecretString,
        now: OffsetDateTime,
    ) -> Result<Option<i64>, Error> {
        let secret = match self.seal.open(user_id.uuid().as_bytes(), sealed) {
            Ok(secret) => secret,
            Err(error) => {
                // Sealed with another secret of auth's: no code is right until the app is set up anew.
                tracing::error!(%error, %user_id, "an authenticator app cannot be used");
                return Ok(None);
            }
        };
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let step = totp(&secret, "user")?.check(code.expose_secret(), seconds);
        Ok(step.and_then(|step| i64::try_from(step).ok()))
    }

    /// New recovery codes.
    pub(crate) fn recovery_codes(source: &Source) -> [String; RECOVERY_CODES] {
        std::array::from_fn(|_| recovery_code(&source.random::<RECOVERY_CODE_BYTES>()))
    }

    /// What the store knows a recovery code by: a MAC with auth's own key over the owner and the code, so that whoever reads
    /// the database has nothing to guess with. Hyphens, spaces and the case of letters do not count.
    pub(crate) fn recovery_hash(&self, user_id: UserId, code: &str) -> CodeHash {
        let plain: String = code
            .chars()
            .filter(|c| !matches!(c, '-' | ' '))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let mut context = hmac::Context::with_key(&self.recovery);
        context.update(user_id.uuid().as_bytes());
        context.update(plain.as_bytes());
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codes")
    }
}

fn totp(secret: &[u8], username: &str) -> Result<Totp, Error> {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(DIGITS)
        .with_skew(SKEW_STEPS)
        .with_step_duration(STEP_SECONDS)
        .with_issuer(Some(ISSUER))
        .with_account_name(username)
        .with_secret(secret.to_vec())
        .build()
        .map_err(|error| Error::Internal(format!("a stored secret makes no codes: {error}")))
}

fn recovery_code(bytes: &[u8; RECOVERY_CODE_BYTES]) -> String {
    let (mut text, mut buffer, mut bits) = (String::with_capacity(20), 0_u32, 0);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            if text.len() % (GROUP_CHARS + 1) == GROUP_CHARS {
                text.push('-');
            }
            text.push(char::from(BASE32[(buffer >> bits & 31) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tidings_authn::SuiteSecret;
    use tidings_ids::{Source, UserId};
    use time::OffsetDateTime;
    use totp_rs::Secret;

    use super::{Codes, RECOVERY_CODES, recovery_code, totp};

    fn codes() -> Codes {
        Codes::new(&SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough"))
    }

    fn at(seconds: u64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).expect("small")).expect("a time")
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, the last 6 of its 8 digits.
        let totp = totp(b"12345678901234567890", "ada").expect("made");
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            assert_eq!(totp.generate(seconds).to_string(), code);
        }
    }

    #[test]
    fn a_code_is_taken_one_step_early_or_late_and_by_its_owner_only() {
        let (codes, source) = (codes(), Source::seeded(1));
        let (ada, eve): (UserId, UserId) = (source.new_id(), source.new_id());
        let enrolment = codes.enrol(&source, ada, "ada").expect("made");
        assert_eq!(enrolment.secret.len(), 32);
        let secret = Secret::try_from_base32(&enrolment.secret).expect("Base32");
        let app = totp(secret.as_bytes(), "ada").expect("made");
        let (code, step) = (app.generate(1_000_000_000).to_string(), 1_000_000_000 / 30);
        let taken = |seconds| {
            codes
                .step(ada, &enrolment.sealed, &code.clone().into(), at(seconds))
                .expect("checked")
        };
        let begin = u64::try_from(step).expect("small") * 30;
        assert_eq!(taken(begin), Some(step));
        assert_eq!(taken(begin - 30), Some(step), "one step early");
        assert_eq!(taken(begin + 59), Some(step), "one step late");
        assert_eq!(taken(begin + 60), None);
        assert_eq!(taken(begin - 31), None);
        for wrong in ["", "12345", "1234567", "+12345", " 12345", "abcdef", "１２３４５６"] {
            let step = codes
                .step(ada, &enrolment.sealed, &wrong.into(), at(begin))
                .expect("checked");
            assert_eq!(step, None, "{wrong:?}");
        }
        let eves = codes.step(eve, &enrolment.sealed, &code.into(), at(begin));
        assert_eq!(eves.expect("checked"), None);
        assert!(
            enrolment.otpauth_url.starts_with("otpauth://totp/Tidings:ada?secret="),
            "{}",
            enrolment.otpauth_url
        );
    }

    #[test]
    fn recovery_codes_have_80_bits_and_are_read_as_they_are_typed() {
        assert_eq!(recovery_code(&[0; 10]), "aaaa-aaaa-aaaa-aaaa");
        assert_eq!(recovery_code(&[255; 10]), "7777-7777-7777-7777");
        let (codes, source) = (codes(), Source::seeded(1));
        let (ada, eve): (UserId, UserId) = (source.new_id(), source.new_id());
        let made = Codes::recovery_codes(&source);
        let distinct: std::collections::HashSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), RECOVERY_CODES);
        let code = &made[0];
        assert_eq!(code.len(), 19, "{code}");
        let hash = codes.recovery_hash(ada, code);
        assert_eq!(hash, codes.recovery_hash(ada, &code.to_uppercase().replace('-', " ")));
        assert_ne!(hash, codes.recovery_hash(eve, code));
        assert_ne!(hash, codes.recovery_hash(ada, &code[..18]));
        assert_ne!(hash, codes.recovery_hash(ada, &made[1]));
    }
}
