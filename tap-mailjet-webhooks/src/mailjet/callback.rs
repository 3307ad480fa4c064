//! A webhook URL as Mailjet's API shows it: a row of the resource `eventcallbackurl`.
//!
//! The rows are read leniently, because the API has changed before: names and numbers in several forms,
//! fields that are missing, and fields that are not known.

use catalog::event::EventType;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::Url;

use crate::listener::token;
use crate::spool::TokenHash;

/// A row: what Mailjet posts one type of event to.
#[derive(Debug, Clone)]
pub struct CallbackRow {
    /// Its number, which PUT and DELETE need.
    pub id: i64,
    /// The type of event.
    pub event: EventType,
    /// Where Mailjet posts.
    pub url: CallbackUrl,
    /// Whether it is used only once the primary URL is suspended.
    pub is_backup: bool,
    /// False once Mailjet has suspended the URL.
    pub is_alive: bool,
    /// Whether the events of a second come in one request.
    pub is_grouped: bool,
}

impl CallbackRow {
    /// Reads a row; `None` if it is not for one of the documented events, or has no number.
    pub(super) fn read(row: &Map<String, Value>) -> Option<Self> {
        let field = |name: &str| row.get(name).unwrap_or(&Value::Null);
        Some(CallbackRow {
            id: integer(field("ID")).filter(|id| *id > 0)?,
            event: event_type(field("EventType"))?,
            url: CallbackUrl(field("Url").as_str().unwrap_or_default().to_owned().into()),
            is_backup: flag(field("IsBackup")),
            is_alive: !text(field("Status")).eq_ignore_ascii_case("dead"),
            is_grouped: integer(field("Version")) == Some(2),
        })
    }
}

/// Mailjet's numbers for the types of events.
fn event_type(value: &Value) -> Option<EventType> {
    match integer(value) {
        Some(1) => Some(EventType::Click),
        Some(2) => Some(EventType::Bounce),
        Some(3) => Some(EventType::Spam),
        Some(4) => Some(EventType::Blocked),
        Some(5) => Some(EventType::Unsub),
        Some(6) => Some(EventType::Open),
        Some(7) => Some(EventType::Sent),
        Some(_) => None,
        None => EventType::from_name(&text(value).to_ascii_lowercase()),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default().trim()
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| text(value).parse().ok())
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| text(value).eq_ignore_ascii_case("true") || integer(value) == Some(1))
}

/// A URL that Mailjet posts to. Parts of it are secret, ours or somebody else's.
#[derive(Debug, Clone)]
pub struct CallbackUrl(SecretString);

impl CallbackUrl {
    /// Returns the URL of a row that is not understood.
    pub(super) fn read(row: &Map<String, Value>) -> Option<Self> {
        Some(CallbackUrl::new(row.get("Url")?.as_str()?.to_owned()))
    }

