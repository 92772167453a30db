//! What `dev` prints when it serves.

use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

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
}

const ECHO: &str = "echo answers in sessions (CreateChatSession without an assistant of your own)";

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
        if self.web {
            text += &row("Web", &format!("{scheme}://{address}/"));
        }
        text += &row("Health", &format!("{scheme}://{address}/healthz"));
        text += &row("Mail", &self.mail);
        text += &row("Assistant", if self.assistant { ECHO } else { "none" });
        if let Some(admin) = &self.admin {
            text += &row("Admin", admin);
        }
        text += &format!(
            "
Try it:

  grpcurl {plaintext}{address} tidings.gateway.v1.GatewayService/GetServerInfo
  curl -s -H 'content-type: application/json' -d '{{}}' {scheme}://{address}/tidings.gateway.v1.GatewayService/GetServerInfo

Ctrl-C stops it. What is stored stays in the data folder.

"
        );
        text
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

    #[test]
    fn the_lines_to_try_name_an_address_that_can_be_reached() {
        let banner = Banner {
            listen: "0.0.0.0:7700".parse().unwrap(),
            data_dir: Path::new("/srv/chat"),
            persistence: "private PostgreSQL 15.18 in /srv/chat/postgres",
            mail: "/srv/chat/mail".to_owned(),
            admin: None,
            assistant: true,
            web: false,
            tls: false,
        };
        let text = banner.text();
        assert!(text.contains("grpcurl -plaintext 127.0.0.1:7700 tidings."), "{text}");
        assert!(text.contains("http://127.0.0.1:7700/tidings."), "{text}");
        assert!(text.contains("/srv/chat/mail"), "{text}");
        let text = Banner { tls: true, ..banner }.text();
        assert!(text.contains("grpcurl 127.0.0.1:7700 tidings."), "{text}");
        assert!(text.contains("https://127.0.0.1:7700/tidings."), "{text}");
    }
}
