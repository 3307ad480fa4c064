//! The address guard: where a request comes from, and whether that is allowed.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use tracing::warn;
use warp::http::header::{HeaderMap, HeaderName};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A set of networks. An IPv4 address written as an IPv6 address is the same: `::ffff:192.0.2.1` is
/// 192.0.2.1.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks(Vec<IpNet>);

impl TryFrom<Vec<String>> for Networks {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        let parse = |text: &String| {
            parse_network(text).ok_or_else(|| format!("{text:?} is neither a network nor an address"))
        };
        Ok(Networks(texts.iter().map(parse).collect::<Result<_, _>>()?))
    }
}

/// Reads a network such as `192.0.2.0/24`, or a single address.
fn parse_network(text: &str) -> Option<IpNet> {
    let network = IpNet::from_str(text).or_else(|_| IpAddr::from_str(text).map(IpNet::from)).ok()?;
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(prefix) = v6.prefix_len().checked_sub(96)
    {
        return Some(IpNet::V4(Ipv4Net::new(v4, prefix).ok()?));
    }
    Some(network)
}

impl Networks {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Which addresses may post, and which proxies are trusted to report the address of their client.
#[derive(Debug, Clone)]
pub struct AddressGuard {
    allowed: Networks,
    trusted_proxies: Networks,
}

impl AddressGuard {
    /// Returns a guard that admits `allowed`, directly or behind `trusted_proxies`; `None` if `allowed` is
    /// empty, which means that any address may post.
    pub(crate) fn new(allowed: Networks, trusted_proxies: Networks) -> Option<Self> {
        if !allowed.is_empty() {
            return Some(AddressGuard { allowed, trusted_proxies });
        }
        if !trusted_proxies.is_empty() {
            warn!(
                "config key \"trusted_proxies\" has no effect without \"allowed_networks\": every \
                 address may post webhooks"
            );
        }
        None
    }

    /// Checks where a request comes from. If that is not allowed, returns the client's address, as far as it
    /// is known.
    pub(in crate::listener) fn check(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<(), Option<IpAddr>> {
        let client = self.client(peer.ip().to_canonical(), headers).ok_or(None)?;
        if self.allowed.contains(client) { Ok(()) } else { Err(Some(client)) }
    }

    /// Returns the client behind the proxies; `None` if a trusted proxy reports something that is not an
    /// address.
    ///
    /// Each proxy appends the address of its own client to X-Forwarded-For. So the header is read from the
    /// right, and only for as long as the entries come from trusted proxies: anybody can have made up the
    /// entries further left.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer;
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
            if !self.trusted_proxies.contains(client) {
                break;
            }
            client = parse_address(hop)?;
        }
        Some(client)
    }
}

/// Reads an address. Some proxies append a port, put it into quotes, or append the zone of a link-local
/// address (`fe80::1%eth0`).
fn parse_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).trim();
    let text = match text.split_once('%') {
        Some((address, zone)) => {
            let after_zone = zone.find(']').map_or("", |end| &zone[end..]);
            format!("{address}{after_zone}")
        }
        None => text.to_owned(),
    };
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
    let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(ToString::to_string).collect::<Vec<_>>().try_into().expect("networks")
    }

    #[test]
    fn an_address_matches_its_network_in_any_notation() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.9/24", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("192.0.2.0/24", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.0/120", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
        ];
        for (network, address, is_in) in cases {
            let guard = AddressGuard::new(networks(&[network]), Networks::default()).expect("a guard");
            let peer = SocketAddr::new(address.parse().expect("an address"), 1);
            assert_eq!(guard.check(peer, &HeaderMap::new()).is_ok(), is_in, "{address} in {network}");
        }
        for wrong in ["", "192.0.2.0/33", "192.0.2", "192.0.2.0/24/8", "2001:db8::/129", "example.com", "*"] {
            assert!(Networks::try_from(vec![wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy() {
        let guard = AddressGuard::new(
            networks(&["203.0.113.0/24"]),
            networks(&["127.0.0.1", "10.0.0.0/8", "2001:db8:7::/48"]),
        )
        .expect("a guard");
        let cases: &[(&str, &[&str], Option<&str>)] = &[
            ("127.0.0.1", &["203.0.113.5"], Some("203.0.113.5")),
            ("::ffff:127.0.0.1", &["::ffff:203.0.113.5"], Some("203.0.113.5")),
            ("127.0.0.1", &[], Some("127.0.0.1")),
            ("127.0.0.1", &[""], Some("127.0.0.1")),
            // Without a trusted proxy, the header does not count.
            ("198.51.100.1", &["203.0.113.5"], Some("198.51.100.1")),
            ("198.51.100.1", &["garbage"], Some("198.51.100.1")),
            // The entries further left are what the client itself sent.
            ("127.0.0.1", &["203.0.113.5, 198.51.100.1"], Some("198.51.100.1")),
            ("127.0.0.1", &["203.0.113.5", "198.51.100.1"], Some("198.51.100.1")),
            ("127.0.0.1", &["garbage, 203.0.113.5"], Some("203.0.113.5")),
            ("127.0.0.1", &["\"garbage, 203.0.113.5"], Some("203.0.113.5")),
            ("127.0.0.1", &["203.0.113.9, 203.0.113.5, 10.1.2.3"], Some("203.0.113.5")),
            ("127.0.0.1", &["203.0.113.9,203.0.113.5", " 10.1.2.3 ,, 2001:db8:7::1"], Some("203.0.113.5")),
            ("127.0.0.1", &["10.0.0.1, 10.0.0.2"], Some("10.0.0.1")),
            // With a port.
            ("127.0.0.1", &["203.0.113.5:4711"], Some("203.0.113.5")),
            ("127.0.0.1", &["[2001:db8::5]:4711"], Some("2001:db8::5")),
            ("127.0.0.1", &["[2001:db8::5]"], Some("2001:db8::5")),
            // In quotes, and with a zone.
            ("127.0.0.1", &["\"203.0.113.5\""], Some("203.0.113.5")),
            ("127.0.0.1", &["\"[2001:db8::5]:4711\""], Some("2001:db8::5")),
            ("127.0.0.1", &["fe80::5%eth0"], Some("fe80::5")),
            ("127.0.0.1", &["[fe80::5%eth0]:4711"], Some("fe80::5")),
            // A trusted proxy that does not report an address: the client is unknown.
            ("127.0.0.1", &["203.0.113.5, unknown"], None),
            ("127.0.0.1", &["203.0.113.5, _hidden"], None),
            ("127.0.0.1", &["203.0.113.5, \u{e9}"], None),
            ("127.0.0.1", &["203.0.113.5;203.0.113.6"], None),
        ];
        for (peer, lines, client) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
            }
            let peer = peer.parse::<IpAddr>().expect("an address").to_canonical();
            let expected = client.map(|client| client.parse().expect("an address"));
            assert_eq!(guard.client(peer, &headers), expected, "{peer} sends {lines:?}");
        }
    }
}
