//! The refresh tree: which refresh token of a login session works, and what the others mean. Pure: no clock, no
//! database.
//!
//! A login session is a family of tokens, each made from the one before. Only the newest, the leaf, works, and once. Of
//! a family we keep two hashes: of the leaf and of its parent. That a token is one of ours at all is proven by its
//! signature, so an older one is told from a forgery without being stored.
//!
//! The successor of a token is computed from it and from the `request_id` of the refresh. Whoever lost the answer and
//! asks again with the same token and `request_id` gets the same successor, though it is stored nowhere.

use aws_lc_rs::{
    constant_time,
    digest::{SHA256, digest},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_authn::SuiteSecret;
use tidings_ids::{LoginSessionId, RequestId, Source};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// SHA-256 of a token's text.
pub(crate) type TokenHash = [u8; 32];

/// A lost answer is given again for so long (`reliability.md` G23).
const REPEATABLE_FOR: Duration = Duration::seconds(30);

/// A refresh token that carries our signature.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    text: String,
    session: LoginSessionId,
}

impl RefreshToken {
    /// The login session that it says it belongs to.
    pub(crate) fn session(&self) -> LoginSessionId {
        self.session
    }

    /// What the database keeps of it.
    pub(crate) fn hash(&self) -> TokenHash {
        sha256(self.text.as_bytes())
    }

    /// The token itself, for the answer to its owner.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RefreshToken {{ session: {} }}", self.session)
    }
}

/// Makes and reads refresh tokens: 16 bytes that name the login session, 32 that nobody can guess, 32 of HMAC-SHA256
/// over both, in base64url.
#[derive(Debug)]
pub(crate) struct RefreshTokens {
    signature: hmac::Key,
    succession: hmac::Key,
}

impl RefreshTokens {
    const BYTES: usize = 16 + 32 + 32;

    pub(crate) fn new(secret: &SuiteSecret) -> Self {
        let key = |label| hmac::Key::new(hmac::HMAC_SHA256, &secret.derive(label));
        Self {
            signature: key("refresh token signatures"),
            succession: key("refresh token succession"),
        }
    }

    /// The first token of a login session.
    pub(crate) fn first(&self, session: LoginSessionId, source: &Source) -> RefreshToken {
        self.issue(session, source.random())
    }

    /// The token that a refresh of `parent` by this request makes: always the same one.
    pub(crate) fn successor(&self, parent: &RefreshToken, request_id: RequestId) -> RefreshToken {
        let mut context = hmac::Context::with_key(&self.succession);
        context.update(request_id.uuid().as_bytes());
        context.update(parent.text.as_bytes());
        self.issue(parent.session, bytes(context.sign().as_ref()))
    }

    /// The token with this text, if we made it. Another spelling of the same bytes is not read.
    pub(crate) fn read(&self, text: &str) -> Option<RefreshToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        if bytes.len() != Self::BYTES {
            return None;
        }
        let (signed, signature) = bytes.split_at(Self::BYTES - 32);
        hmac::verify(&self.signature, signed, signature).ok()?;
        let session = LoginSessionId::from_uuid(Uuid::from_slice(&signed[..16]).ok()?);
        Some(RefreshToken {
            text: text.to_owned(),
            session,
        })
    }

    fn issue(&self, session: LoginSessionId, secret: [u8; 32]) -> RefreshToken {
        let mut token = Vec::with_capacity(Self::BYTES);
        token.extend_from_slice(session.uuid().as_bytes());
        token.extend_from_slice(&secret);
        let signature = hmac::sign(&self.signature, &token);
        token.extend_from_slice(signature.as_ref());
        RefreshToken {
            text: URL_SAFE_NO_PAD.encode(token),
            session,
        }
    }
}

/// What is kept of a family of refresh tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family {
    /// The token that works.
    pub leaf: TokenHash,
    /// The one that the leaf was made from; none for a family's first.
    pub parent: Option<Parent>,
    /// The leaf works until then.
    pub idle_expire_time: OffsetDateTime,
    /// No leaf works from then on.
    pub expire_time: OffsetDateTime,
    /// The login session has ended.
    pub ended: bool,
}

/// The token that was spent last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    /// Which.
    pub hash: TokenHash,
    /// By which request.
    pub request_id: RequestId,
    /// When.
    pub spent_time: OffsetDateTime,
}

