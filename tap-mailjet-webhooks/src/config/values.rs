//! The types of configuration values that no component has a type of its own for. Reading one checks its
//! form.

use std::net::{AddrParseError, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use catalog::event::EventType;
use catalog::stream::DEFAULT_SYSTEM_PREFIX;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::listener::token::{MAX_ACTIVE, Token};
use crate::spool::{PostgresUrl, PostgresUrlError, TokenHash};

/// The start of a webhook URL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum PublicUrl {
    /// A URL without user name and password.
    Valid(Url),
    /// Something with an `@`, which may follow a password. It is refused only when it is needed, because the
    /// error for a value that cannot be read shows the value.
    WithCredentials,
}

impl TryFrom<String> for PublicUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let authority = rest.map_or(Some(text.as_str()), |rest| rest.split(['/', '?', '#']).next());
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Ok(PublicUrl::WithCredentials);
        }
        let rest = rest.ok_or("it does not start with https:// or http://")?;
        if rest.contains([' ', '?', '#']) {
            return Err("it is not the start of a URL");
        }
        Url::parse(&text).map(PublicUrl::Valid).map_err(|_| "it is not a URL")
    }
}

/// Where health, readiness and metrics are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum AdminAddress {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl TryFrom<String> for AdminAddress {
    type Error = AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            // An empty environment variable counts as not set, so there has to be a word as well.
            "" | "off" => Ok(AdminAddress::Off),
            address => address.parse().map(AdminAddress::At),
        }
    }
}

impl From<AdminAddress> for String {
    fn from(address: AdminAddress) -> Self {
        match address {
            AdminAddress::Off => "off".to_owned(),
            AdminAddress::At(address) => address.to_string(),
        }
    }
}

/// The path of the spool's file, without `~`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct SpoolPath(pub(super) PathBuf);

impl TryFrom<PathBuf> for SpoolPath {
    type Error = &'static str;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        // A shell does not expand `~` in a file or an environment variable.
        let path = match (path.strip_prefix("~"), std::env::home_dir()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
        };
        if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
            return Err("it does not name a file");
        }
        Ok(SpoolPath(path))
    }
}

/// The URL of a PostgreSQL spool, or why it is none. That is reported only when the URL is needed, because
/// the error for a value that cannot be read does not say what is wrong with a secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct SpoolUrl(pub(super) Result<PostgresUrl, String>);

impl From<String> for SpoolUrl {
    fn from(text: String) -> Self {
        SpoolUrl(text.parse().map_err(|error: PostgresUrlError| error.to_string()))
    }
}

/// What the names of the system columns start with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct SystemColumnPrefix(String);

impl SystemColumnPrefix {
    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SystemColumnPrefix {
    fn default() -> Self {
        SystemColumnPrefix(DEFAULT_SYSTEM_PREFIX.to_owned())
    }
}

impl TryFrom<String> for SystemColumnPrefix {
    type Error = &'static str;

    fn try_from(prefix: String) -> Result<Self, Self::Error> {
        if prefix.is_empty() {
            return Err("it is empty");
        }
        // Half of what PostgreSQL allows for a name, which leaves the other half for the rest of the name.
        if prefix.len() > 31 {
            return Err("it is longer than 31 characters");
        }
        if prefix.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("it starts with a digit");
        }
        if !prefix.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            return Err("it contains other characters than lower-case letters, digits and _");
        }
        Ok(SystemColumnPrefix(prefix))
    }
}

/// The events that are registered with Mailjet: at least one, in Mailjet's order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct MailjetEvents(Vec<EventType>);

impl MailjetEvents {
    /// The types of the events.
    pub fn types(&self) -> &[EventType] {
        &self.0
    }
}

impl Default for MailjetEvents {
    fn default() -> Self {
        MailjetEvents(EventType::ALL.to_vec())
    }
}

impl TryFrom<Vec<String>> for MailjetEvents {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, Self::Error> {
        if let Some(name) = names.iter().find(|name| EventType::from_name(name).is_none()) {
            return Err(format!("Mailjet has no event \"{name}\""));
        }
        if names.is_empty() {
            return Err("it names no event".to_owned());
        }
        let is_named = |event: &EventType| names.iter().any(|name| name == event.name());
        Ok(MailjetEvents(EventType::ALL.into_iter().filter(is_named).collect()))
    }
}

