//! Login sessions: how they begin, go on and end.

use secrecy::{ExposeSecret as _, SecretString};
use tidings_audit::Event;
use tidings_authn::{AUDIENCE, Caller, Claims, ISSUER, LIFETIME};
use tidings_db::transaction;
use tidings_ids::{LoginSessionId, RequestId, UserId};
use time::OffsetDateTime;

use crate::{
    Error,
    account::Identifier,
    auth::Auth,
    client::Client,
    device::Device,
    password,
    refresh_tree::{Parent, RefreshToken, Verdict},
    registration,
    second_factor::{self, Factor},
    standing,
    store::{
        accounts::{self, Account},
        sessions::{self, EndReason, NewSession, Statement, Which},
    },
    throttle, trail,
    users::{AccountStatus, Standing},
};

/// A pair of tokens for their owner.
pub(crate) struct Issued {
    pub access_token: String,
    pub refresh_token: String,
    pub access_token_expire_time: OffsetDateTime,
    pub login_session_id: LoginSessionId,
    pub user_id: UserId,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued {{ login_session_id: {} }}", self.login_session_id)
    }
}

/// What somebody shows to log in.
pub(crate) struct Proof {
    pub who: Identifier,
    pub password: SecretString,
    pub device_token: Option<SecretString>,
    /// A code besides the password.
    pub factor: Option<Factor>,
}

/// Begins a login session. Whether there is an account shows in nothing, as long as the password is not proven: neither
/// in the answer nor in the work, which is one hash on every path, and none where too many attempts have failed.
pub(crate) async fn login(
    auth: &Auth,
    proof: Proof,
    device_label: &str,
    client: &Client,
) -> Result<(Issued, String), Error> {
    let account = accounts::find(&auth.pool, &proof.who).await?;
    let user_id = account.as_ref().map(|account| account.user_id);
    let device = known_device(auth, account.as_ref(), proof.device_token.as_ref());
    let attempt = throttle::admit(auth, &proof.who, device.as_ref(), client.address).await?;
    match begin(auth, account, proof, device.is_some(), device_label, client).await {
        Ok((account, issued)) => {
            attempt.succeeded(auth, &account).await;
            let device_token = auth.devices.issue(device.as_ref(), account.user_id, auth.source());
            Ok((issued, device_token))
        }
        // A wrong guess, and nothing else: a proof that came to nothing for another reason was none.
        Err(Error::CredentialsInvalid) => {
            attempt.failed(auth).await;
            Err(trail::refused_login(auth, user_id, Error::CredentialsInvalid).await)
        }
        Err(error) => {
            attempt.withdrawn(auth).await;
            Err(trail::refused_login(auth, user_id, error).await)
        }
    }
}

/// The device, if it has logged in to the account before.
fn known_device(auth: &Auth, account: Option<&Account>, token: Option<&SecretString>) -> Option<Device> {
    let (account, token) = account.zip(token)?;
    auth.devices.read(token.expose_secret(), account.user_id, auth.now())
}

/// Proves the password, and begins the login session. `CredentialsInvalid` is a wrong guess.
async fn begin(
    auth: &Auth,
    account: Option<Account>,
    proof: Proof,
    known_device: bool,
    device_label: &str,
    client: &Client,
) -> Result<(Account, Issued), Error> {
    let password = proof.password;
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let upgrade = hash
        .as_deref()
        .is_some_and(password::is_outdated)
        .then(|| password.clone());
    let proven = auth.passwords.verify(password, hash).await?;
    let Some(account) = account.filter(|_| proven) else {
        return Err(Error::CredentialsInvalid);
    };
    if !account.active {
        return Err(Error::EmailUnverified);
    }
    let factor = second_factor::check(auth, account.user_id, proof.factor.as_ref(), known_device).await?;
    if account.activation_due {
        registration::activate(auth, account.user_id).await?;
    }

    let now = auth.now();
    let (statement, standing) = standing::announce(auth, account.user_id, now + auth.config.idle_lifetime).await?;
    permit(&standing, Error::CredentialsInvalid)?;
    let session: LoginSessionId = auth.source().new_id();
    let token = auth.refresh_tokens.first(session, auth.source());
    let expire_time = now + auth.config.session_lifetime;
    let new = NewSession {
        login_session_id: session,
        user_id: account.user_id,
        device_label,
        client_prefix: &client.prefix(),
        user_agent: &client.agent,
        token_epoch: standing.token_epoch,
        leaf: token.hash(),
        idle_expire_time: (now + auth.config.idle_lifetime).min(expire_time),
        expire_time,
    };
    let ended = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        // A password that was reset meanwhile is not a proof any more.
        if accounts::lock(&mut *tx, account.user_id).await? != Some(account.password_version) {
            return Err(Error::CredentialsInvalid);
        }
        second_factor::spend(&mut *tx, account.user_id, factor, now).await?;
        sessions::settle(&mut *tx, account.user_id, statement.revision).await?;
        let event = trail::event_by(auth, "auth.login", account.user_id, Some(session));
        begin_in(&mut *tx, &new, event, now).await
    })?;
    auth.announce_ended(&ended);
    let issued = issue(auth, account.user_id, session, expire_time, &standing, token)?;
    if let Some(password) = upgrade {
        password::upgrade_soon(auth, &account, password);
    }
    Ok((account, issued))
}

