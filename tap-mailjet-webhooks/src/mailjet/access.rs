//! The address of Mailjet's API, and the keys to it.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::{Host, Url};

use crate::spool::MailjetAccount;

/// What gives access to an account of Mailjet.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // The types say what the fields are.
pub struct Access {
    pub url: ApiUrl,
    pub api_key: ApiKey,
    pub secret_key: ApiKey,
}

impl Access {
    /// Identifies the account.
    pub fn account(&self) -> MailjetAccount {
        let hash = Sha256::digest(self.api_key.0.expose_secret().as_bytes());
        // So short that it does not help to guess the key, and long enough to tell a few keys apart.
        let start = hash.iter().take(8).fold(0_u64, |start, byte| (start << 8) | u64::from(*byte));
        MailjetAccount::new(format!("{start:016x}"))
    }
}

/// An API key or a secret key: text without spaces, colons and control characters.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct ApiKey(SecretString);

impl ApiKey {
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl TryFrom<String> for ApiKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() || text.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
            return Err("it cannot be a key");
        }
        Ok(ApiKey(text.into()))
    }
}

/// The scheme, host and port of Mailjet's API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiUrl(Url);

impl ApiUrl {
    /// Returns the address of a resource, given its path and query.
    pub(super) fn resource(&self, path: &str) -> String {
        format!("{}v3/REST/{path}", self.0)
    }
}

impl Default for ApiUrl {
    fn default() -> Self {
        ApiUrl(Url::parse("https://api.mailjet.com").expect("a URL"))
    }
}

impl TryFrom<String> for ApiUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let url = Url::parse(&text).map_err(|_| "it is not a URL")?;
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err("it has no host"),
        };
        // The keys are sent with every call.
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
            return Err("it does not start with https://");
        }
        let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
        if has_more || !url.username().is_empty() || url.password().is_some() {
            return Err("it is more than a host");
        }
        Ok(ApiUrl(url))
    }
}

impl From<ApiUrl> for String {
    fn from(url: ApiUrl) -> Self {
        url.0.as_str().trim_end_matches('/').to_owned()
    }
}

impl std::fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_url_is_a_host_that_is_asked_over_https() {
        let api_url = |text: &str| ApiUrl::try_from(text.to_owned());
        for right in ["https://api.mailjet.com", "https://api.us.mailjet.com/", "http://127.0.0.1:8080"] {
            let shown = api_url(right).expect(right).to_string();
            assert_eq!(shown, right.trim_end_matches('/'));
        }
        for wrong in [
            "api.mailjet.com",
            "http://api.mailjet.com",
            "https://api.mailjet.com/v3",
            "https://user:secret@api.mailjet.com",
            "https://",
        ] {
            api_url(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_key_is_never_shown_and_accounts_differ_by_their_api_keys() {
        let key = |text: &str| ApiKey::try_from(text.to_owned()).expect("a key");
        let access = |api_key: &str| Access {
            url: ApiUrl::default(),
            api_key: key(api_key),
            secret_key: key("hunter2"),
        };
        assert!(!format!("{:?}", access("hunter3")).contains("hunter"));
        assert_eq!(access("a").account(), access("a").account());
        assert_ne!(access("a").account(), access("b").account());
        for wrong in ["", "a b", "a:b", "a\n"] {
            ApiKey::try_from(wrong.to_owned()).expect_err(wrong);
        }
    }
}
