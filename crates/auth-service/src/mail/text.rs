//! What mails say. Nothing that a person chose stands in them but the username, which cannot hold a line break or a
//! link; hosts come from configuration only. All is ASCII in short lines, so that no encoding breaks a token.

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

#[cfg(test)]
mod tests {
    use super::{address_in_use, address_wanted, change_email, email_change_notice, reset_password, verify_email};

    #[test]
    fn letters_are_short_lines_of_ascii() {
        let token = "a".repeat(43);
        let username = "b".repeat(32);
        let url = "https://chat.example.org";
        for letter in [
            reset_password(url, &username, &token),
            verify_email(
                url,
                &[(username.clone(), token.clone()), (username.clone(), token.clone())],
            ),
            address_in_use(url, &username),
            change_email(url, &username, &token),
            email_change_notice(url, &username),
            address_wanted(url, &username),
        ] {
            assert!(letter.body.is_ascii());
            assert!(letter.body.lines().all(|line| line.len() <= 120), "{}", letter.body);
        }
    }
}
