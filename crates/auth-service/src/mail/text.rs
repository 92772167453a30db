//! What mails say. Nothing that a person chose stands in them but the username, which cannot hold a line break or a
//! link; hosts come from configuration only. All is ASCII in short lines, so that no encoding breaks a token.

use time::{OffsetDateTime, UtcOffset};

use crate::store::mails::Notice;

/// A mail without its addresses.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub subject: &'static str,
    pub body: String,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter {{ {} }}", self.subject)
    }
}

/// The token stands behind `#`, which browsers send to no server and to no other site.
pub(super) fn reset_password(public_url: &str, username: &str, token: &str) -> Letter {
    Letter {
        subject: "Reset your password",
        body: format!(
            "Hello {username},\n\n\
             somebody, probably you, asked to reset the password of your account.\n\n\
             Choose a new one here, within 10 minutes:\n\n\
             {public_url}/reset-password#token={token}\n\n\
             Or give this token to the program that you use:\n\n\
             {token}\n\n\
             If it was not you, do nothing: your password stays what it is.\n"
        ),
    }
}

/// `accounts` are usernames with the token of each: confirming one of them confirms no other.
pub(super) fn verify_email(public_url: &str, accounts: &[(String, String)]) -> Letter {
    let greeting = match accounts {
        [(username, _)] => format!("Hello {username},\n\n"),
        _ => String::from("Hello,\n\n"),
    };
    let sections = accounts.iter().map(|(username, token)| {
        format!(
            "an account named {username} was registered with this address.\n\n\
             If you made it yourself, confirm the address here, within 10 minutes:\n\n\
             {public_url}/verify-email#token={token}\n\n\
             Or give this token to the program that you use:\n\n\
             {token}\n\n"
        )
    });
    let sections: String = sections.collect();
    Letter {
        subject: "Confirm your e-mail address",
        body: format!(
            "{greeting}{sections}\
             Do not confirm an account that you did not make: somebody else knows its password.\n"
        ),
    }
}

pub(super) fn address_in_use(public_url: &str, username: &str) -> Letter {
    Letter {
        subject: "You have an account already",
        body: format!(
            "Hello {username},\n\n\
             somebody, perhaps you, tried to register a new account with this address. It belongs to your\n\
             account named {username}, so no other was made.\n\n\
             If you forgot the password, ask for a new one here:\n\n\
             {public_url}/forgot-password\n\n\
             If it was not you, do nothing.\n"
        ),
    }
}

/// To the address that the account named is to get.
pub(super) fn change_email(public_url: &str, username: &str, token: &str) -> Letter {
    Letter {
        subject: "Confirm your new e-mail address",
        body: format!(
            "Hello {username},\n\n\
             your account is to use this address from now on.\n\n\
             If you asked for that, confirm it here, within 10 minutes:\n\n\
             {public_url}/verify-email#token={token}\n\n\
             Or give this token to the program that you use:\n\n\
             {token}\n\n\
             If it was not you, do nothing: no account will use this address.\n"
        ),
    }
}

/// To the address that the account has meanwhile. The new one does not stand in it: who reads this mail may not be who asked.
pub(super) fn email_change_notice(public_url: &str, username: &str) -> Letter {
    Letter {
        subject: "Your e-mail address is to change",
        body: format!(
            "Hello {username},\n\n\
             somebody who knows your password asked to use another e-mail address for your account.\n\
             It changes as soon as the new address is confirmed.\n\n\
             If it was you, there is nothing to do.\n\n\
             If it was not you, choose a new password now, which ends the change and all login sessions:\n\n\
             {public_url}/forgot-password\n"
        ),
    }
}

/// To the owner of an address that somebody wants for another account.
pub(super) fn address_wanted(public_url: &str, username: &str) -> Letter {
    Letter {
        subject: "This address is in use already",
        body: format!(
            "Hello {username},\n\n\
             somebody, perhaps you, tried to use this address for another account. It belongs to your\n\
             account named {username}, so nothing was changed.\n\n\
             If you forgot its password, ask for a new one here:\n\n\
             {public_url}/forgot-password\n\n\
             If it was not you, do nothing.\n"
        ),
    }
}

