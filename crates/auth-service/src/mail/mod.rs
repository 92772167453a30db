//! Sending what stands in the outbox.
//!
//! A mail is taken under a lease, made, sent, and removed. Whoever dies between leaves it to the next round, so a mail
//! may arrive twice, each time with a token of its own. What cannot be sent is tried again with growing pauses, and
//! parked in the end: it blocks nothing.

mod smtp;
mod text;
mod transport;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use tidings_ids::{EmailChangeId, UserId};

pub(crate) use transport::Mailer;

use crate::{
    Error,
    auth::Auth,
    recovery,
    store::{
        accounts,
        claims::{self, Pending},
        email_changes,
        mails::{self, Kind, Mail, Notice},
        tokens::{self, NewToken, Purpose},
    },
};
use text::Letter;

/// A mailed token works for so long (`reliability.md` G25).
const TOKEN_LIFETIME: time::Duration = time::Duration::minutes(10);

/// Mails that one process sends at once.
const AT_ONCE: i64 = 4;

/// Nobody else takes a mail for so long: more than a transport's time-outs together.
const LEASE: time::Duration = time::Duration::minutes(2);

/// After so many attempts a mail is parked. With the pauses below that is about ten hours after the first.
const ATTEMPTS_MAX: i32 = 8;

/// The pause after the first attempt; each further one is four times as long.
const BACK_OFF: Duration = Duration::from_secs(5);

/// The outbox is looked at this often, also when nobody of this process has put anything in.
const ROUND: Duration = Duration::from_secs(1);

/// Sends mails until the process stops. What is in hand then is finished.
pub(crate) async fn work(auth: &Auth, mailer: &Mailer) {
    while !auth.env.drain.has_begun() {
        let sent = match round(auth, mailer).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::warn!(%error, "the outbox of mails could not be worked on");
                0
            }
        };
        if sent == 0 {
            tokio::select! {
                () = auth.env.drain.begun() => {}
                () = auth.wake.mails.notified() => {}
                () = tokio::time::sleep(auth.source().jitter(ROUND)) => {}
            }
        }
    }
}

/// Sends what is due, and says how many mails that were.
async fn round(auth: &Auth, mailer: &Mailer) -> Result<usize, Error> {
    let now = auth.now();
    let taken = mails::take(&auth.pool, AT_ONCE, now, now + LEASE).await?;
    let outcomes = futures_util::future::join_all(taken.iter().map(|mail| send(auth, mailer, mail))).await;
    for outcome in outcomes {
        outcome?;
    }
    Ok(taken.len())
}

async fn send(auth: &Auth, mailer: &Mailer, mail: &Mail) -> Result<(), Error> {
    let Some((address, letter)) = compose(auth, mail).await? else {
        // Nobody has the address, or it needs no mail: this is where that shows, and nowhere else.
        return Ok(mails::remove(&auth.pool, mail.mail_id).await?);
    };
    match mailer.send(&address, letter).await {
        Ok(told) => {
            tracing::info!(mail_id = %mail.mail_id, kind = ?mail.kind, told, "a mail was sent");
            mails::remove(&auth.pool, mail.mail_id).await?;
        }
        Err(error) => postpone(auth, mail, &error).await?,
    }
    Ok(())
}

async fn postpone(auth: &Auth, mail: &Mail, error: &transport::Failed) -> Result<(), Error> {
    let now = auth.now();
    let parked = mail.attempts >= ATTEMPTS_MAX;
    let exponent = u32::try_from(mail.attempts - 1).unwrap_or(0).min(10);
    let next = (!parked).then(|| now + auth.source().jitter(BACK_OFF * 4_u32.pow(exponent)));
    if parked {
        tracing::error!(mail_id = %mail.mail_id, kind = ?mail.kind, %error, "a mail was parked after its last attempt");
    } else {
        let attempts = mail.attempts;
        tracing::warn!(mail_id = %mail.mail_id, kind = ?mail.kind, attempts, %error, "a mail could not be sent yet");
    }
    Ok(mails::postpone(&auth.pool, mail.mail_id, next, now).await?)
}

/// Accounts that one mail offers to confirm, at the most.
const CONFIRMED_AT_ONCE: usize = 8;

