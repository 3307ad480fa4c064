//! Posts test events to a webhook URL: those of Mailjet's "Send a test" button, with the same empty fields,
//! or events like those of real messages.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use catalog::event::EventType;
use catalog::stream::event_columns;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::config::AutoHeaderValue;
use ureq::tls::TlsConfig;
use url::Url;

use super::http;

/// The bytes of an answer that are read. The answers of this program are shorter.
const ANSWER_BYTES: u64 = 1_000;

/// There is no answer from the webhook URL. No message repeats the URL, because parts of it are secret.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum PostError {
    #[error(
        "the webhook URL is not valid ({0}); it has to look like https://hooks.example.com/v1/mailjet/<token>"
    )]
    InvalidUrl(&'static str),
    #[error(
        "no answer from the webhook URL: {0}; check that the tap is running and that this is its address"
    )]
    NoAnswer(String),
}

impl PostError {
    /// Says why there is no answer, without any advice.
    pub fn reason(&self) -> &str {
        match self {
            PostError::InvalidUrl(reason) => reason,
            PostError::NoAnswer(reason) => reason,
        }
    }
}

/// Whom the posts imitate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Mailjet's "Send a test" button.
    TestButton,
    /// Mailjet's servers.
    Mailjet,
}

/// How a poster connects.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// How long a post may take, with its answer.
    pub timeout: Duration,
    /// Whether a server's certificate has to be valid for the host in the URL.
    pub verifies_certificate: bool,
}

impl Default for Connection {
    fn default() -> Self {
        Connection { timeout: Duration::from_secs(60), verifies_certificate: true }
    }
}

/// The user agent with which Mailjet's posts have been seen.
const MAILJET_USER_AGENT: &str = "Go-http-client/2.0";

impl Sender {
    /// Returns an event that happened at `unix_seconds`.
    pub fn event(self, event: EventType, unix_seconds: i64) -> String {
        match self {
            Sender::TestButton => test_event(event, unix_seconds).to_string(),
            Sender::Mailjet => {
                let mut fields: Map<String, Value> =
                    serde_json::from_str(event.sample()).expect("samples are JSON objects");
                fields.insert("time".to_owned(), json!(unix_seconds));
                Value::Object(fields).to_string()
            }
        }
    }
}

/// Posts test events to one webhook URL.
#[derive(Debug)]
pub struct TestPoster {
    agent: Agent,
    /// The URL without user name and password. Its last part is secret.
    url: SecretString,
    /// The `Authorization` header, if the URL has a user name or password.
    authorization: Option<SecretString>,
}

impl TestPoster {
    /// Prepares to post to `url`, which may contain a user name and password.
    pub fn new(url: &SecretString, sender: Sender, connection: Connection) -> Result<Self, PostError> {
        let mut url = Url::parse(url.expose_secret()).map_err(|error| {
            PostError::InvalidUrl(match error {
                url::ParseError::RelativeUrlWithoutBase => "it does not start with https:// or http://",
                url::ParseError::EmptyHost => "it has no host",
                url::ParseError::InvalidPort => "its port is not a number up to 65535",
                _ => "its host is not a name or an address",
            })
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(PostError::InvalidUrl("it does not start with https:// or http://"));
        }
        let tls = TlsConfig::builder().disable_verification(!connection.verifies_certificate).build();
        let agent = http::agent(connection.timeout).tls_config(tls);
        let agent = match sender {
            Sender::TestButton => agent,
            // Go's client sends no `Accept`.
            Sender::Mailjet => {
                agent.user_agent(MAILJET_USER_AGENT).accept(AutoHeaderValue::None).accept_encoding("gzip")
            }
        };
        let agent = agent.build().into();
        let authorization = take_credentials(&mut url)
            .map(|credentials| format!("Basic {}", STANDARD.encode(credentials)).into());
        Ok(TestPoster { agent, url: String::from(url).into(), authorization })
    }

    /// Posts a body. Returns the status and, in one line, the body of the answer.
    pub fn post(&self, body: &str) -> Result<(u16, String), PostError> {
        let mut request = self.agent.post(self.url.expose_secret()).content_type("application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization.expose_secret());
        }
        let mut answer =
            request.send(body.as_bytes()).map_err(|error| PostError::NoAnswer(http::reason(&error)))?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES).lossy_utf8(true).read_to_string();
        // A longer body is not from this program, and its status says enough.
        let body = body.unwrap_or_default().trim_end().replace(['\n', '\r'], " ");
        Ok((answer.status().as_u16(), body))
    }
}

