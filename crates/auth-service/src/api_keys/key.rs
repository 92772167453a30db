//! The text of a key.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use tidings_ids::{ApiKeyId, Source};
use uuid::Uuid;

/// What every key begins with, so that scanners find one that was published.
const PREFIX: &str = "tdk_";

/// The id and the secret.
const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

pub(super) fn generate(api_key_id: ApiKeyId, source: &Source) -> SecretString {
    let secret: [u8; SECRET_BYTES] = source.random();
    let bytes = [api_key_id.uuid().as_bytes().as_slice(), &secret].concat();
    SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The id in a key.
pub(super) fn read(text: &str) -> Option<ApiKeyId> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
    let (id, secret) = bytes.split_at_checked(ID_BYTES)?;
    let id = Uuid::from_slice(id).ok()?;
    (secret.len() == SECRET_BYTES).then(|| ApiKeyId::from_uuid(id))
}

pub(super) fn hash(text: &SecretString) -> [u8; 32] {
    let digest = digest(&SHA256, text.expose_secret().as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// 24 of the 256 bits are shown, to tell keys apart by.
pub(super) fn hint(text: &SecretString) -> String {
    let text = text.expose_secret();
    let tail = text.len().checked_sub(4).and_then(|start| text.get(start..));
    format!("{PREFIX}…{}", tail.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use tidings_ids::{ApiKeyId, Source};

    use super::{generate, hash, hint, read};

    #[test]
    fn a_key_names_its_id_and_every_other_text_is_another_key() {
        let source = Source::seeded(1);
        let id: ApiKeyId = source.new_id();
        let key = generate(id, &source);
        let text = key.expose_secret();
        assert_eq!((text.len(), read(text)), (68, Some(id)));
        assert_ne!(
            text,
            generate(id, &source).expose_secret(),
            "the secret is a new one each time"
        );
        assert_eq!(hint(&key), format!("tdk_…{}", &text[64..]));
        for length in 0..text.len() {
            assert_eq!(read(&text[..length]), None, "{length}");
        }
        for other in [
            format!("{text}A"),
            format!("{text}="),
            format!(" {text}"),
            text.replacen("tdk_", "TDK_", 1),
        ] {
            assert_eq!(read(&other), None, "{other}");
        }
        for index in 0..text.len() {
            let mut altered = text.as_bytes().to_vec();
            altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).expect("ASCII");
            assert_ne!(hash(&altered.into()), hash(&key), "{index}");
        }
    }
}
