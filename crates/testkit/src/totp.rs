//! What an authenticator app shows (RFC 6238).

use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};

/// A code counts for so long.
const STEP_SECS: u64 = 30;

/// The code of six digits that an app with this secret, in Base32, shows at this time, in seconds since 1970.
///
/// # Panics
///
/// When the secret is no Base32.
#[must_use]
pub fn code(secret: &str, unix_secs: u64) -> String {
    let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &base32(secret));
    let step = unix_secs / STEP_SECS;
    let mac = sign(&key, &step.to_be_bytes());
    let mac = mac.as_ref();
    // RFC 4226 section 5.3: four bytes from where the last half-byte says, without their highest bit.
    let at = usize::from(mac[mac.len() - 1] & 0xf);
    let number = u32::from_be_bytes([mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]]);
    format!("{:06}", number % 1_000_000)
}

/// Base32 of RFC 4648, without padding.
fn base32(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => panic!("{letter} is not in Base32"),
        };
        bits = (bits << 5 | u32::from(value)) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_codes_are_those_of_the_standard() {
        // RFC 6238 appendix B has eight digits; an app shows the last six.
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(super::code(secret, time), code, "at {time}");
        }
    }
}
