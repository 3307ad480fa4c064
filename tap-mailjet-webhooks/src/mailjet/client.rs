//! The client of Mailjet's REST resource `eventcallbackurl`.
//!
//! Facts about the resource: a page has 10 rows unless `Limit` says otherwise; a PUT that changes nothing is
//! answered 304 without a body; a second POST for an event is answered 400 with `MJ18`; some errors come as
//! HTML. PUT and DELETE without a number would change or delete all rows, so every method that sends one
//! takes a number.

use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use tracing::debug;
use ureq::Agent;

use catalog::event::EventType;

use super::access::{Access, ApiUrl};
use super::callback::{CallbackRow, CallbackUrl};
use super::error::ApiError;
use super::http;
use super::retry::{CallFailure, Repeat, retry};

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The bytes of an answer that are read.
const ANSWER_BYTES: u64 = 4 << 20;
/// The rows that are asked for at once. An account has up to 14.
const PAGE_ROWS: usize = 1000;
/// How many pages are read at most.
const MAX_PAGES: usize = 10;
/// How much of a message from Mailjet is shown.
const MAX_MESSAGE_CHARS: usize = 200;

/// What a row is to be set to.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// Where Mailjet shall post.
    pub url: &'a CallbackUrl,
    /// Whether the events of a second shall come in one request.
    pub is_grouped: bool,
}

/// What an account has.
#[derive(Debug, Default)]
pub struct Listing {
    /// The rows for documented events.
    pub rows: Vec<CallbackRow>,
    /// The URLs of rows that were not understood, such as those for events that Mailjet no longer documents.
    pub others: Vec<CallbackUrl>,
}

/// A client for one account.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: ApiUrl,
    authorization: SecretString,
    is_patient: bool,
}

