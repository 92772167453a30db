//! Devices that have logged in before (OWASP's "device cookies"): each login gives a token that the next one on the device shows, so
//! that its failures are counted apart from everybody else's.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_authn::SuiteSecret;
use tidings_ids::{Source, UserId};
use time::{Duration, OffsetDateTime};

/// A device that nobody has logged in on for so long is one like any other.
const KNOWN_FOR: Duration = Duration::days(180);

/// A device, as one account knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub id: [u8; 16],
}

/// Makes and reads device tokens: 16 bytes that name the device, 16 the account, 8 the time of issue in seconds since 1970, 32 of
/// HMAC-SHA256 over them, in base64url. Nothing of them is stored.
#[derive(Debug)]
pub(crate) struct DeviceTokens {
    key: hmac::Key,
}

impl DeviceTokens {
    const SIGNED: usize = 16 + 16 + 8;

    pub(crate) fn new(secret: &SuiteSecret) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret.derive("device tokens")),
        }
    }

    /// The token of a device on which this account has logged in now: of a known one, or a new one.
    pub(crate) fn issue(&self, device: Option<&Device>, user_id: UserId, source: &Source) -> String {
        let id = device.map_or_else(|| source.random(), |device| device.id);
        let mut bytes = Vec::with_capacity(Self::SIGNED + 32);
        bytes.extend_from_slice(&id);
        bytes.extend_from_slice(user_id.uuid().as_bytes());
        bytes.extend_from_slice(&source.now().unix_timestamp().to_be_bytes());
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The device that the text names, if it is one of this account's.
    pub(crate) fn read(&self, text: &str, user_id: UserId, now: OffsetDateTime) -> Option<Device> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, tag) = bytes.split_at_checked(Self::SIGNED)?;
        hmac::verify(&self.key, signed, tag).ok()?;
        let (id, rest) = signed.split_at(16);
        let (account, issued) = rest.split_at(16);
        let issued = i64::from_be_bytes(issued.try_into().ok()?);
        let issued = OffsetDateTime::from_unix_timestamp(issued).ok()?;
        let known = account == user_id.uuid().as_bytes() && now < issued + KNOWN_FOR;
        Some(Device {
            id: id.try_into().ok()?,
        })
        .filter(|_| known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_to_its_account_for_half_a_year() {
        let source = Source::seeded(1);
        let secret =
            |text: &str| SuiteSecret::new(&format!("{text}-0c9f6ad2b1e84e7fa3d5c7b09d1e2f34")).expect("long enough");
        let tokens = DeviceTokens::new(&secret("a"));
        let (ada, eve): (UserId, UserId) = (source.new_id(), source.new_id());
        let text = tokens.issue(None, ada, &source);
        let device = tokens.read(&text, ada, source.now()).expect("known");
        assert_eq!(tokens.read(&text, eve, source.now()), None);
        assert_eq!(DeviceTokens::new(&secret("b")).read(&text, ada, source.now()), None);
        for end in 0..text.len() {
            assert_eq!(tokens.read(&text[..end], ada, source.now()), None, "{end} characters");
        }
        assert_eq!(tokens.read(&format!("{text}A"), ada, source.now()), None);

        source.advance(std::time::Duration::from_secs(100 * 24 * 3_600));
        let renewed = tokens.issue(Some(&device), ada, &source);
        source.advance(std::time::Duration::from_secs(100 * 24 * 3_600));
        assert_eq!(tokens.read(&text, ada, source.now()), None, "too old");
        assert_eq!(tokens.read(&renewed, ada, source.now()), Some(device));
    }
}
