//! Where processes listen, and where they find each other.

use std::net::SocketAddr;

use clap::Args;
use tidings_authn::Service;

/// The one port that clients use.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Addresses")]
pub struct PublicListenArgs {
    /// Where clients connect: gRPC, gRPC-Web and JSON on one port
    #[arg(
        long,
        env = "TIDINGS_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7700"
    )]
    pub listen: SocketAddr,
}

/// How clients reach the suite from outside.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Addresses")]
pub struct PublicUrlArgs {
    /// How clients reach the gateway, such as `https://chat.example.org`: what links in mails and to attachments begin with
    ///
    /// Without it, `http://`, or `https://` where this process speaks TLS with clients, and the address where clients connect: 127.0.0.1:7700 unless that is set otherwise in this process.
    #[arg(long, env = "TIDINGS_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
}

impl PublicUrlArgs {
    /// What is set, else where this process' gateway listens.
    pub fn or(&self, listen: SocketAddr, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        self.public_url
            .clone()
            .unwrap_or_else(|| format!("{scheme}://{listen}"))
    }

    /// What is set, else where a gateway listens that is not told otherwise.
    pub fn or_default(&self) -> String {
        let listen = ServicePorts::default_listen(Service::Gateway);
        self.public_url.clone().unwrap_or_else(|| format!("http://{listen}"))
    }
}

/// The ports of the services among themselves, where each is a process of its own.
#[derive(Debug, Clone, Copy)]
pub struct ServicePorts;

impl ServicePorts {
    /// Where a service listens unless told otherwise.
    pub const fn default_listen(service: Service) -> &'static str {
        match service {
            Service::Gateway => "127.0.0.1:7700",
            Service::Auth => "127.0.0.1:7711",
            Service::User => "127.0.0.1:7712",
            Service::Chat => "127.0.0.1:7713",
            Service::Message => "127.0.0.1:7714",
        }
    }
}

/// Where a process finds the services that it calls.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Addresses")]
pub struct PeerArgs {
    /// Where auth is found
    #[arg(
        long,
        env = "TIDINGS_AUTH_ADDRESS",
        value_name = "URL",
        default_value = "http://127.0.0.1:7711"
    )]
    auth_address: String,

    /// Where user is found
    #[arg(
        long,
        env = "TIDINGS_USER_ADDRESS",
        value_name = "URL",
        default_value = "http://127.0.0.1:7712"
    )]
    user_address: String,

    /// Where chat is found
    #[arg(
        long,
        env = "TIDINGS_CHAT_ADDRESS",
        value_name = "URL",
        default_value = "http://127.0.0.1:7713"
    )]
    chat_address: String,

    /// Where message is found
    #[arg(
        long,
        env = "TIDINGS_MESSAGE_ADDRESS",
        value_name = "URL",
        default_value = "http://127.0.0.1:7714"
    )]
    message_address: String,
}

impl PeerArgs {
    /// Where a service is found; nobody calls the gateway.
    pub fn address(&self, service: Service) -> Option<&str> {
        match service {
            Service::Auth => Some(&self.auth_address),
            Service::User => Some(&self.user_address),
            Service::Chat => Some(&self.chat_address),
            Service::Message => Some(&self.message_address),
            Service::Gateway => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Peers {
        #[command(flatten)]
        peers: PeerArgs,
    }

    #[test]
    fn services_are_looked_for_where_they_listen() {
        use clap::CommandFactory as _;
        let matches = Peers::command().get_matches_from(["tidings"]);
        let peers = Peers::from_arg_matches(&matches).unwrap().peers;
        for service in Service::ALL.into_iter().filter(|service| *service != Service::Gateway) {
            let listen = ServicePorts::default_listen(service);
            assert_eq!(peers.address(service), Some(format!("http://{listen}").as_str()));
        }
    }
}
