use std::{fmt, path::PathBuf, time::Duration};

use secrecy::SecretString;
use tidings_authn::SuiteSecret;

use crate::Throttle;

/// What the auth service is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Auth's own secret, which no other service has: it seals signing keys and authenticates refresh tokens. With
    /// another one, all login sessions end and signing keys cannot be opened.
    pub secret: SuiteSecret,
    /// Who may register.
    pub registration: Registration,
    /// Where links in mails lead, such as `https://chat.example.org`. Never taken from a request.
    pub public_url: String,
    /// Whom mails come from, such as `Tidings <no-reply@example.org>`.
    pub mail_from: String,
    /// How mails leave.
    pub mail: MailTransport,
    /// A file of SHA-1 hashes of breached passwords in their order, as `Have I Been Pwned` has them: such are not taken, besides
    /// the common ones that the program knows.
    pub breached_passwords_file: Option<PathBuf>,
    /// Words of the deployment, such as an organisation's names: what is made of such alone is no password. At most 100, of 4 to
    /// 64 letters each; the product's name and those in the host of `public_url` are known without them.
    pub password_words: Vec<String>,
    /// A login session that is not refreshed for so long ends.
    pub idle_lifetime: Duration,
    /// A login session ends after so long, however often it is refreshed.
    pub session_lifetime: Duration,
    /// How many failed attempts there may be. None means the standard, times the factor of the process' rate limits.
    pub throttle: Option<Throttle>,
    /// OpenID Connect issuers whose users may log in here.
    pub external_issuers: Vec<crate::ExternalIssuer>,
    /// Where tests stop or hold a registration.
    #[cfg(feature = "testing")]
    pub crash_points: Option<crate::CrashPoints>,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Everybody, at once: `EMAIL_TAKEN` tells whether an address is in use. For development and closed networks.
    Open,
    /// Everybody who proves their address. No answer tells whether an address is in use.
    Verified,
    /// Nobody.
    Closed,
}

/// How mails leave.
#[derive(Debug, Clone)]
pub enum MailTransport {
    /// As files named `….eml` in this folder, for development.
    Folder(PathBuf),
    /// By SMTP to this server.
    Smtp(SmtpServer),
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct SmtpServer {
    /// `smtps://user:password@host:465`, or `smtp://user:password@host:587?tls=required`. Without TLS only on this machine.
    pub url: SecretString,
    /// The certificate, in PEM, of an authority that is trusted besides the system's.
    pub authorities: Option<Vec<u8>>,
}

impl Config {
    /// 30 days, as `LoginResponse.refresh_token` says.
    pub const IDLE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);

    /// 90 days: a session that is used daily asks for the password four times a year (ASVS 10.4.8 wants an absolute
    /// end).
    pub const SESSION_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3_600);

    /// A configuration with the usual lifetimes.
    #[must_use]
    pub fn new(
        secret: SuiteSecret,
        registration: Registration,
        public_url: String,
        mail_from: String,
        mail: MailTransport,
    ) -> Self {
        Self {
            secret,
            registration,
            public_url,
            mail_from,
            mail,
            breached_passwords_file: None,
            password_words: Vec::new(),
            idle_lifetime: Self::IDLE_LIFETIME,
            session_lifetime: Self::SESSION_LIFETIME,
            throttle: None,
            external_issuers: Vec::new(),
            #[cfg(feature = "testing")]
            crash_points: None,
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    /// Which.
    pub setting: &'static str,
    /// What it must be.
    pub description: String,
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.description)
    }
}

impl std::error::Error for InvalidSetting {}