/// An answer: its status and body.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Client {
    /// Creates a client that repeats calls which fail for a reason that may pass, for about a minute.
    pub fn new(access: &Access) -> Self {
        let credentials = format!("{}:{}", access.api_key.expose(), access.secret_key.expose());
        let user_agent = concat!("tap-mailjet-webhooks/", env!("CARGO_PKG_VERSION"));
        Client {
            agent: http::agent(TIMEOUT).user_agent(user_agent).build().into(),
            url: access.url.clone(),
            authorization: format!("Basic {}", STANDARD.encode(credentials)).into(),
            is_patient: true,
        }
    }

    /// Creates a client that repeats nothing, for a caller that will try again later.
    pub fn impatient(access: &Access) -> Self {
        Client { is_patient: false, ..Client::new(access) }
    }

    /// Returns the rows of the account.
    pub fn list(&self) -> Result<Listing, ApiError> {
        let mut listing = Listing::default();
        for page in 0..MAX_PAGES {
            let offset = page * PAGE_ROWS;
            let path = format!("eventcallbackurl?Limit={PAGE_ROWS}&Offset={offset}");
            let data = self.rows_at(&path)?;
            for row in &data {
                match CallbackRow::read(row) {
                    Some(row) => listing.rows.push(row),
                    None => listing.others.extend(CallbackUrl::read(row)),
                }
            }
            if data.len() < PAGE_ROWS {
                break;
            }
        }
        Ok(listing)
    }

    /// Returns the row with this number; `None` if it does not exist any more.
    pub(super) fn row(&self, row: i64) -> Result<Option<CallbackRow>, ApiError> {
        match self.rows_at(&format!("eventcallbackurl/{row}")) {
            Ok(rows) => Ok(rows.first().and_then(CallbackRow::read)),
            Err(ApiError::Gone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rows_at(&self, path: &str) -> Result<Vec<Map<String, Value>>, ApiError> {
        let resource = self.url.resource(path);
        let answer = self.call(Repeat::Transient, |client| {
            client.agent.get(&resource).header("Authorization", client.authorization()).call()
        });
        self.rows_in(&answer.map_err(|failure| failure.error)?)
    }

    /// Registers a URL for an event that has no primary one.
    pub(super) fn create(&self, event: EventType, setting: &Setting<'_>) -> Result<(), CallFailure> {
        let mut fields = fields(setting);
        fields["EventType"] = json!(event.name());
        fields["IsBackup"] = json!(false);
        let body = fields.to_string();
        self.call(Repeat::Refused, |client| {
            client
                .agent
                .post(client.url.resource("eventcallbackurl"))
                .header("Authorization", client.authorization())
                .content_type("application/json")
                .send(&body)
        })
        .map(drop)
    }

    /// Changes a row in place.
    pub(super) fn update(&self, row: i64, setting: &Setting<'_>) -> Result<(), CallFailure> {
        let body = fields(setting).to_string();
        let resource = self.url.resource(&format!("eventcallbackurl/{row}"));
        self.call(Repeat::Transient, |client| {
            client
                .agent
                .put(&resource)
                .header("Authorization", client.authorization())
                .content_type("application/json")
                .send(&body)
        })
        .map(drop)
    }

    /// Deletes a row. It is no failure if the row does not exist.
    pub fn delete(&self, row: i64) -> Result<(), ApiError> {
        let resource = self.url.resource(&format!("eventcallbackurl/{row}"));
        let deleted = self.call(Repeat::Transient, |client| {
            client.agent.delete(&resource).header("Authorization", client.authorization()).call()
        });
        match deleted {
            Ok(_) => Ok(()),
            Err(failure) if failure.error == ApiError::Gone => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }

    fn authorization(&self) -> &str {
        self.authorization.expose_secret()
    }

    /// Makes a call, and repeats it if that is allowed.
    fn call(
        &self,
        repeat: Repeat,
        send: impl Fn(&Self) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, CallFailure> {
        let repeat = if self.is_patient { repeat } else { Repeat::Nothing };
        retry(repeat, thread::sleep, || {
            let no_answer = |error: &ureq::Error| match error {
                other if http::is_host_unknown(other) => {
                    ApiError::HostUnknown { api_url: self.url.to_string() }
                }
                other => ApiError::NoAnswer { api_url: self.url.to_string(), reason: http::reason(other) },
            };
            let mut response = send(self).map_err(|error| no_answer(&error))?;
            let status = response.status().as_u16();
            let body = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
            let answer = Answer { status, body: body.map_err(|error| no_answer(&error))? };
            debug!("Mailjet answers {status} with {} bytes", answer.body.len());
            self.check(&answer)?;
            Ok(answer)
        })
    }

    /// Turns an answer that is no success into an error.
    fn check(&self, answer: &Answer) -> Result<(), ApiError> {
        let status = answer.status;
        // 304: the row is already as the PUT wants it.
        if (200..300).contains(&status) || status == 304 {
            return Ok(());
        }
        let api_url = self.url.to_string();
        let message = answer.message();
        Err(match (status, message) {
            (401, _) => ApiError::Unauthorized { api_url },
            (403, message) => ApiError::Forbidden { message: message.unwrap_or_default() },
            (429, _) => ApiError::TooManyRequests { waited: Duration::ZERO },
            (500.., message) => ApiError::Unavailable { status, message: message.unwrap_or_default() },
            (_, None) => ApiError::NotTheApi { api_url, status, what: answer.kind() },
            (404, Some(_)) => ApiError::Gone,
            (_, Some(message)) if message.starts_with("MJ18") => ApiError::AlreadyExists,
            (_, Some(message)) => ApiError::Refused { status, message },
        })
    }

    /// Returns the rows of an answer to a list.
    fn rows_in(&self, answer: &Answer) -> Result<Vec<Map<String, Value>>, ApiError> {
        let envelope: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let not_the_api = || ApiError::NotTheApi {
            api_url: self.url.to_string(),
            status: answer.status,
            what: answer.kind(),
        };
        let data = envelope.as_ref().and_then(|envelope| envelope.get("Data")).and_then(Value::as_array);
        // An answer that is not understood must not look like an account without rows.
        let rows = data.ok_or_else(not_the_api)?.iter().map(|row| row.as_object().cloned());
        rows.collect::<Option<_>>().ok_or_else(not_the_api)
    }
}

/// The fields of a row that we set. `Status` is the word that revives a URL, together with a new one.
fn fields(setting: &Setting<'_>) -> Value {
    json!({
        "Url": setting.url.expose(),
        "Status": "alive",
        "Version": if setting.is_grouped { 2 } else { 1 },
    })
}

impl Answer {
    /// Returns Mailjet's message, in one line; `None` if this is not an answer of the API. `ErrorInfo` may be
    /// text or an object.
    fn message(&self) -> Option<String> {
        let body: Map<String, Value> = serde_json::from_slice(&self.body).ok()?;
        let texts = ["ErrorMessage", "ErrorInfo"].map(|name| match body.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Object(info)) if !info.is_empty() => Value::Object(info.clone()).to_string(),
            _ => String::new(),
        });
        let parts: Vec<_> = texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        if parts.is_empty() && !body.contains_key("StatusCode") {
            return None;
        }
        Some(shown(&parts.join("; ")))
    }

    /// Says what an answer that is not from the API looks like.
    fn kind(&self) -> &'static str {
        match self.body.trim_ascii_start() {
            [] => "an empty body",
            [b'<', ..] => "an HTML page",
            body if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
                "JSON that is not Mailjet's"
            }
            _ => "something that is not JSON",
        }
    }
}