/// The mail's text and whom it goes to: the address as the account has it, never as a request spelt it.
async fn compose(auth: &Auth, mail: &Mail) -> Result<Option<(String, Letter)>, Error> {
    let public_url = &auth.config.public_url;
    if let Kind::Notice(notice) = mail.kind {
        return compose_notice(auth, mail, notice).await;
    }
    if let Some(change_id) = mail.change_id {
        return compose_change(auth, mail, change_id).await;
    }
    if mail.kind != Kind::ResetPassword
        && let Some(composed) = compose_confirmation(auth, mail).await?
    {
        return Ok(Some(composed));
    }
    let Some(account) = accounts::find_by_email(&auth.pool, &mail.email_key).await? else {
        return Ok(None);
    };
    let Some(address) = account.email else {
        return Ok(None);
    };
    let letter = match mail.kind {
        Kind::ResetPassword if account.active => {
            let token = token(
                auth,
                mail,
                account.user_id,
                account.password_version,
                Purpose::ResetPassword,
            )
            .await?;
            text::reset_password(public_url, &account.username, &token)
        }
        Kind::AddressInUse if account.active => text::address_in_use(public_url, &account.username),
        Kind::ResetPassword
        | Kind::VerifyEmail
        | Kind::AddressInUse
        | Kind::ChangeEmail
        | Kind::EmailChangeNotice
        | Kind::Notice(_) => return Ok(None),
    };
    Ok(Some((address, letter)))
}

/// Word of what has happened, to the address that the account had then; of an account that is gone there is none.
async fn compose_notice(auth: &Auth, mail: &Mail, notice: Notice) -> Result<Option<(String, Letter)>, Error> {
    let (Some(user_id), Some(address)) = (mail.user_id, mail.address.clone()) else {
        return Ok(None);
    };
    let account = accounts::get(&auth.pool, user_id).await?;
    Ok(account.map(|account| {
        let letter = text::notice(&auth.config.public_url, &account.username, notice, mail.create_time);
        (address, letter)
    }))
}

/// A mail with a token for each account that it is about and that waits for a proof: the one whose registration it
/// answers, or where it was asked for by address, all that were registered with it in the newest one's spelling.
async fn compose_confirmation(auth: &Auth, mail: &Mail) -> Result<Option<(String, Letter)>, Error> {
    let mut pending = claims::pending(&auth.pool, &mail.email_key).await?;
    if let Some(user_id) = mail.user_id {
        pending.retain(|account| account.user_id == user_id);
    }
    let Some(address) = pending.first().map(|account| account.email.clone()) else {
        return Ok(None);
    };
    pending.retain(|account| account.email == address);
    pending.truncate(CONFIRMED_AT_ONCE);
    let mut accounts = Vec::with_capacity(pending.len());
    for Pending {
        user_id,
        username,
        password_version,
        ..
    } in pending
    {
        accounts.push((
            username,
            token(auth, mail, user_id, password_version, Purpose::VerifyEmail).await?,
        ));
    }
    Ok(Some((address, text::verify_email(&auth.config.public_url, &accounts))))
}

/// A mail about a change of address: to the present one a notice, whatever has become of it; to the new one a token, or where
/// it belongs to another account, word to its owner.
async fn compose_change(auth: &Auth, mail: &Mail, change_id: EmailChangeId) -> Result<Option<(String, Letter)>, Error> {
    let public_url = &auth.config.public_url;
    let Some(change) = email_changes::mailed(&auth.pool, change_id).await? else {
        return Ok(None);
    };
    if mail.kind == Kind::EmailChangeNotice {
        let notice = text::email_change_notice(public_url, &change.username);
        return Ok(change.old_email.map(|address| (address, notice)));
    }
    if !change.open {
        return Ok(None);
    }
    let holder = accounts::find_by_email(&auth.pool, &mail.email_key).await?;
    if let Some(holder) = holder.filter(|holder| holder.active) {
        let word = text::address_wanted(public_url, &holder.username);
        return Ok(holder.email.map(|address| (address, word)));
    }
    let token = token(
        auth,
        mail,
        change.user_id,
        change.password_version,
        Purpose::ChangeEmail,
    )
    .await?;
    Ok(Some((
        change.email,
        text::change_email(public_url, &change.username, &token),
    )))
}

/// A new token for the account: 256 bits, of which only the mail knows.
async fn token(
    auth: &Auth,
    mail: &Mail,
    user_id: UserId,
    password_version: i64,
    purpose: Purpose,
) -> Result<String, Error> {
    let text = URL_SAFE_NO_PAD.encode(auth.source().random::<32>());
    let now = auth.now();
    let new = NewToken {
        hash: recovery::token_hash(&SecretString::from(text.clone())),
        user_id,
        purpose,
        email_key: &mail.email_key,
        password_version,
        expire_time: now + TOKEN_LIFETIME,
    };
    tokens::insert(&auth.pool, &new, now).await?;
    Ok(text)
}
