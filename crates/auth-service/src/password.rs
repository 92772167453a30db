//! Passwords: what they may be, and how they are hashed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use secrecy::{ExposeSecret as _, SecretString};
use tidings_ids::Source;
use tidings_rpc::text::TextRule;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    Error,
    auth::Auth,
    store::accounts::{self, Account},
};

/// A password that is being set: 8 to 256 code points (at most 1,024 bytes, checked before anything is hashed), taken
/// as they come: nothing is trimmed, cut off or normalised, so that the same word typed in another Unicode form is
/// another password. Control characters, NUL among them, are refused, since hardly anybody can type them twice.
pub(crate) const NEW: TextRule = TextRule {
    chars_min: 8,
    chars_max: 256,
    bytes_max: 1_024,
    multiline: false,
    plain: false,
    visible: false,
};

/// A password that is being proven. A short one is merely wrong.
pub(crate) const PROVEN: TextRule = TextRule { chars_min: 1, ..NEW };

/// OWASP's minimum for Argon2id and `reliability.md` D12: 19 MiB, two passes, one lane. 35 ms on the machine that was
/// measured.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Verified against where there is no account, so that the work is the same: the parameters of a real hash, and a
/// digest of zeros that no password has.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whether a stored hash is weaker than those that are made now.
pub(crate) fn is_outdated(hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    let same_kind = hash.algorithm == Algorithm::Argon2id.ident() && hash.version == Some(Version::V0x13.into());
    let strong = Params::try_from(&hash)
        .is_ok_and(|params| params.m_cost() >= MEMORY_KIB && params.t_cost() >= PASSES && params.p_cost() >= LANES);
    !(same_kind && strong)
}

/// Has a proven password hashed anew and stored in place of the account's weaker hash. The login does not wait for it, and
/// nothing of it shows: what fails, for overload too, is tried again at the next login.
pub(crate) fn upgrade_soon(auth: &Auth, account: &Account, password: SecretString) {
    let (hasher, source, pool) = (auth.passwords.clone(), auth.source().clone(), auth.pool.clone());
    let (user_id, old) = (account.user_id, account.password_hash.clone());
    auth.env.drain.spawn(async move {
        let outcome = async {
            let new = hasher.hash(password, &source).await?;
            accounts::upgrade_password(&pool, user_id, &old, &new).await?;
            Ok::<_, Error>(())
        };
        match outcome.await {
            Ok(()) => tracing::info!(%user_id, "a password was hashed anew, with stronger parameters"),
            Err(error) => tracing::warn!(%error, %user_id, "a password could not be hashed anew yet"),
        }
    });
}

/// Hashes passwords, few at a time: a flood of logins leaves the rest of the process responsive.
#[derive(Debug, Clone)]
pub(crate) struct Hasher {
    at_work: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    runs: Arc<AtomicU64>,
}

