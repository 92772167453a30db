//! From the wire's types to ours and back, where several requests need the same.

use prost_types::Timestamp;
use secrecy::SecretString;
use tidings_ids::{RequestId, kind};
use tidings_rpc::{Violations, text::TextRule};
use time::OffsetDateTime;

use crate::{
    account::{Email, Identifier, Username},
    password,
};

/// The longest mailed or refresh token that is looked at, as the protos say.
const TOKEN_BYTES_MAX: usize = 1_024;

/// The longest token of any kind that is looked at: access tokens are the longest.
const ANY_TOKEN_BYTES_MAX: usize = 4_096;

/// The longest device token that is looked at; ours have 96.
const DEVICE_TOKEN_BYTES_MAX: usize = 256;

/// The longest identifier, that of an address.
const IDENTIFIER_BYTES_MAX: usize = 254;

pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    let nanos = i32::try_from(time.nanosecond()).expect("below 1,000,000,000");
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos,
    }
}

/// What the fields of this service's requests are read as. Each names the field, notes what is wrong, and gives `None`
/// then.
pub(crate) trait Fields {
    fn username(&mut self, text: &str) -> Option<Username>;
    fn email(&mut self, text: &str) -> Option<Email>;
    fn identifier(&mut self, text: &str) -> Option<Identifier>;
    fn password(&mut self, field: &'static str, rule: TextRule, text: String) -> Option<SecretString>;
    fn text(&mut self, field: &'static str, rule: TextRule, text: String) -> Option<String>;
    fn display_name(&mut self, text: String) -> Option<String>;
    fn token(&mut self, field: &'static str, text: String) -> Option<SecretString>;
    /// A token of whatever kind, with all its bytes.
    fn any_token(&mut self, field: &'static str, text: String) -> Option<SecretString>;
    fn device_token(&mut self, text: String) -> Option<SecretString>;
    fn request_id(&mut self, text: &str) -> Option<RequestId>;
}

impl Fields for Violations {
    fn username(&mut self, text: &str) -> Option<Username> {
        self.check("username", Username::parse(text))
    }

    fn email(&mut self, text: &str) -> Option<Email> {
        self.check("email", Email::parse(text))
    }

    fn identifier(&mut self, text: &str) -> Option<Identifier> {
        let rule = TextRule {
            chars_min: 1,
            chars_max: IDENTIFIER_BYTES_MAX,
            bytes_max: IDENTIFIER_BYTES_MAX,
            ..TextRule::OPTIONAL_NAME
        };
        self.check("identifier", rule.check(text))?;
        Some(Identifier::of(text))
    }

    fn password(&mut self, field: &'static str, rule: TextRule, text: String) -> Option<SecretString> {
        // Into the secret first, so that it is wiped whatever is found.
        let checked = rule.check(&text);
        let secret = SecretString::from(text);
        self.check(field, checked)?;
        Some(secret)
    }

    fn text(&mut self, field: &'static str, rule: TextRule, text: String) -> Option<String> {
        self.check(field, rule.check(&text))?;
        Some(text)
    }

    fn display_name(&mut self, text: String) -> Option<String> {
        // Empty means the username; what is given must show something.
        let rule = if text.is_empty() {
            TextRule::OPTIONAL_NAME
        } else {
            TextRule::NAME
        };
        self.text("display_name", rule, text)
    }

    fn token(&mut self, field: &'static str, text: String) -> Option<SecretString> {
        let rule = TextRule {
            chars_min: 1,
            chars_max: TOKEN_BYTES_MAX,
            bytes_max: TOKEN_BYTES_MAX,
            ..password::PROVEN
        };
        self.password(field, rule, text)
    }

    fn any_token(&mut self, field: &'static str, text: String) -> Option<SecretString> {
        let rule = TextRule {
            chars_min: 1,
            chars_max: ANY_TOKEN_BYTES_MAX,
            bytes_max: ANY_TOKEN_BYTES_MAX,
            ..password::PROVEN
        };
        self.password(field, rule, text)
    }

    fn device_token(&mut self, text: String) -> Option<SecretString> {
        let rule = TextRule {
            chars_min: 0,
            chars_max: DEVICE_TOKEN_BYTES_MAX,
            bytes_max: DEVICE_TOKEN_BYTES_MAX,
            ..password::PROVEN
        };
        let given = !text.is_empty();
        self.password("device_token", rule, text).filter(|_| given)
    }

    fn request_id(&mut self, text: &str) -> Option<RequestId> {
        self.optional_id::<kind::Request>("request_id", text)
    }
}
