//! What of a client's headers goes on to a service: a list of what is needed, never a list of what is harmful.

use std::net::IpAddr;

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE, TE, USER_AGENT},
};
use tidings_rpc::{AGENT_HEADER, CLIENT_HEADER, ClientAddress, RateKey};

use crate::Network;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// `grpc-timeout` is written anew from the deadline, and the trace by [`Peer`](tidings_rpc::Peer) from the current span. All
/// that says who calls other than `authorization` stays behind, and so does baggage.
const PASSED: [HeaderName; 4] = [AUTHORIZATION, CONTENT_TYPE, GRPC_ENCODING, GRPC_ACCEPT_ENCODING];

/// The longest name of a client that goes on to services. Browsers' are about half as long.
const AGENT_LEN_MAX: usize = 256;

/// What a client calls itself in `user-agent`, as an extension of its request: the header itself is lost where a protocol is
/// translated. Printable ASCII, at most [`AGENT_LEN_MAX`] of it, and never nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAgent(HeaderValue);

impl ClientAgent {
    /// What the client calls itself, without what is no printable ASCII. `None` where nothing is left.
    pub fn of(client: &HeaderMap) -> Option<Self> {
        let named = client.get(USER_AGENT)?.as_bytes().iter().copied();
        let printable: Vec<u8> = named.filter(|byte| (b' '..=b'~').contains(byte)).collect();
        let text = printable.trim_ascii();
        let text = text.get(..AGENT_LEN_MAX).unwrap_or(text);
        let value = HeaderValue::from_bytes(text).ok()?;
        (!value.is_empty()).then_some(Self(value))
    }
}

/// The headers of the call to a service, of a client's headers and of what is known of the client otherwise: its
/// [`ClientAddress`] and its [`ClientAgent`]. Several `authorization` headers stay several: the service refuses them, as it would
/// from a client of its own.
pub fn for_service(client: &HeaderMap, known: &Extensions) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(10);
    for name in PASSED {
        for value in client.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    // Under a name of its own: the header itself is the gateway's.
    if let Some(ClientAgent(agent)) = known.get() {
        headers.insert(AGENT_HEADER, agent.clone());
    }
    // HTTP/2 proxies of gRPC tell by it whether trailers can be passed on.
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(ClientAddress(address)) = known.get() {
        let value = HeaderValue::try_from(address.to_string()).expect("an address is ASCII");
        headers.insert(CLIENT_HEADER, value);
    }
    headers
}

/// Where a call comes from: the connection's other end, or if that is a trusted proxy, the nearest address in
/// `x-forwarded-for` that is none. Proxies append, so what stands left of that is the client's own invention.
pub fn client_address(connection: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = connection;
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    for entry in lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')) {
        if !is_trusted(nearest) {
            break;
        }
        let Some(address) = parse(entry.trim()) else { break };
        nearest = address;
    }
    nearest
}

/// The network that a call comes from, once [`client_address`] has said from which address.
pub fn network(known: &Extensions) -> RateKey {
    let address = known.get::<ClientAddress>();
    address.map_or(RateKey::Unknown, |ClientAddress(address)| RateKey::prefix(*address))
}

/// An address as proxies write it, some of them with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let address = entry.parse::<IpAddr>();
    let address = address.or_else(|_| entry.parse::<std::net::SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{Extensions, HeaderMap, HeaderValue};
    use tidings_rpc::{AGENT_HEADER, CLIENT_HEADER, ClientAddress, SERVICE_HEADER};

    use super::{ClientAgent, client_address, for_service};
    use crate::Network;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn resolved(connection: &str, lines: &[&'static str]) -> IpAddr {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().expect("a network")];
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        client_address(address(connection), &headers, &trusted)
    }

    #[test]
    fn only_a_trusted_proxy_says_where_a_call_comes_from() {
        assert_eq!(resolved("192.0.2.1", &["198.51.100.9"]), address("192.0.2.1"));
        assert_eq!(resolved("10.0.0.1", &["198.51.100.9"]), address("198.51.100.9"));
        assert_eq!(resolved("10.0.0.1", &[]), address("10.0.0.1"));
    }

    #[test]
    fn what_the_client_put_before_the_proxys_word_does_not_count() {
        let forged = "203.0.113.5, 198.51.100.9, 10.0.0.7";
        assert_eq!(resolved("10.0.0.1", &[forged]), address("198.51.100.9"));
        assert_eq!(
            resolved("10.0.0.1", &["203.0.113.5", "198.51.100.9:4711"]),
            address("198.51.100.9")
        );
        assert_eq!(resolved("10.0.0.1", &["203.0.113.5, garbage"]), address("10.0.0.1"));
    }

    #[test]
    fn what_would_be_believed_is_not_taken_from_the_client() {
        let mut client = HeaderMap::new();
        for name in ["x-user-id", "x-internal-user", "x-forwarded-for", "baggage", "cookie"] {
            client.insert(name, HeaderValue::from_static("forged"));
        }
        client.insert(SERVICE_HEADER, HeaderValue::from_static("forged"));
        client.insert(CLIENT_HEADER, HeaderValue::from_static("127.0.0.1"));
        client.insert(AGENT_HEADER, HeaderValue::from_static("forged"));
        client.append("authorization", HeaderValue::from_static("Bearer a"));
        client.append("authorization", HeaderValue::from_static("Bearer b"));
        let mut known = Extensions::new();
        known.insert(ClientAddress(address("192.0.2.1")));
        let headers = for_service(&client, &known);
        assert_eq!(headers.get_all("authorization").iter().count(), 2);
        assert_eq!(headers[CLIENT_HEADER], "192.0.2.1");
        assert_eq!(headers.len(), 4, "{headers:?}");
        assert!(for_service(&client, &Extensions::new()).get(CLIENT_HEADER).is_none());
    }

    /// What goes on of a client that calls itself this.
    fn agent(named: &[u8]) -> Option<String> {
        let mut client = HeaderMap::new();
        client.insert("user-agent", HeaderValue::from_bytes(named).expect("a header"));
        let mut known = Extensions::new();
        if let Some(agent) = ClientAgent::of(&client) {
            known.insert(agent);
        }
        let headers = for_service(&client, &known);
        assert!(headers.get("user-agent").is_none());
        let agent = headers.get(AGENT_HEADER)?;
        Some(agent.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn what_the_client_calls_itself_goes_on_cleaned_and_cut() {
        assert_eq!(agent(b"a browser/1.0").as_deref(), Some("a browser/1.0"));
        assert_eq!(
            agent("\ta br\u{f6}wser\t\u{202e}".as_bytes()).as_deref(),
            Some("a brwser")
        );
        assert_eq!(agent(&[b'x'; 5_000]), Some("x".repeat(256)));
        assert_eq!(agent(b""), None);
        assert_eq!(agent("\u{202e} \t".as_bytes()), None);
        assert_eq!(ClientAgent::of(&HeaderMap::new()), None);
    }
}
