use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_authn::SuiteSecret;
use tidings_ids::{AttachmentId, ChatId, Source};
use time::OffsetDateTime;

/// What a URL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// One `PUT` of the announced bytes.
    Upload,
    /// `GET`.
    Download,
}

impl Action {
    /// The path's second part; with the key it binds the method.
    fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

/// A URL that carries its permission in itself. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SignedUrl {
    pub(crate) url: String,
    pub(crate) expire_time: OffsetDateTime,
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedUrl {{ redacted, until {} }}", self.expire_time)
    }
}

/// Signs URLs of files, and checks them.
#[derive(Clone)]
pub(crate) struct MediaUrls {
    key: hmac::Key,
    base: Arc<str>,
    lifetime: Duration,
    source: Source,
}

impl MediaUrls {
    /// URLs that begin with `public_url` and work for `lifetime`.
    pub(crate) fn new(secret: &SuiteSecret, public_url: &str, lifetime: Duration, source: Source) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.derive("media urls"));
        Self {
            key,
            base: public_url.trim_end_matches('/').into(),
            lifetime,
            source,
        }
    }

    /// A URL for one action on one file, from now on.
    pub(crate) fn sign(&self, action: Action, chat_id: ChatId, id: AttachmentId) -> SignedUrl {
        let expires = (self.source.now() + self.lifetime).unix_timestamp();
        let signature = URL_SAFE_NO_PAD.encode(self.tag(action, chat_id, id, expires));
        let (base, action) = (&self.base, action.name());
        let url = format!("{base}/media/{action}/{chat_id}/{id}?expires={expires}&signature={signature}");
        let expire_time = OffsetDateTime::from_unix_timestamp(expires).expect("five minutes from now is a time");
        SignedUrl { url, expire_time }
    }

    /// Whether the URL was signed here for this and is still good.
    pub(crate) fn allows(
        &self,
        action: Action,
        chat_id: ChatId,
        id: AttachmentId,
        expires: i64,
        signature: &str,
    ) -> bool {
        let Ok(given) = URL_SAFE_NO_PAD.decode(signature) else {
            return false;
        };
        let tag = self.tag(action, chat_id, id, expires);
        let is_ours = constant_time::verify_slices_are_equal(&given, &tag).is_ok();
        is_ours && self.source.now().unix_timestamp() < expires
    }

    fn tag(&self, action: Action, chat_id: ChatId, id: AttachmentId, expires: i64) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        // The action's names differ in length, all that follows has a fixed one.
        context.update(action.name().as_bytes());
        context.update(chat_id.uuid().as_bytes());
        context.update(id.uuid().as_bytes());
        context.update(&expires.to_be_bytes());
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for MediaUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MediaUrls {{ {} }}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_authn::SuiteSecret;
    use tidings_ids::{AttachmentId, ChatId, Source};

    use super::{Action, MediaUrls};

    fn signed() -> (MediaUrls, Source, ChatId, AttachmentId, i64, String) {
        let source = Source::seeded(1);
        let secret = SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough");
        let urls = MediaUrls::new(
            &secret,
            "http://localhost:7700/",
            Duration::from_secs(300),
            source.clone(),
        );
        let (chat, id) = (source.new_id(), source.new_id());
        let url = urls.sign(Action::Upload, chat, id);
        let (path, query) = url.url.split_once("?expires=").expect("a query");
        assert_eq!(path, format!("http://localhost:7700/media/upload/{chat}/{id}"));
        let (expires, signature) = query.split_once("&signature=").expect("a signature");
        (
            urls.clone(),
            source,
            chat,
            id,
            expires.parse().expect("a number"),
            signature.to_owned(),
        )
    }

    #[test]
    fn a_url_is_for_one_file_and_one_action() {
        let (urls, source, chat, id, expires, signature) = signed();
        assert!(urls.allows(Action::Upload, chat, id, expires, &signature));
        assert!(!urls.allows(Action::Download, chat, id, expires, &signature));
        assert!(!urls.allows(Action::Upload, source.new_id(), id, expires, &signature));
        assert!(!urls.allows(Action::Upload, chat, source.new_id(), expires, &signature));
        assert!(!urls.allows(Action::Upload, chat, id, expires + 1, &signature));
        assert!(!urls.allows(Action::Upload, chat, id, expires, ""));
        assert!(!urls.allows(Action::Upload, chat, id, expires, &signature[1..]));
    }

    #[test]
    fn a_url_ends_with_its_time() {
        let (urls, source, chat, id, expires, signature) = signed();
        source.advance(Duration::from_secs(299));
        assert!(urls.allows(Action::Upload, chat, id, expires, &signature));
        source.advance(Duration::from_secs(1));
        assert!(!urls.allows(Action::Upload, chat, id, expires, &signature));
    }
}