/// What a token of the family means when it is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the leaf: spend it.
    Spend,
    /// It was spent by this very request, whose answer was lost: give the leaf again.
    Repeat,
    /// It was spent before: somebody has a copy, so end the login session.
    Reused,
    /// The login session has ended.
    Ended,
    /// The family's time is over.
    Expired,
}

impl Family {
    /// What it means that `token`, which carries our signature, is presented now.
    pub(crate) fn judge(&self, token: TokenHash, request_id: Option<RequestId>, now: OffsetDateTime) -> Verdict {
        if self.ended {
            return Verdict::Ended;
        }
        if now >= self.expire_time || now >= self.idle_expire_time {
            return Verdict::Expired;
        }
        if equal(&self.leaf, &token) {
            return Verdict::Spend;
        }
        let lost_answer = self.parent.as_ref().is_some_and(|parent| {
            equal(&parent.hash, &token)
                && request_id == Some(parent.request_id)
                && now <= parent.spent_time + REPEATABLE_FOR
        });
        if lost_answer { Verdict::Repeat } else { Verdict::Reused }
    }
}

/// SHA-256.
pub(crate) fn sha256(text: &[u8]) -> TokenHash {
    bytes(digest(&SHA256, text).as_ref())
}

fn bytes(slice: &[u8]) -> [u8; 32] {
    slice.try_into().expect("SHA-256 has 32 bytes")
}

