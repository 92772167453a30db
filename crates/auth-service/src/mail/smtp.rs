//! The connection to a mail server, and when it may do without TLS.

use std::{net::IpAddr, time::Duration};

use http::Uri;
use lettre::{
    AsyncSmtpTransport, Tokio1Executor,
    transport::smtp::client::{Certificate, Tls, TlsParameters},
};
use secrecy::ExposeSecret as _;

use crate::{InvalidSetting, SmtpServer};

/// How long one command of SMTP may take. A mail takes about six of them.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);

const URL_MUST: &str = "must be such as `smtps://user:password@host:465` or `smtp://user:password@host:587?tls=required`; \
    only a server on this machine is spoken to without TLS";

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// How a connection becomes a secret one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// TLS after `STARTTLS` (RFC 3207), and nothing is sent where it is not offered.
    StartTls,
    /// None: the server is on this machine.
    Loopback,
}

/// A pool of connections to the server. It connects when the first mail leaves.
pub(super) fn connect(server: &SmtpServer) -> Result<AsyncSmtpTransport<Tokio1Executor>, InvalidSetting> {
    // The library's errors are not shown: they may quote the URL with its password.
    let invalid = || InvalidSetting {
        setting: "smtp-url",
        description: URL_MUST.to_owned(),
    };
    let (security, host) = security(server.url.expose_secret()).ok_or_else(invalid)?;
    let mut builder =
        AsyncSmtpTransport::<Tokio1Executor>::from_url(server.url.expose_secret()).map_err(|_| invalid())?;
    if let (Some(authorities), false) = (&server.authorities, security == Security::Loopback) {
        let unusable = || InvalidSetting {
            setting: "smtp-ca-file",
            description: "must hold certificates in PEM".to_owned(),
        };
        let mut parameters = TlsParameters::builder(host);
        // The library takes a file without certificates for one with none to trust.
        let holds_some = authorities
            .windows(PEM_BEGIN.len())
            .any(|bytes| bytes == PEM_BEGIN.as_bytes());
        if !holds_some {
            return Err(unusable());
        }
        let authority = Certificate::from_pem(authorities).map_err(|_| unusable())?;
        parameters = parameters.add_root_certificate(authority);
        let parameters = parameters.build_rustls().map_err(|_| unusable())?;
        builder = builder.tls(match security {
            Security::Implicit => Tls::Wrapper(parameters),
            Security::StartTls | Security::Loopback => Tls::Required(parameters),
        });
    }
    Ok(builder.timeout(Some(COMMAND_TIMEOUT)).build())
}

/// How the URL says that the connection is made, and the server's name; `None` where it would be open to others.
fn security(url: &str) -> Option<(Security, String)> {
    let url: Uri = url.parse().ok()?;
    let host = url.host()?;
    let security = match (url.scheme_str()?, url.query()) {
        ("smtps", None) => Security::Implicit,
        ("smtp", Some("tls=required")) => Security::StartTls,
        ("smtp", None) if is_loopback(host) => Security::Loopback,
        _ => return None,
    };
    Some((security, host.to_owned()))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{Security, security};

    #[test]
    fn only_a_server_on_this_machine_is_spoken_to_without_tls() {
        let of = |url| security(url).map(|(security, _)| security);
        assert_eq!(of("smtps://user:p%40ss@mail.example.org:465"), Some(Security::Implicit));
        assert_eq!(of("smtps://mail.example.org"), Some(Security::Implicit));
        assert_eq!(of("smtp://mail.example.org:587?tls=required"), Some(Security::StartTls));
        for local in ["smtp://127.0.0.1:25", "smtp://localhost", "smtp://[::1]:1025"] {
            assert_eq!(of(local), Some(Security::Loopback), "{local}");
        }
        for open in [
            "smtp://mail.example.org",
            "smtp://mail.example.org:587?tls=opportunistic",
            "smtp://mail.example.org?tls=required&tls=opportunistic",
            "smtp://localhost.example.org",
            "http://mail.example.org",
            "mail.example.org:25",
            "",
        ] {
            assert_eq!(of(open), None, "{open}");
        }
    }
}