/// Stores a login session that begins, and what the trail is told of it, in a transaction that has locked the account. One too many
/// ends the oldest: those that ended are to be announced after the commit.
pub(crate) async fn begin_in(
    tx: &mut sqlx::PgConnection,
    new: &NewSession<'_>,
    event: Event,
    now: OffsetDateTime,
) -> Result<Vec<LoginSessionId>, Error> {
    sessions::insert(&mut *tx, new, now).await?;
    let ended = sessions::end_oldest(&mut *tx, new.user_id, now).await?;
    let mut event = event.subject(new.login_session_id);
    if !ended.is_empty() {
        event = event.subjects(ended.iter().copied());
        event = event.detail("ended_login_sessions", ended.len());
    }
    trail::record(tx, &event).await?;
    Ok(ended)
}

/// Exchanges a refresh token for the next pair.
pub(crate) async fn refresh(
    auth: &Auth,
    token: &SecretString,
    request_id: Option<RequestId>,
    client: &Client,
) -> Result<Issued, Error> {
    let token = auth
        .refresh_tokens
        .read(token.expose_secret())
        .ok_or(Error::CredentialsInvalid)?;
    let stored = sessions::get(&auth.pool, token.session())
        .await?
        .ok_or(Error::CredentialsInvalid)?;
    let user_id = stored.user_id;
    let now = auth.now();
    permit_verdict(
        auth,
        user_id,
        &token,
        stored.family.judge(token.hash(), request_id, now),
    )
    .await?;

    // The user service is asked before the token is spent, so that while it is away nobody loses a login session.
    let idle_expire_time = (now + auth.config.idle_lifetime).min(stored.family.expire_time);
    let (statement, standing) = standing::announce(auth, user_id, idle_expire_time).await?;
    permit(&standing, Error::LoginSessionEnded)?;
    if stored.token_epoch < standing.login_epoch {
        // Suspended or deleted since it began, and permitted to act again: not by what was proven before.
        let which = Which::Before(standing.login_epoch);
        end(auth, user_id, which, EndReason::Suspended).await?;
        return Err(Error::LoginSessionEnded);
    }

    // A request without an id cannot be repeated: its own is known to nobody.
    let request = request_id.unwrap_or_else(|| auth.source().new_id());
    let successor = auth.refresh_tokens.successor(&token, request);
    let verdict = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        sessions::settle(&mut *tx, user_id, statement.revision).await?;
        let Some(locked) = sessions::lock(&mut *tx, token.session()).await? else {
            return Ok(Verdict::Ended);
        };
        let verdict = locked.family.judge(token.hash(), request_id, now);
        if verdict == Verdict::Spend {
            let parent = Parent {
                hash: token.hash(),
                request_id: request,
                spent_time: now,
            };
            let (leaf, prefix) = (successor.hash(), client.prefix());
            sessions::rotate(&mut *tx, token.session(), &parent, leaf, idle_expire_time, &prefix).await?;
            let event = trail::event_by(auth, "auth.refresh", user_id, Some(token.session()));
            trail::record(&mut *tx, &event.subject(token.session()).request(request_id)).await?;
        }
        Ok(verdict)
    })?;
    permit_verdict(auth, user_id, &token, verdict).await?;
    issue(
        auth,
        user_id,
        token.session(),
        stored.family.expire_time,
        &standing,
        successor,
    )
}