impl From<MailjetEvents> for Vec<String> {
    fn from(events: MailjetEvents) -> Self {
        events.0.iter().map(|event| event.name().to_owned()).collect()
    }
}

/// The webhook URL tokens of the configuration. Only their hashes are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct WebhookTokens(Vec<TokenHash>);

impl WebhookTokens {
    /// Returns the tokens; `None` if the spool's registry has them.
    pub fn configured(&self) -> Option<&[TokenHash]> {
        if self.0.is_empty() { None } else { Some(&self.0) }
    }
}

impl TryFrom<Vec<String>> for WebhookTokens {
    type Error = &'static str;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        let tokens: Option<Vec<_>> = texts.into_iter().map(|text| Some(Token::parse(text)?.hash())).collect();
        match tokens.as_deref() {
            None => Err("one of them is not a token"),
            Some([first, second]) if first == second => Err("both are the same"),
            Some(tokens) if tokens.len() > MAX_ACTIVE => Err("there are more than two"),
            Some(tokens) => Ok(WebhookTokens(tokens.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public_url(text: &str) -> Result<PublicUrl, &'static str> {
        PublicUrl::try_from(text.to_owned())
    }

    #[test]
    fn a_public_url_is_the_start_of_an_http_url() {
        for url in ["http://127.0.0.1:8480", "https://hooks.example.com/mail/@me", "https://[2001:db8::1]/"] {
            assert!(matches!(public_url(url), Ok(PublicUrl::Valid(_))), "{url}");
        }
        for wrong in ["", "hooks.example.com", "ftp://example.com", "http:a", " https://a", "https://"] {
            assert!(public_url(wrong).is_err(), "{wrong}");
        }
        for wrong in ["https://a b/", "https://a/?x", "https://a/#x", "https://a/?b@c"] {
            assert!(public_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_that_may_contain_a_password_is_neither_kept_nor_shown() {
        let urls = ["https://u:secret@example.com", "https://secret@example.com", "https://u:secret@a b/"];
        for url in urls.into_iter().chain(["u:secret@x", "x@y"]) {
            assert_eq!(public_url(url), Ok(PublicUrl::WithCredentials), "{url}");
        }
    }

    #[test]
    fn an_admin_address_can_be_off() {
        let address = |text: &str| AdminAddress::try_from(text.to_owned());
        assert_eq!([address(""), address("off")], [Ok(AdminAddress::Off), Ok(AdminAddress::Off)]);
        assert!(matches!(address("127.0.0.1:8481"), Ok(AdminAddress::At(_))));
        assert!(address("localhost").is_err());
    }

    #[test]
    fn a_system_column_prefix_is_the_start_of_a_column_name() {
        let prefix = |text: &str| SystemColumnPrefix::try_from(text.to_owned());
        for right in ["_sdc_", "mailjet_2", &"x".repeat(31)] {
            assert!(prefix(right).is_ok(), "{right}");
        }
        for wrong in ["", "2_", "_Mailjet_", "a-b", "é", &"x".repeat(32)] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mailjet_events_are_known_ones_in_mailjets_order() {
        let events = |names: &[&str]| {
            MailjetEvents::try_from(names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let events: Vec<_> =
            [&["open", "sent", "open"][..], &[], &["opens"]].into_iter().map(events).collect();
        assert_eq!(events[0], Ok(MailjetEvents(vec![EventType::Sent, EventType::Open])));
        assert!(events[1].is_err() && events[2].clone().is_err_and(|error: String| error.contains("opens")));
    }

    #[test]
    fn webhook_tokens_are_up_to_two_different_ones_and_are_not_shown() {
        let token = |digit: &str| digit.repeat(64);
        let tokens = |texts: &[String]| WebhookTokens::try_from(texts.to_vec());
        assert_eq!(tokens(&[]).expect("none is right").configured(), None);
        let two = tokens(&[token("a"), token("b")]).expect("two are right");
        assert_eq!(two.configured().map(<[_]>::len), Some(2));
        assert!(!format!("{two:?}").contains("aaaa"), "{two:?}");
        let [a, b, c] = ["a", "b", "c"].map(token);
        for wrong in [&[a.clone(), a.clone()][..], &[a, b, c], &["a".to_owned()], &[token("A")]] {
            assert!(tokens(wrong).is_err(), "{wrong:?}");
        }
    }
}
