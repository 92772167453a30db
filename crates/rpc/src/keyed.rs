//! What is authenticated with a key of the suite: page tokens and the hashes of requests.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_authn::SuiteSecret;
use tidings_ids::UserId;
use tidings_proto_common::v1::ErrorReason;

use crate::Problem;

/// Makes and reads page tokens. A token holds where the next page begins, and a MAC over that, the caller, the RPC and its
/// arguments: it is worth nothing to anybody else or anywhere else.
#[derive(Clone)]
pub struct PageTokens {
    key: hmac::Key,
}

/// What a page token is bound to.
#[derive(Debug, Clone, Copy)]
pub struct PageScope<'a> {
    /// Who pages.
    pub caller: UserId,
    /// The RPC, as `tidings.chat.v1.ChatService/ListChats`.
    pub method: &'a str,
    /// The arguments that choose and order the list, such as the chat's id, in any fixed encoding.
    pub arguments: &'a [u8],
}

impl PageTokens {
    /// Bytes of the MAC in a token.
    const TAG_BYTES: usize = 16;

    /// Longer tokens are refused unread.
    const TOKEN_CHARS_MAX: usize = 65_536;

    /// The tokens of the deployment with this secret.
    #[must_use]
    pub fn new(secret: &SuiteSecret) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret.derive("page tokens")),
        }
    }

    /// The token for the page that begins at `cursor`.
    #[must_use]
    pub fn issue(&self, scope: PageScope<'_>, cursor: &[u8]) -> String {
        let mut bytes = self.tag(scope, cursor).to_vec();
        bytes.extend_from_slice(cursor);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The cursor in a token; `None` for the empty token, which asks for the first page.
    ///
    /// # Errors
    ///
    /// `PAGE_TOKEN_INVALID` for a token that was not issued for this scope.
    pub fn read(&self, scope: PageScope<'_>, token: &str) -> Result<Option<Vec<u8>>, Problem> {
        if token.is_empty() {
            return Ok(None);
        }
        let invalid = || {
            Problem::new(ErrorReason::PageTokenInvalid)
                .with_field("page_token", "must be empty or come from this call's previous page")
        };
        if token.len() > Self::TOKEN_CHARS_MAX {
            return Err(invalid());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let (tag, cursor) = bytes.split_at_checked(Self::TAG_BYTES).ok_or_else(invalid)?;
        constant_time::verify_slices_are_equal(tag, &self.tag(scope, cursor)).map_err(|_| invalid())?;
        Ok(Some(cursor.to_vec()))
    }

    fn tag(&self, scope: PageScope<'_>, cursor: &[u8]) -> [u8; Self::TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(scope.caller.uuid().as_bytes());
        for part in [scope.method.as_bytes(), scope.arguments, cursor] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref()[..Self::TAG_BYTES]
            .try_into()
            .expect("SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for PageTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageTokens")
    }
}

/// Hashes requests, to tell a repetition from another request under the same `request_id`. Keyed, so that a hash in the
/// database gives nothing of the request away.
#[derive(Clone)]
pub struct RequestHasher {
    key: hmac::Key,
}

impl RequestHasher {
    /// The hasher of the deployment with this secret.
    #[must_use]
    pub fn new(secret: &SuiteSecret) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret.derive("request hashes")),
        }
    }

    /// The hash of a request. The caller empties its `request_id` and its secrets first.
    #[must_use]
    pub fn hash(&self, method: &str, request: &impl prost::Message) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(method.as_bytes());
        context.update(&[0]);
        context.update(&request.encode_to_vec());
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for RequestHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestHasher")
    }
}

/// The number of things on a page: the default for 0, the maximum for more.
///
/// # Errors
///
/// `FIELD_INVALID` for a negative number.
pub fn page_size(requested: i32, default: u32, max: u32) -> Result<u32, Problem> {
    match u32::try_from(requested) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(max)),
        Err(_) => Err(Problem::field("page_size", "must not be negative")),
    }
}

#[cfg(test)]
mod tests {
    use tidings_authn::SuiteSecret;
    use tidings_ids::Source;

    use super::{PageScope, PageTokens, page_size};

    #[test]
    fn a_page_token_is_bound_to_caller_method_and_arguments() {
        let source = Source::seeded(1);
        let tokens =
            PageTokens::new(&SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough"));
        let scope = PageScope {
            caller: source.new_id(),
            method: "a/List",
            arguments: b"chat",
        };
        let token = tokens.issue(scope, b"cursor");
        assert_eq!(tokens.read(scope, &token), Ok(Some(b"cursor".to_vec())));
        assert_eq!(tokens.read(scope, ""), Ok(None));
        let others = [
            PageScope {
                caller: source.new_id(),
                ..scope
            },
            PageScope {
                method: "b/List",
                ..scope
            },
            PageScope {
                arguments: b"other",
                ..scope
            },
        ];
        for other in others {
            assert!(tokens.read(other, &token).is_err());
        }
    }

    #[test]
    fn a_changed_page_token_is_refused() {
        let source = Source::seeded(1);
        let tokens =
            PageTokens::new(&SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough"));
        let scope = PageScope {
            caller: source.new_id(),
            method: "a/List",
            arguments: b"",
        };
        let token = tokens.issue(scope, b"cursor");
        for end in 1..token.len() {
            assert!(tokens.read(scope, &token[..end]).is_err(), "the first {end} characters");
        }
        assert!(tokens.read(scope, &format!("{token}A")).is_err());
        assert!(tokens.read(scope, "' or 1=1 --").is_err());
    }

    #[test]
    fn page_sizes_are_defaulted_and_coerced_but_not_negative() {
        assert_eq!(page_size(0, 50, 200), Ok(50));
        assert_eq!(page_size(7, 50, 200), Ok(7));
        assert_eq!(page_size(i32::MAX, 50, 200), Ok(200));
        assert!(page_size(-1, 50, 200).is_err());
    }
}
