//! The host names that requests to the admin address may ask for.
//!
//! A stranger's web page can make a browser on the operator's machine send requests to the admin address, by
//! letting the stranger's host name resolve to it ("DNS rebinding"). Such a request has the stranger's name
//! in its `Host` header.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use warp::http::HeaderMap;
use warp::http::header::HOST;

/// Host names, besides IP addresses and localhost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct AdminHosts(Vec<String>);

impl AdminHosts {
    /// Whether a request names a host by which it may ask.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(HOST).iter();
        // Of two lines, a proxy in front may have looked at either one.
        let (Some(line), None) = (lines.next(), lines.next()) else { return false };
        line.to_str().is_ok_and(|host| self.is_allowed(host))
    }

    fn is_allowed(&self, host: &str) -> bool {
        let name = without_port(host);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

impl TryFrom<Vec<String>> for AdminHosts {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, Self::Error> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let wrong = names.iter().find(|name| name.is_empty() || !name.chars().all(is_name));
        match wrong {
            Some(name) => Err(format!("\"{name}\" is not a host name")),
            None => Ok(AdminHosts(names)),
        }
    }
}

impl From<AdminHosts> for Vec<String> {
    fn from(hosts: AdminHosts) -> Self {
        hosts.0
    }
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn allows(hosts: &AdminHosts, lines: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HOST, HeaderValue::from_static(line));
        }
        hosts.allow(&headers)
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_allowed_and_no_others() {
        let hosts = AdminHosts::try_from(vec!["tap.example.com".to_owned()]).expect("a name");
        for allowed in [
            "127.0.0.1",
            "127.0.0.1:8481",
            "192.0.2.1:80",
            "[::1]:8481",
            "[2001:db8::1]",
            "localhost:8481",
            "LOCALHOST",
            "tap.example.com",
            "Tap.Example.com:8481",
        ] {
            assert!(allows(&hosts, &[allowed]), "{allowed}");
        }
        for refused in
            ["", "rebind.example.net", "localhost.example.net", "127.0.0.1.example.net:8481", "x:y"]
        {
            assert!(!allows(&hosts, &[refused]), "{refused}");
        }
        assert!(!allows(&hosts, &[]) && !allows(&hosts, &["localhost", "localhost"]));
        for wrong in ["https://tap.example.com", "tap:8481", "", "a b"] {
            AdminHosts::try_from(vec![wrong.to_owned()]).expect_err(wrong);
        }
    }
}
