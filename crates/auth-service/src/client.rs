//! From where a call comes, as its user will see it.

use std::net::IpAddr;

use tidings_rpc::{AGENT_HEADER, RateKey, client_address};
use tonic::Request;

/// The longest name of a client that is kept.
const AGENT_CHARS_MAX: usize = 256;

/// The client of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// Where the transport has one.
    pub address: Option<IpAddr>,
    /// What it calls itself: printable ASCII, perhaps nothing.
    pub agent: String,
}

impl Client {
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let headers = request.metadata().as_ref();
        let agent = headers.get(AGENT_HEADER).or_else(|| headers.get("user-agent"));
        let agent = agent.and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            address: client_address(request),
            agent: agent
                .chars()
                .filter(|c| matches!(c, ' '..='~'))
                .take(AGENT_CHARS_MAX)
                .collect(),
        }
    }

    /// The network that it is in, such as `192.0.2.0/24` or `2001:db8::/56`; empty where that is not known. The address itself is
    /// not kept.
    pub(crate) fn prefix(&self) -> String {
        match self.address.map(RateKey::prefix) {
            Some(RateKey::Prefix(network @ IpAddr::V4(_))) => format!("{network}/24"),
            Some(RateKey::Prefix(network @ IpAddr::V6(_))) => format!("{network}/56"),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_its_network_and_what_it_calls_itself() {
        let client = |address: &str| Client {
            address: address.parse().ok(),
            agent: String::new(),
        };
        assert_eq!(client("192.0.2.77").prefix(), "192.0.2.0/24");
        assert_eq!(client("2001:db8:1:2ab::1").prefix(), "2001:db8:1:200::/56");
        assert_eq!(Client::default().prefix(), "");

        let mut request = Request::new(());
        assert_eq!(Client::of(&request).agent, "");
        request
            .metadata_mut()
            .insert("user-agent", "grpc-rust/1".parse().expect("ASCII"));
        assert_eq!(Client::of(&request).agent, "grpc-rust/1");
        let long = "x".repeat(300).parse().expect("ASCII");
        request.metadata_mut().insert("x-tidings-agent", long);
        assert_eq!(Client::of(&request).agent.len(), 256);
    }
}