    /// Wraps a URL.
    pub fn new(url: String) -> Self {
        CallbackUrl(url.into())
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The URL, if it is one.
    fn parsed(&self) -> Option<Url> {
        Url::parse(self.expose().trim()).ok()
    }

    /// The last part of its path, without a slash behind it.
    fn last_segment(url: &Url) -> &str {
        url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// The hash of its token, if it has the form of our URLs, with whatever host, case, port and credentials.
    pub fn token(&self) -> Option<TokenHash> {
        let url = self.parsed()?;
        Some(token::Token::parse(Self::last_segment(&url).to_owned())?.hash())
    }

    /// Returns the webhook URL with the same token below `base_url`.
    pub(super) fn moved_to(&self, base_url: &SecretString) -> Option<CallbackUrl> {
        let url = self.parsed()?;
        let token = token::Token::parse(Self::last_segment(&url).to_owned())?;
        Some(CallbackUrl::new(token.url(base_url.expose_secret())))
    }

    /// Whether both lead to the same place, with the same credentials.
    pub(super) fn is_same(&self, other: &CallbackUrl) -> bool {
        let normal = |url: &CallbackUrl| {
            let mut url = url.parsed()?;
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&path);
            let decode = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<_>>();
            let credentials = (decode(url.username()), decode(url.password().unwrap_or_default()));
            let without =
                [url.scheme(), url.host_str()?, url.path(), url.query().unwrap_or_default()].join(" ");
            Some((credentials, without, url.port_or_known_default()))
        };
        match (normal(self), normal(other)) {
            (Some(one), Some(other)) => one == other,
            _ => self.expose() == other.expose(),
        }
    }

    /// Returns what may be shown: scheme, host and port. Any other part may be secret.
    pub fn shown(&self) -> String {
        let Some(url) = self.parsed() else { return "something that is not a URL".to_owned() };
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let path = if url.path() == "/" { "" } else { "/…" };
        format!("{}://{host}{port}{path}", url.scheme())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(row: Value) -> Option<CallbackRow> {
        let Value::Object(row) = row else { panic!("an object") };
        CallbackRow::read(&row)
    }

    #[test]
    fn rows_are_read_in_every_form_in_which_mailjet_may_send_them() {
        let url = "https://hooks.example.com/x";
        let rows = [
            json!({"ID": 5, "EventType": "sent", "Url": url, "IsBackup": true, "Status": "dead",
                   "Version": 2}),
            json!({"ID": "5", "EventType": 7, "Url": url, "IsBackup": "true", "Status": "Dead",
                   "Version": "2"}),
            json!({"ID": 5, "EventType": "7", "Url": url, "IsBackup": 1, "Status": " dead", "Version": 2,
                   "AccountID": null, "Topic": {"x": []}}),
        ];
        for row in rows {
            let read = read(row).expect("a row");
            assert_eq!((read.id, read.event, read.is_backup), (5, EventType::Sent, true));
            assert_eq!((read.is_alive, read.is_grouped), (false, true));
            assert_eq!(read.url.shown(), "https://hooks.example.com/…");
        }
        let least = read(json!({"ID": 1, "EventType": "OPEN"})).expect("a row");
        assert_eq!((least.is_backup, least.is_alive, least.is_grouped), (false, true, false));
        for wrong in
            [json!({}), json!({"ID": 0, "EventType": "open"}), json!({"ID": 3, "EventType": "typofix"})]
        {
            assert!(read(wrong.clone()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn our_urls_are_recognised_by_their_token_whatever_stands_around_it() {
        let digits = "ab".repeat(32);
        let token = token::Token::parse(digits.clone()).expect("a token").hash();
        for url in [
            format!("https://hooks.example.com/v1/mailjet/{digits}"),
            format!("HTTPS://u:p%40@HOOKS.example.com:8443/behind/v1/mailjet/{digits}/?from=mailjet"),
        ] {
            assert_eq!(CallbackUrl::new(url).token(), Some(token));
        }
        for other in ["", "https://hooks.example.com/", "no url", &format!("https://a/{}", &digits[1..])] {
            assert_eq!(CallbackUrl::new((*other).to_owned()).token(), None, "{other}");
        }
    }

    #[test]
    fn the_same_url_is_recognised_in_other_spellings() {
        let same = |one: &str, other: &str| {
            CallbackUrl::new(one.to_owned()).is_same(&CallbackUrl::new(other.to_owned()))
        };
        assert!(same("https://u:%70@Example.com:443/a/", "https://u:p@example.com/a"));
        for other in ["http://example.com/a", "https://example.com/A", "https://u@example.com/a", "x"] {
            assert!(!same("https://example.com/a", other), "{other}");
        }
    }

    #[test]
    fn nothing_secret_of_a_url_is_shown() {
        let secret = "hunter2hunter2hunter2";
        let url = CallbackUrl::new(format!("https://u:{secret}@example.com:1/hooks/{secret}?key={secret}"));
        assert_eq!(url.shown(), "https://example.com:1/…");
        assert!(!format!("{url:?}").contains("hunter"));
    }
}