fn equal(a: &TokenHash, b: &TokenHash) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens() -> RefreshTokens {
        RefreshTokens::new(&SuiteSecret::new("0c9f6ad2b1e84e7fa3d5c7b09d1e2f34a5b6c7d8").expect("long enough"))
    }

    /// A family in memory, driven as the store drives one.
    struct Model {
        source: Source,
        tokens: RefreshTokens,
        family: Family,
        /// Every token that was ever handed out, in order.
        handed: Vec<RefreshToken>,
    }

    #[derive(Debug, PartialEq)]
    enum Answer {
        Pair(String),
        Refused(Verdict),
    }

    impl Model {
        fn new() -> Self {
            let (source, tokens) = (Source::seeded(1), tokens());
            let first = tokens.first(source.new_id(), &source);
            let now = source.now();
            let family = Family {
                leaf: first.hash(),
                parent: None,
                idle_expire_time: now + Duration::days(30),
                expire_time: now + Duration::days(90),
                ended: false,
            };
            Self {
                source,
                tokens,
                family,
                handed: vec![first],
            }
        }

        fn present(&mut self, token: &RefreshToken, request_id: Option<RequestId>) -> Answer {
            let now = self.source.now();
            match self.family.judge(token.hash(), request_id, now) {
                Verdict::Spend => {
                    let request_id = request_id.unwrap_or_else(|| self.source.new_id());
                    let successor = self.tokens.successor(token, request_id);
                    self.family.parent = Some(Parent {
                        hash: token.hash(),
                        request_id,
                        spent_time: now,
                    });
                    self.family.leaf = successor.hash();
                    self.family.idle_expire_time = now + Duration::days(30);
                    self.handed.push(successor.clone());
                    Answer::Pair(successor.into_text())
                }
                Verdict::Repeat => Answer::Pair(
                    self.tokens
                        .successor(token, request_id.expect("only with one"))
                        .into_text(),
                ),
                Verdict::Reused => {
                    self.family.ended = true;
                    Answer::Refused(Verdict::Reused)
                }
                verdict => Answer::Refused(verdict),
            }
        }

        /// The tokens that would be spent if they were presented now.
        fn live(&self) -> usize {
            let now = self.source.now();
            self.handed
                .iter()
                .filter(|token| self.family.judge(token.hash(), None, now) == Verdict::Spend)
                .count()
        }
    }

    #[test]
    fn a_lost_answer_is_given_again_for_thirty_seconds() {
        let mut model = Model::new();
        let (first, request) = (model.handed[0].clone(), model.source.new_id());
        let answer = model.present(&first, Some(request));
        model.source.advance(std::time::Duration::from_secs(30));
        assert_eq!(model.present(&first, Some(request)), answer);
        model.source.advance(std::time::Duration::from_secs(1));
        assert_eq!(model.present(&first, Some(request)), Answer::Refused(Verdict::Reused));
        assert_eq!(model.live(), 0);
    }

    #[test]
    fn a_lost_answer_is_not_given_again_once_its_token_was_used() {
        let mut model = Model::new();
        let (first, request) = (model.handed[0].clone(), model.source.new_id());
        model.present(&first, Some(request));
        let second = model.handed[1].clone();
        model.present(&second, Some(model.source.new_id()));
        assert_eq!(model.present(&first, Some(request)), Answer::Refused(Verdict::Reused));
    }

    #[test]
    fn whoever_comes_second_with_a_stolen_token_ends_the_family() {
        for request_of_second in [None, Some(Source::seeded(7).new_id())] {
            let mut model = Model::new();
            let first = model.handed[0].clone();
            let request = model.source.new_id();
            assert!(matches!(model.present(&first, Some(request)), Answer::Pair(_)));
            assert_eq!(
                model.present(&first, request_of_second),
                Answer::Refused(Verdict::Reused)
            );
            let second = model.handed[1].clone();
            assert_eq!(model.present(&second, None), Answer::Refused(Verdict::Ended));
        }
    }

    #[test]
    fn a_family_ends_by_itself_when_it_is_idle_and_when_it_is_old() {
        let mut model = Model::new();
        let day = std::time::Duration::from_secs(24 * 3_600);
        for _ in 0..8 {
            model.source.advance(day * 10);
            let leaf = model.handed.last().expect("at least the first").clone();
            assert!(matches!(model.present(&leaf, None), Answer::Pair(_)));
        }
        model.source.advance(day * 10);
        let leaf = model.handed.last().expect("at least the first").clone();
        assert_eq!(model.present(&leaf, None), Answer::Refused(Verdict::Expired));

        let mut idle = Model::new();
        idle.source.advance(day * 30);
        let leaf = idle.handed[0].clone();
        assert_eq!(idle.present(&leaf, None), Answer::Refused(Verdict::Expired));
    }

    #[test]
    fn only_the_exact_text_of_a_token_is_read() {
        let (tokens, source) = (tokens(), Source::seeded(1));
        let text = tokens.first(source.new_id(), &source).into_text();
        assert!(tokens.read(&text).is_some());
        for end in 0..text.len() {
            assert!(tokens.read(&text[..end]).is_none(), "the first {end} characters");
        }
        let swapped: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_uppercase() {
                    c.to_ascii_lowercase()
                } else {
                    c.to_ascii_uppercase()
                }
            })
            .collect();
        let mut variants = vec![
            format!("{text}="),
            format!("{text}A"),
            format!(" {text}"),
            format!("{text}\n"),
            swapped,
            text.replace('-', "+").replace('_', "/") + "==",
        ];
        // The last character holds bits that no byte needs: others that mean the same bytes are not the same token.
        let last = text.chars().last().expect("not empty");
        variants.extend(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                .chars()
                .filter(|c| *c != last)
                .map(|c| format!("{}{c}", &text[..text.len() - 1])),
        );
        for variant in variants {
            assert!(tokens.read(&variant).is_none(), "{variant:?}");
        }
        let other =
            RefreshTokens::new(&SuiteSecret::new("another-0c9f6ad2b1e84e7fa3d5c7b09d1e2f34").expect("long enough"));
        assert!(other.read(&text).is_none());
    }

    proptest! {
        /// Whatever is presented in whatever order: at most one token works, a repeated answer is the same answer, and
        /// after one reuse nothing works any more.
        #[test]
        fn a_family_never_has_two_live_leaves(steps in prop::collection::vec((0usize..6, 0u64..4, 0u64..25), 1..60)) {
            let mut model = Model::new();
            let requests: Vec<RequestId> = (0..3).map(|_| model.source.new_id()).collect();
            let mut reused = false;
            let mut answers = std::collections::HashMap::new();
            for (back, request, seconds) in steps {
                model.source.advance(std::time::Duration::from_secs(seconds));
                let index = model.handed.len() - 1 - back.min(model.handed.len() - 1);
                let token = model.handed[index].clone();
                let request = usize::try_from(request).ok().and_then(|index| requests.get(index)).copied();
                match model.present(&token, request) {
                    Answer::Pair(text) => {
                        prop_assert!(!reused);
                        if let Some(request) = request {
                            let first = answers.entry((token.into_text(), request)).or_insert_with(|| text.clone());
                            prop_assert_eq!(&*first, &text);
                        }
                    }
                    Answer::Refused(verdict) => reused |= verdict == Verdict::Reused,
                }
                prop_assert_eq!(model.live(), usize::from(!reused));
            }
        }
    }
}