/// Whether the token gets a pair. One that was used twice ends its login session.
async fn permit_verdict(auth: &Auth, user_id: UserId, token: &RefreshToken, verdict: Verdict) -> Result<(), Error> {
    match verdict {
        Verdict::Spend | Verdict::Repeat => Ok(()),
        Verdict::Ended => Err(Error::LoginSessionEnded),
        Verdict::Expired => Err(Error::CredentialsInvalid),
        Verdict::Reused => {
            let login_session_id = token.session();
            tracing::warn!(%user_id, %login_session_id, "a refresh token was used twice: its login session ends");
            end(auth, user_id, Which::One(token.session()), EndReason::Reuse).await?;
            Err(Error::RefreshTokenReused)
        }
    }
}

/// Whether the user may have tokens; `gone` is what a user is told who is no longer there.
pub(crate) fn permit(standing: &Standing, gone: Error) -> Result<(), Error> {
    match standing.account {
        AccountStatus::Active => Ok(()),
        AccountStatus::Suspended => Err(Error::AccountSuspended),
        AccountStatus::Pending => Err(Error::Unavailable("the activation of the user")),
        AccountStatus::Gone => Err(gone),
    }
}

/// Ends the login session of the call.
pub(crate) async fn logout(auth: &Auth, caller: &Caller) -> Result<(), Error> {
    end(
        auth,
        caller.user_id,
        Which::One(caller.login_session_id),
        EndReason::Logout,
    )
    .await
}

/// Ends the caller's login sessions, all or all but that of the call.
pub(crate) async fn logout_all(auth: &Auth, caller: &Caller, keep_current: bool) -> Result<(), Error> {
    let which = if keep_current {
        Which::AllBut(caller.login_session_id)
    } else {
        Which::All
    };
    end(auth, caller.user_id, which, EndReason::Logout).await
}

async fn end(auth: &Auth, user_id: UserId, which: Which, reason: EndReason) -> Result<(), Error> {
    let now = auth.now();
    let (ended, statement) = transaction!(&auth.pool, |tx| -> Result<_, Error> {
        if accounts::lock(&mut *tx, user_id).await?.is_none() {
            return Ok((Vec::new(), None));
        }
        let (ended, statement) = end_in(&mut *tx, user_id, which, reason, now).await?;
        trail::record_ended(auth, &mut *tx, user_id, &ended, reason).await?;
        Ok((ended, statement))
    })?;
    auth.announce_ended(&ended);
    standing::tell_soon(auth, statement).await;
    Ok(())
}

/// Ends login sessions in a transaction that has locked the account. The statement is to be told after the commit.
pub(crate) async fn end_in(
    tx: &mut sqlx::PgConnection,
    user_id: UserId,
    which: Which,
    reason: EndReason,
    now: OffsetDateTime,
) -> Result<(Vec<LoginSessionId>, Option<Statement>), Error> {
    let ended = sessions::end(&mut *tx, user_id, which, reason, now).await?;
    let statement = sessions::state(&mut *tx, user_id, now, now).await?;
    Ok((ended, statement))
}

pub(crate) fn issue(
    auth: &Auth,
    user_id: UserId,
    session: LoginSessionId,
    session_expire_time: OffsetDateTime,
    standing: &Standing,
    refresh_token: RefreshToken,
) -> Result<Issued, Error> {
    let now = auth.now();
    let expire_time = (now + LIFETIME).min(session_expire_time);
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: user_id,
        sid: session,
        epoch: standing.token_epoch,
        perms: standing.permissions.clone(),
        bot: standing.is_bot,
        iat: now.unix_timestamp(),
        nbf: now.unix_timestamp(),
        exp: expire_time.unix_timestamp(),
    };
    let access_token_expire_time = OffsetDateTime::from_unix_timestamp(claims.exp)
        .map_err(|error| Error::Internal(format!("an expiry is no time: {error}")))?;
    Ok(Issued {
        access_token: auth.signing.sign(&claims)?,
        refresh_token: refresh_token.into_text(),
        access_token_expire_time,
        login_session_id: session,
        user_id,
    })
}
