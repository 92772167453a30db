use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use tidings_ids::{LoginSessionId, UserId};
use tokio::{sync::watch, time::Instant};

use crate::{Caller, Refusal};

/// Whether an account may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountStatus {
    /// It may.
    Active,
    /// It is not activated, suspended or deleted.
    Inactive,
}

/// What the user service says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserState {
    /// Tokens of a lower epoch are no longer valid.
    pub token_epoch: i64,
    /// Whether the account may act.
    pub status: AccountStatus,
}

/// What has happened to login sessions and accounts while the tokens that now circulate were valid.
///
/// Entries older than the longest life of a token are forgotten, since no token from before them is valid any more.
#[derive(Debug)]
pub struct Revocations {
    sessions: RwLock<HashMap<LoginSessionId, Instant>>,
    users: RwLock<HashMap<UserId, (UserState, Instant)>>,
    heard: Mutex<Heard>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Heard {
    sessions: Option<Instant>,
    users: Option<Instant>,
    swept: Option<Instant>,
}

impl Revocations {
    /// A process whose feeds are older than this refuses rather than trusts (`design.md` section 2).
    pub const TRUSTED_FOR: Duration = Duration::from_secs(10);

    /// Entries are kept this long: the life of an access token, the ten minutes by which our clock may be behind that of auth
    /// (`reliability.md` F49), for which a token lives longer here, and some.
    pub const KEPT_FOR: Duration = Duration::from_secs(1_500);

    /// More entries than this cannot be kept, and the view is not trusted until some have aged: 64 MiB or so.
    const ENTRIES_MAX: usize = 500_000;

    /// A view that has heard nothing yet and so trusts nothing.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            sessions: RwLock::default(),
            users: RwLock::default(),
            heard: Mutex::default(),
            changed: watch::Sender::new(0),
        })
    }

    /// A login session has ended.
    pub fn session_revoked(&self, session: LoginSessionId) {
        self.sessions.write().insert(session, Instant::now());
        self.changed.send_modify(|version| *version += 1);
    }

    /// An account has changed.
    pub fn user_changed(&self, user: UserId, state: UserState) {
        {
            let mut users = self.users.write();
            let known = users
                .get(&user)
                .is_some_and(|(known, _)| known.token_epoch > state.token_epoch);
            if !known {
                users.insert(user, (state, Instant::now()));
            }
        }
        self.changed.send_modify(|version| *version += 1);
    }

    /// The feed of revoked login sessions is current as of now.
    pub fn heard_sessions(&self) {
        self.heard.lock().sessions = Some(Instant::now());
        self.sweep();
    }

    /// The feed of user states is current as of now.
    pub fn heard_users(&self) {
        self.heard.lock().users = Some(Instant::now());
        self.sweep();
    }

    /// Whether both feeds are young enough to be trusted.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        let fresh = |heard: Option<Instant>| heard.is_some_and(|at| at.elapsed() < Self::TRUSTED_FOR);
        let current = {
            let heard = self.heard.lock();
            fresh(heard.sessions) && fresh(heard.users)
        };
        current && self.sessions.read().len() < Self::ENTRIES_MAX && self.users.read().len() < Self::ENTRIES_MAX
    }

    /// Whether the caller may still act.
    ///
    /// # Errors
    ///
    /// Says why not.
    pub fn check(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.sessions.read().contains_key(&caller.login_session_id) {
            return Err(Refusal::SessionRevoked);
        }
        if let Some((state, _)) = self.users.read().get(&caller.user_id) {
            // A state of an earlier epoch than the token's is from before it: each change of the status raises the epoch, so
            // that of an account that was just activated may reach us after its first token.
            if state.status == AccountStatus::Inactive && state.token_epoch >= caller.token_epoch {
                return Err(Refusal::SessionRevoked);
            }
            if state.token_epoch > caller.token_epoch {
                return Err(Refusal::TokenInvalid);
            }
        }
        if self.is_trusted() {
            Ok(())
        } else {
            Err(Refusal::Untrusted)
        }
    }

    /// Waits until the caller may no longer act, for a stream that acts for them, and says why.
    pub async fn ended(&self, caller: &Caller) -> Refusal {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Err(refusal) = self.check(caller) {
                return refusal;
            }
            // Woken by a change; and once a second, since a feed that falls silent changes nothing.
            let _ = tokio::time::timeout(Duration::from_secs(1), changed.changed()).await;
        }
    }

    /// Forgets what no valid token can be from before, once a minute.
    fn sweep(&self) {
        let now = Instant::now();
        {
            let mut heard = self.heard.lock();
            if heard
                .swept
                .is_some_and(|at| now.duration_since(at) < Duration::from_secs(60))
            {
                return;
            }
            heard.swept = Some(now);
        }
        self.sessions
            .write()
            .retain(|_, at| now.duration_since(*at) < Self::KEPT_FOR);
        self.users
            .write()
            .retain(|_, (_, at)| now.duration_since(*at) < Self::KEPT_FOR);
    }
}

#[cfg(test)]
mod tests {
    use tidings_ids::Source;

    use super::{AccountStatus, Revocations, UserState};
    use crate::{Caller, Refusal};

    fn caller(source: &Source, token_epoch: i64) -> Caller {
        Caller {
            user_id: source.new_id(),
            login_session_id: source.new_id(),
            token_epoch,
            permissions: Vec::new(),
            is_bot: false,
            expire_time: source.now(),
        }
    }

    #[tokio::test]
    async fn what_is_said_of_an_account_counts_for_the_tokens_of_its_epoch_and_earlier() {
        let source = Source::seeded(1);
        let revocations = Revocations::new();
        revocations.heard_sessions();
        revocations.heard_users();
        let check = |status, token_epoch| {
            let caller = caller(&source, 2);
            revocations.user_changed(caller.user_id, UserState { token_epoch, status });
            revocations.check(&caller)
        };
        assert_eq!(
            check(AccountStatus::Inactive, 1),
            Ok(()),
            "it was pending before the token was issued"
        );
        assert_eq!(check(AccountStatus::Active, 2), Ok(()));
        assert_eq!(check(AccountStatus::Inactive, 2), Err(Refusal::SessionRevoked));
        assert_eq!(check(AccountStatus::Inactive, 3), Err(Refusal::SessionRevoked));
        assert_eq!(check(AccountStatus::Active, 3), Err(Refusal::TokenInvalid));
    }
}