/// Removes user name and password from a URL. Returns them unescaped, as `user:password`.
fn take_credentials(url: &mut Url) -> Option<Vec<u8>> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let unescaped = |text: &str| percent_decode_str(text).collect::<Vec<_>>();
    let credentials = [unescaped(url.username()), unescaped(url.password().unwrap_or_default())].join(&b':');
    url.set_username("").and_then(|()| url.set_password(None)).expect("an http URL has a host");
    Some(credentials)
}

/// Gives an event that imitates one of Mailjet's a `Message_GUID` of its own, so that it can be recognised.
pub fn with_message_guid(event: &str, guid: &str) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(event).unwrap_or_default();
    fields.insert("Message_GUID".to_owned(), json!(guid));
    Value::Object(fields).to_string()
}

/// Returns what the button sends: no message, and `""` for every other field, whatever its type.
fn test_event(event: EventType, unix_seconds: i64) -> Value {
    let mut fields = Map::new();
    for column in event_columns(event) {
        let value = match column.name.as_str() {
            "event" => json!(event.name()),
            "time" => json!(unix_seconds),
            "MessageID" => json!(0),
            "Message_GUID" | "comment" => continue,
            _ => json!(""),
        };
        fields.insert(column.name, value);
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_moved_from_the_url_to_the_header() {
        let take = |url: &str| {
            let mut url = Url::parse(url).expect("a URL");
            let credentials = take_credentials(&mut url);
            (url.to_string(), credentials.map(|bytes| String::from_utf8(bytes).expect("UTF-8")))
        };
        let cases = [
            (
                "https://mail%3Ajet:a:b%40%C3%A9%25@example.com:1/x@y",
                "https://example.com:1/x@y",
                Some("mail:jet:a:b@é%"),
            ),
            ("https://user@example.com/x", "https://example.com/x", Some("user:")),
            ("http://example.com/a@b", "http://example.com/a@b", None),
        ];
        for (url, without, credentials) in cases {
            assert_eq!(take(url), (without.to_owned(), credentials.map(str::to_owned)));
        }
    }

    #[test]
    fn no_error_shows_the_url() {
        for url in [
            "hunter2",
            "ftp://u:hunter2@localhost/",
            "http://u:hunter2@local host/hunter2",
            "http://u:hunter2@localhost:port/",
        ] {
            let error =
                TestPoster::new(&url.into(), Sender::TestButton, Connection::default()).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
            assert!(error.to_string().contains("https://hooks.example.com/v1/mailjet/<token>"), "{error}");
        }
        let url = "http://u:hunter2@127.0.0.1:9/hunter2".into();
        let poster = TestPoster::new(&url, Sender::Mailjet, Connection::default()).expect("a URL");
        let error = poster.post("{}").expect_err("nothing listens on this port");
        assert!(!format!("{error} {error:?} {poster:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn a_test_event_is_as_empty_as_mailjets() {
        let bounce = test_event(EventType::Bounce, 1_513_975_381).to_string();
        let expected = [
            r#"{"event":"bounce","time":1513975381,"MessageID":0,"email":"","mj_campaign_id":"","#,
            r#""mj_contact_id":"","customcampaign":"","CustomID":"","Payload":"","blocked":"","#,
            r#""hard_bounce":"","error_related_to":"","error":""}"#,
        ];
        assert_eq!(bounce, expected.concat());
    }
}