/// To the address of an account to which something has happened. It names no secret, and brings none.
pub(super) fn notice(public_url: &str, username: &str, notice: Notice, time: OffsetDateTime) -> Letter {
    let (subject, happened) = match notice {
        Notice::PasswordChanged => (
            "Your password was changed",
            "the password of your account was changed by somebody who knew the one before.",
        ),
        Notice::PasswordReset => (
            "Your password was reset",
            "a new password was chosen for your account, with a token that was mailed to this address.",
        ),
        Notice::PasswordSet => (
            "Your password was set by an operator",
            "an operator has set a new password for your account.",
        ),
        Notice::TotpConfirmed => (
            "An authenticator app was added",
            "an authenticator app was added to your account. From now on a login asks for a code of it.",
        ),
        Notice::TotpRemoved => (
            "Your authenticator app was removed",
            "the authenticator app was removed from your account, and the recovery codes with it.\n\
             A login asks for no code any more.",
        ),
        Notice::RecoveryCodesGenerated => (
            "New recovery codes were made",
            "new recovery codes were made for your account. The ones before count no longer.",
        ),
    };
    // A new password does not take an app away that is not the owner's.
    let besides = match notice {
        Notice::TotpConfirmed | Notice::RecoveryCodesGenerated => {
            ", and ask those who run the service\nto remove the authenticator app"
        }
        _ => "",
    };
    let when = moment(time);
    Letter {
        subject,
        body: format!(
            "Hello {username},\n\n\
             {happened}\n\
             That was on {when}.\n\n\
             If it was you, or you asked for it, there is nothing to do.\n\n\
             If not, choose a new password now, which ends all login sessions{besides}:\n\n\
             {public_url}/forgot-password\n"
        ),
    }
}

/// Such as `2026-11-21 at 09:05 UTC`.
fn moment(time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    let (date, hour, minute) = (time.date(), time.hour(), time.minute());
    format!("{date} at {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::{
        Letter, address_in_use, address_wanted, change_email, email_change_notice, moment, notice, reset_password,
        verify_email,
    };
    use crate::store::mails::Notice;

    /// 2026-11-21, 09:05:59.
    const THEN: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::seconds(1_795_251_959));

    fn notices(url: &str, username: &str) -> Vec<Letter> {
        let all = [
            Notice::PasswordChanged,
            Notice::PasswordReset,
            Notice::PasswordSet,
            Notice::TotpConfirmed,
            Notice::TotpRemoved,
            Notice::RecoveryCodesGenerated,
        ];
        all.map(|kind| notice(url, username, kind, THEN)).into()
    }

    #[test]
    fn a_notice_says_what_happened_to_whom_and_when_and_what_to_do() {
        let letters = notices("https://chat.example.org", "ada");
        for letter in &letters {
            assert!(letter.body.starts_with("Hello ada,"), "{}", letter.body);
            assert!(letter.body.contains("on 2026-11-21 at 09:05 UTC."), "{}", letter.body);
            assert!(letter.body.contains("https://chat.example.org/forgot-password\n"));
        }
        let subjects: std::collections::HashSet<_> = letters.iter().map(|letter| letter.subject).collect();
        assert_eq!(subjects.len(), letters.len());
    }

    #[test]
    fn a_moment_is_told_in_utc() {
        let elsewhere = THEN.to_offset(time::UtcOffset::from_hms(-5, 0, 0).expect("a zone"));
        assert_eq!(moment(elsewhere), "2026-11-21 at 09:05 UTC");
    }

    #[test]
    fn letters_are_short_lines_of_ascii() {
        let token = "a".repeat(43);
        let username = "b".repeat(32);
        let url = "https://chat.example.org";
        let others = [
            reset_password(url, &username, &token),
            verify_email(
                url,
                &[(username.clone(), token.clone()), (username.clone(), token.clone())],
            ),
            address_in_use(url, &username),
            change_email(url, &username, &token),
            email_change_notice(url, &username),
            address_wanted(url, &username),
        ];
        for letter in notices(url, &username).into_iter().chain(others) {
            assert!(letter.body.is_ascii());
            assert!(letter.body.lines().all(|line| line.len() <= 120), "{}", letter.body);
        }
    }
}