impl Hasher {
    /// So many may wait: about a second of work (`reliability.md` A54).
    const WAITING_MAX: usize = 32;

    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let permits = cores.saturating_sub(1).max(1);
        Self {
            at_work: Arc::new(Semaphore::new(permits)),
            admitted: Arc::new(Semaphore::new(permits + Self::WAITING_MAX)),
            runs: Arc::default(),
        }
    }

    /// How often a password has been hashed, which tests compare between paths that must not be told apart.
    pub(crate) fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// The hash of a new password, in the PHC string format.
    pub(crate) async fn hash(&self, password: SecretString, source: &Source) -> Result<String, Error> {
        let salt: [u8; 16] = source.random();
        self.run(move || {
            let hash: PasswordHash = argon2()
                .hash_password_with_salt(password.expose_secret().as_bytes(), &salt)
                .map_err(|error| Error::Internal(format!("a password could not be hashed: {error}")))?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether the password has this hash. `None` takes as long and is false.
    pub(crate) async fn verify(&self, password: SecretString, hash: Option<String>) -> Result<bool, Error> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        self.run(move || {
            let hash = PasswordHash::new(&hash)
                .map_err(|error| Error::Internal(format!("a stored password hash is no hash: {error}")))?;
            let matches = argon2()
                .verify_password(password.expose_secret().as_bytes(), &hash)
                .is_ok();
            Ok(matches && exists)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // The permits go with the work: a caller who gives up while it runs does not let a further one in.
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| Error::Overloaded)?;
        let permit = Arc::clone(&self.at_work)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        self.runs.fetch_add(1, Ordering::Relaxed);
        let task = spawn_blocking(move || {
            let outcome = work();
            drop((permit, admitted));
            outcome
        });
        task.await
            .map_err(|error| Error::Internal(format!("a hashing task failed: {error}")))?
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use tidings_ids::Source;

    use super::{Hasher, NEW, NOBODY, is_outdated};
    use crate::Error;

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let (hasher, source) = (Hasher::new(), Source::seeded(1));
        let hash = hasher.hash("correct horse".into(), &source).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(
            hasher
                .verify("correct horse".into(), Some(hash.clone()))
                .await
                .expect("verified")
        );
        assert!(
            !hasher
                .verify("correct horse ".into(), Some(hash.clone()))
                .await
                .expect("verified")
        );
        // The composed and the decomposed form are two passwords: nothing is normalised.
        let composed = hasher
            .hash("caf\u{e9} caf\u{e9}".into(), &source)
            .await
            .expect("hashed");
        assert!(
            !hasher
                .verify("cafe\u{301} cafe\u{301}".into(), Some(composed))
                .await
                .expect("verified")
        );
        assert_eq!(hasher.runs(), 5);
    }

    #[tokio::test]
    async fn nobody_s_password_is_hashed_once_and_never_right() {
        let hasher = Hasher::new();
        for password in ["", "password", "\0"] {
            assert!(!hasher.verify(password.into(), None).await.expect("verified"));
        }
        assert_eq!(hasher.runs(), 3);
    }

    #[tokio::test]
    async fn a_flood_is_refused_rather_than_queued() {
        let hasher = Hasher::new();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (many, permits) = (Hasher::WAITING_MAX * 2, cores.saturating_sub(1).max(1));
        // None is done before all were asked for.
        let at_work = u32::try_from(permits).expect("few");
        let held = hasher.at_work.acquire_many(at_work).await.expect("open");
        let (mut admitted, mut refused) = (Vec::new(), 0);
        for _ in 0..many {
            let mut attempt = Box::pin(hasher.verify("password".into(), None));
            match futures_util::poll!(&mut attempt) {
                Poll::Pending => admitted.push(attempt),
                Poll::Ready(outcome) => {
                    assert!(matches!(outcome, Err(Error::Overloaded)));
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, many - Hasher::WAITING_MAX - permits);
        drop(held);
        for outcome in futures_util::future::join_all(admitted).await {
            assert!(!outcome.expect("looked at"));
        }
    }

    #[test]
    fn a_hash_below_the_parameters_of_now_is_outdated() {
        assert!(!is_outdated(NOBODY));
        let stronger = NOBODY.replace("m=19456", "m=65536").replace("t=2", "t=3");
        assert!(!is_outdated(&stronger));
        for (from, to) in [
            ("m=19456", "m=19455"),
            ("t=2", "t=1"),
            ("v=19", "v=16"),
            ("argon2id", "argon2i"),
        ] {
            assert!(is_outdated(&NOBODY.replace(from, to)), "{to}");
        }
    }

    #[test]
    fn a_new_password_has_8_to_256_code_points() {
        for good in ["12345678", "pass word", " leading", &"é".repeat(256), &"😀".repeat(8)] {
            assert_eq!(NEW.check(good), Ok(()), "{good:?}");
        }
        for bad in [
            "",
            "1234567",
            "😀😀",
            &"a".repeat(257),
            "12345678\0",
            "1234\n5678",
            &"a".repeat(1 << 20),
        ] {
            assert!(NEW.check(bad).is_err(), "{} bytes", bad.len());
        }
    }
}
