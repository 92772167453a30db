//! Names, passwords and `request_id`s, made out of the file alone.
//!
//! A second replay, with nothing kept from the first, asks with the same `request_id`s for the same things, and so must get the
//! first answers. Two replays that shall not meet are given different runs.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Builder;

/// The longest username that the API takes.
pub const USERNAME_CHARS_MAX: usize = 32;

/// Digits of base 32 in a username's suffix: 40 bits, in which 15,753 nicknames meet with a chance of one in 9,000, and then only
/// if they look alike too. A survey of the file finds out before anything is sent.
const SUFFIX_CHARS: usize = 8;

/// What follows from the name of a run.
#[derive(Debug, Clone)]
pub struct Identities {
    run: String,
}

impl Identities {
    /// The identities of a run; the empty name is a run too.
    #[must_use]
    pub fn of_run(run: &str) -> Self {
        Self { run: run.to_owned() }
    }

    /// The name of the run.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The username of a nickname: what of it the API takes in any place (`[a-z0-9_-]`, anything else as `-`), shortened, and a
    /// hash of the exact nickname, which tells `Ada` from `ada` and `a{b` from `a|b`. No reserved name ends like that.
    #[must_use]
    pub fn username(&self, nickname: &str) -> String {
        let mut username: String = nickname
            .trim()
            .chars()
            .take(USERNAME_CHARS_MAX - SUFFIX_CHARS - 1)
            .map(|letter| match letter.to_ascii_lowercase() {
                letter @ ('a'..='z' | '0'..='9' | '_' | '-') => letter,
                _ => '-',
            })
            .collect();
        username.push('-');
        let hash = self.hash("username", &[nickname]);
        let digits = hash.iter().take(SUFFIX_CHARS).map(|byte| usize::from(byte % 32));
        username.extend(digits.map(|digit| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[digit])));
        username
    }

    /// The e-mail address of a nickname, under a domain that exists nowhere (RFC 2606).
    #[must_use]
    pub fn email(&self, nickname: &str) -> String {
        format!("{}@load.invalid", self.username(nickname))
    }

    /// The password of a nickname. It is no secret from whoever knows the run's name.
    #[must_use]
    pub fn password(&self, nickname: &str) -> String {
        hex::encode(&self.hash("password", &[nickname])[..16])
    }

    /// The `request_id` of a call: a UUID of version 8, made of the run, the kind of call, and what it is about.
    #[must_use]
    pub fn request_id(&self, kind: &str, about: &[&str]) -> String {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.hash(kind, about)[..16]);
        Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }

    /// A hash of the run, a kind and some parts, each with its length, so that no two lists of parts run together.
    fn hash(&self, kind: &str, parts: &[&str]) -> [u8; 32] {
        let mut text = String::from("tidings-load 1");
        for part in [self.run.as_str(), kind].iter().chain(parts) {
            write!(text, " {}:{part}", part.len()).expect("a string takes any text");
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Identities, USERNAME_CHARS_MAX};

    /// Nicknames as the real file has them: alike but for case, with every odd character that occurs, one letter long, with
    /// spaces in and after, and as long as they come; and 15,000 more.
    fn nicknames() -> Vec<String> {
        let odd = [
            "Ada",
            "ada",
            "ADA",
            "aDa",
            "m",
            "N",
            "_",
            "\\n",
            "\\l",
            "{{",
            "T`",
            "a{b",
            "a|b",
            "a^b",
            "a[b",
            "a]b",
            "a}b",
            "|QuaD-",
            "bob[1] ",
            "bob[1]",
            "bur[n] er",
            "bur[n] er_",
            "[PervertedMonk] ",
            "[ANF] MasterNinja",
            "s_",
            "s__",
            "admin",
            "..",
            "a..b",
            "root",
            "system",
            "tidings",
            "été",
            "日本",
            "\u{FEFF}x",
            "a-b",
            "a.b",
            "a_b",
            "a-nickname-much-longer-than-any-that-the-file-holds",
        ];
        let many = (0..15_000).map(|number| format!("{}{number}", ["Nick", "nick", "Ni|ck", "[nick]"][number % 4]));
        odd.iter().map(ToString::to_string).chain(many).collect()
    }

    #[test]
    fn usernames_are_distinct_also_when_compared_without_case() {
        let identities = Identities::of_run("");
        let nicknames = nicknames();
        let usernames: HashSet<String> = nicknames
            .iter()
            .map(|nickname| identities.username(nickname).to_lowercase())
            .collect();
        assert_eq!(usernames.len(), nicknames.len());
    }

    #[test]
    fn usernames_keep_to_the_rule_of_the_api() {
        let identities = Identities::of_run("");
        for nickname in nicknames() {
            let username = identities.username(&nickname);
            assert!((2..=USERNAME_CHARS_MAX).contains(&username.len()), "{username}");
            // Dots are allowed too, but not everywhere in an address.
            let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
            assert!(username.bytes().all(allowed), "{username}");
            assert!(identities.email(&nickname).len() <= 254);
            assert!((8..=256).contains(&identities.password(&nickname).len()));
        }
    }

    #[test]
    fn a_second_run_of_the_tool_makes_the_same_names_and_another_run_makes_others() {
        let (first, again, other) = (Identities::of_run(""), Identities::of_run(""), Identities::of_run("b"));
        assert_eq!(first.username("Ada"), again.username("Ada"));
        assert_eq!(first.username("Ada"), "ada-".to_owned() + &again.username("Ada")[4..]);
        assert_ne!(first.username("Ada"), other.username("Ada"));
        assert_eq!(
            first.request_id("send", &["log", "1"]),
            again.request_id("send", &["log", "1"])
        );
        assert_ne!(
            first.request_id("send", &["log", "1"]),
            other.request_id("send", &["log", "1"])
        );
    }

    #[test]
    fn request_ids_are_canonical_uuids_that_differ_by_each_part() {
        let identities = Identities::of_run("");
        let id = identities.request_id("send", &["a", "bc"]);
        assert_eq!((id.len(), &id[14..15]), (36, "8"));
        assert_eq!(id, id.to_lowercase());
        assert_ne!(id, identities.request_id("send", &["ab", "c"]));
        assert_ne!(id, identities.request_id("register", &["a", "bc"]));
    }
}