/// The shortest run of letters and digits that may be a token or a key.
const MAX_SHOWN_RUN: usize = 20;

/// Makes a message of Mailjet fit for a line, without what may be secret: a message may repeat a URL, as it
/// is or escaped.
fn shown(message: &str) -> String {
    let is_secret = |word: &str| {
        let mut runs = word.split(|c: char| !c.is_ascii_alphanumeric());
        ["://", ":\\/", "%2F", "%2f", "@"].iter().any(|sign| word.contains(sign))
            || runs.any(|run| run.len() >= MAX_SHOWN_RUN)
    };
    let words = message.split_whitespace().map(|word| if is_secret(word) { "<hidden>" } else { word });
    let words: Vec<_> = words.collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> Option<String> {
        Answer { status: 400, body: body.as_bytes().to_vec() }.message()
    }

    #[test]
    fn a_message_is_one_line_in_every_form_that_mailjet_sends_and_repeats_no_url() {
        let cases = [
            (
                r#"{"ErrorInfo": "", "ErrorMessage": "MJ18 A\nthing", "StatusCode": 400}"#,
                Some("MJ18 A thing"),
            ),
            (r#"{"ErrorMessage": "no", "ErrorInfo": {"Url": "bad"}}"#, Some(r#"no; {"Url":"bad"}"#)),
            (r#"{"ErrorMessage": "not https://u:p@a/hunter2 now"}"#, Some("not <hidden> now")),
            (r#"{"ErrorMessage": "u:hunter2@a.example.com/x"}"#, Some("<hidden>")),
            (r#"{"ErrorInfo": "{\"u\":\"https:\\/\\/a\\/hunter2\"}"}"#, Some("<hidden>")),
            (r#"{"ErrorMessage": "a.example.com/0123456789abcdef0123456789abcdef"}"#, Some("<hidden>")),
            (r#"{"StatusCode": 400}"#, Some("")),
            (r#"{"Count": 0}"#, None),
            ("<html>429</html>", None),
            ("", None),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body).as_deref(), expected, "{body}");
        }
        let long = format!(r#"{{"ErrorMessage": "{}"}}"#, "x ".repeat(10_000));
        assert_eq!(message(&long).map(|message| message.len()), Some(MAX_MESSAGE_CHARS));
    }
}
