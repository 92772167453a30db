//! What `dev` prints when it serves.

use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use tidings_auth_service::Registration;

/// What `dev` prints when it serves: all that a newcomer needs next.
#[derive(Debug)]
pub struct Banner<'a> {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The folder of everything.
    pub data_dir: &'a Path,
    /// The database.
    pub persistence: &'a str,
    /// Where mails land, or that they are sent.
    pub mail: String,
    /// An administrator, and where its password is.
    pub admin: Option<String>,
    /// Whether the built-in assistant answers.
    pub assistant: bool,
    /// Whether `/` is a page.
    pub web: bool,
    /// Whether clients speak TLS.
    pub tls: bool,
    /// Whether the RPCs are shown to grpcurl.
    pub reflection: bool,
    /// Who may register.
    pub registration: Registration,
}

const ECHO: &str = "echo answers in sessions (CreateChatSession without an assistant of your own)";

const EXPOSED: &str = "\
Warning: the network reaches this port, without TLS. Passwords and messages can be read on their way: have TLS end in front of
it, set --public-tls-cert-file and --public-tls-key-file, or listen to this machine only.
";

impl Banner<'_> {
    /// Prints it. A standard output that nobody reads is no reason to stop.
    pub fn print(&self) {
        let _ = io::stdout().write_all(self.text().as_bytes());
        let _ = io::stdout().flush();
    }

    fn text(&self) -> String {
        let address = reachable(self.listen);
        let (with, scheme, plaintext) = if self.tls {
            ("with", "https", "")
        } else {
            ("without", "http", "-plaintext ")
        };
        let row = |name: &str, value: &str| format!("  {name:<14}{value}\n");
        let mut text = format!("\ntidings {} is serving\n\n", env!("CARGO_PKG_VERSION"));
        text += &row("Data", &self.data_dir.display().to_string());
        text += &row("Persistence", self.persistence);
        text += &row(
            "gRPC, JSON",
            &format!("{address} (gRPC, gRPC-Web, Connect on one port, {with} TLS)"),
        );
        if self.listen.ip().is_unspecified() {
            text += &row("Listening", &format!("{} (every address of this machine)", self.listen));
        }
        if self.web {
            text += &row("Web", &format!("{scheme}://{address}/"));
        }
        text += &row("Health", &format!("{scheme}://{address}/healthz"));
        text += &row("Mail", &self.mail);
        text += &row("Assistant", if self.assistant { ECHO } else { "none" });
        text += &row("Registration", registration(self.registration));
        if let Some(admin) = &self.admin {
            text += &row("Admin", admin);
        }
        if !self.tls && !self.listen.ip().to_canonical().is_loopback() {
            text += &format!("\n{EXPOSED}");
        }
        text += "\nTry it:\n\n";
        // Without reflection grpcurl does not know what it could call.
        if self.reflection {
            text += &format!("  grpcurl {plaintext}{address} tidings.gateway.v1.GatewayService/GetServerInfo\n");
        }
        text += &format!(
            "  curl -s -H 'content-type: application/json' -d '{{}}' {scheme}://{address}/tidings.gateway.v1.GatewayService/GetServerInfo

Ctrl-C stops it. What is stored stays in the data folder.

"
        );
        text
    }
}

const fn registration(who: Registration) -> &'static str {
    match who {
        Registration::Open => "open: everybody may register, and is told whether an address is in use",
        Registration::Verified => "verified: everybody who proves their address by mail",
        Registration::Closed => "closed",
    }
}

/// An address that a client on this machine can use.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner(listen: &str) -> Banner<'_> {
        Banner {
            listen: listen.parse().unwrap(),
            data_dir: Path::new("/srv/chat"),
            persistence: "private PostgreSQL 15.18 in /srv/chat/postgres",
            mail: "/srv/chat/mail".to_owned(),
            admin: None,
            assistant: true,
            web: false,
            tls: false,
            reflection: true,
            registration: Registration::Open,
        }
    }

    #[test]
    fn the_lines_to_try_name_an_address_that_can_be_reached() {
        let banner = banner("0.0.0.0:7700");
        let text = banner.text();
        assert!(text.contains("grpcurl -plaintext 127.0.0.1:7700 tidings."), "{text}");
        assert!(text.contains("http://127.0.0.1:7700/tidings."), "{text}");
        assert!(text.contains("/srv/chat/mail"), "{text}");
        let text = Banner { tls: true, ..banner }.text();
        assert!(text.contains("grpcurl 127.0.0.1:7700 tidings."), "{text}");
        assert!(text.contains("https://127.0.0.1:7700/tidings."), "{text}");
    }

    #[test]
    fn a_port_that_is_open_to_the_network_is_told_and_warned_of() {
        for (listen, everywhere, warned) in [
            ("0.0.0.0:7700", true, true),
            ("[::]:7700", true, true),
            ("192.0.2.7:7700", false, true),
            ("127.0.0.1:7700", false, false),
            ("[::1]:7700", false, false),
        ] {
            let text = banner(listen).text();
            assert!(text.contains(listen) || !everywhere, "{text}");
            assert_eq!(text.contains("every address"), everywhere, "{text}");
            assert_eq!(text.contains("without TLS. Passwords"), warned, "{text}");
            let tls = Banner {
                tls: true,
                ..banner(listen)
            };
            assert!(!tls.text().contains("Warning"), "{}", tls.text());
        }
    }

    #[test]
    fn a_command_that_does_not_work_is_not_printed() {
        let text = Banner {
            reflection: false,
            ..banner("127.0.0.1:7700")
        }
        .text();
        assert!(!text.contains("grpcurl") && text.contains("  curl -s"), "{text}");
    }

    #[test]
    fn who_may_register_is_told() {
        assert!(
            banner("127.0.0.1:7700")
                .text()
                .contains("Registration  open: everybody")
        );
        let closed = Banner {
            registration: Registration::Closed,
            ..banner("127.0.0.1:7700")
        };
        assert!(closed.text().contains("Registration  closed"));
    }
}
