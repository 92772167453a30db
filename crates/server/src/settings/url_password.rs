//! Passwords within URLs, of databases and of mail servers: those of examples open them to everybody who has read one.

use anyhow::{Result, bail};
use http::Uri;
use secrecy::{ExposeSecret as _, SecretString};

use super::tls::is_local;

/// What stands in examples of the field as it is. What is merely like such a value is [`tidings_authn::is_sample`]'s to know.
const SAMPLES: [&str; 8] = [
    "postgres", "tidings", "admin", "root", "user", "test", "123456", "12345678",
];

/// Refuses the URL where its password stands in an example, or is the user's name: `what` says whose it is. On this machine it may,
/// where nobody else comes; and a URL that cannot be read is told as such by what uses it.
pub fn refuse_sample(url: &SecretString, what: &str) -> Result<()> {
    let Some(login) = Login::read(url.expose_secret()) else {
        return Ok(());
    };
    if login.is_sample() && !login.hosts.iter().all(|host| is_local(host)) {
        bail!("the password in the URL of {what} is that of an example: give its user another, of random letters");
    }
    Ok(())
}

/// Who logs in where.
struct Login {
    user: String,
    password: String,
    /// The authority's, and those that parameters name, which count in its place for Postgres.
    hosts: Vec<String>,
}

impl Login {
    /// Reads a URL with a password. `None` where there is none.
    fn read(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?.as_str();
        let (userinfo, _) = authority.rsplit_once('@').unwrap_or_default();
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let parameter = |name: &str| {
            let pairs = uri.query().unwrap_or_default().split('&');
            pairs
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then(|| decoded(value)))
        };
        let user = parameter("user").unwrap_or_else(|| decoded(user));
        let password = parameter("password").unwrap_or_else(|| decoded(password));
        let hosts = [parameter("host"), parameter("hostaddr"), uri.host().map(str::to_owned)];
        let login = Self {
            user,
            password,
            hosts: hosts.into_iter().flatten().filter(|host| !host.is_empty()).collect(),
        };
        (!login.password.is_empty()).then_some(login)
    }

    fn is_sample(&self) -> bool {
        let password = self.password.to_lowercase();
        tidings_authn::is_sample(&password)
            || SAMPLES.contains(&password.as_str())
            || password == self.user.to_lowercase()
    }
}

/// Text as it was before it was percent-encoded. What is no encoding stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let value = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> bool {
        let refusal = refuse_sample(&SecretString::from(url), "the database").err();
        let refusal = refusal.map(|refusal| format!("{refusal:#}"));
        let shown = refusal
            .as_ref()
            .is_some_and(|refusal| refusal.contains("hunter") || refusal.contains("chang"));
        assert!(!shown, "{refusal:?}");
        refusal.is_some()
    }

    #[test]
    fn a_password_of_an_example_is_refused_but_on_this_machine() {
        for url in [
            "postgres://user:password@host:5432/database",
            "postgres://tidings:changeme@db.internal/tidings",
            "postgres://tidings:ChangeMe@db.internal/tidings",
            "postgres://tidings:change%6de@db.internal/tidings",
            "postgres://postgres:postgres@db.internal/tidings",
            "postgres://ada:Ada@db.internal/tidings",
            "postgres://db.internal/tidings?user=ada&password=secret",
            "postgres://ada:secret@localhost/tidings?host=db.internal",
            "postgres://ada:aaaaaaaa@10.0.0.7/tidings",
            "smtps://user:password@mail.example.org:465",
            "smtp://user:p%61ssword@mail.example.org:587?tls=required",
        ] {
            assert!(refused(url), "{url}");
        }
        for url in [
            "postgres://postgres:postgres@localhost/tidings",
            "postgres://postgres:postgres@127.0.0.1:5432/tidings",
            "postgres://postgres:postgres@[::1]/tidings",
            "postgres://tidings:4f1c5a7be02d4c6f8a3b1d0e7f264c95@db.internal/tidings",
            "postgres://tidings@db.internal/tidings",
            "postgres:///tidings?host=/run/postgresql",
            "smtp://localhost:1025",
            "nonsense",
        ] {
            assert!(!refused(url), "{url}");
        }
    }
}
