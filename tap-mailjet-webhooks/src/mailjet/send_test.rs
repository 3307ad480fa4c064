//! Plays Mailjet's "Send a test" button: the same events, with the same empty fields.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use catalog::event::EventType;
use catalog::stream::event_columns;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use ureq::Agent;

use crate::cli::SendTestArgs;

const TIMEOUT: Duration = Duration::from_secs(60);
/// How much of an answer is shown.
const ANSWER_BYTES: u64 = 1_000;

/// Why `send-test` failed.
#[derive(Debug, thiserror::Error)]
pub enum SendTestError {
    /// No answer came. The URL is not repeated: its last part is secret.
    #[error("no answer from the webhook URL: {0}; is the tap running, and is this its address?")]
    NoAnswer(String),
    /// Something else than 200 was answered.
    #[error("{refused} of {posts} posts were not answered with 200")]
    AppendError {
        /// How many.
        refused: u32,
        /// Of how many.
        posts: u32,
    },
    /// The answers can't be printed.
    #[error("stdout can't be written to: {0}")]
    Output(#[from] io::Error),
}

/// Posts the events, and prints a line for each answer.
pub fn send(args: &SendTestArgs, unix_seconds: i64, out: &mut impl Write) -> Result<(), SendTestError> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .into();
    let events = args.event.map_or(EventType::ALL.to_vec(), |event| vec![event]);
    let (mut posts, mut refused) = (0, 0);
    for event in events {
        for _ in 0..args.count {
            let (status, answer) = post(&agent, &args.url, &test_event(event, unix_seconds))?;
            writeln!(out, "{:8} {status} {answer}", event.name())?;
            posts += 1;
            refused += u32::from(status != 200);
        }
    }
    if refused == 0 { Ok(()) } else { Err(SendTestError::AppendError { refused, posts }) }
}

fn post(agent: &Agent, url: &str, event: &Value) -> Result<(u16, String), SendTestError> {
    let no_answer = |error: ureq::Error| SendTestError::NoAnswer(reason(&error));
    let (url, credentials) = split_credentials(url);
    let mut request = agent.post(&*url).content_type("application/json");
    if let Some(credentials) = credentials {
        request = request.header("Authorization", format!("Basic {}", STANDARD.encode(credentials)));
    }
    let mut answer = request.send(event.to_string().as_bytes()).map_err(no_answer)?;
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES).lossy_utf8(true).read_to_string();
    // A longer answer is not one of ours: its status says enough.
    Ok((answer.status().as_u16(), text.unwrap_or_default().trim_end().replace(['\n', '\r'], " ")))
}

/// Takes `user:password@` out of a URL, and what is escaped in it as it was meant.
fn split_credentials(url: &str) -> (Cow<'_, str>, Option<Vec<u8>>) {
    let split = || {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (credentials, host) = authority.rsplit_once('@')?;
        let (username, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let [username, password] =
            [username, password].map(|text| percent_decode_str(text).collect::<Vec<_>>());
        Some((format!("{scheme}://{host}{path}"), [username, password].join(&b':')))
    };
    match split() {
        Some((url, credentials)) => (url.into(), Some(credentials)),
        None => (url.into(), None),
    }
}

/// What went wrong, without the URL.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            "it is not a URL; one looks like https://hooks.example.com/v1/mailjet/<token>".to_owned()
        }
        other => other.to_string(),
    }
}

/// What the button sends: no message, and `""` for every other field, whatever its type.
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
    fn credentials_are_taken_out_of_a_url() {
        let (url, credentials) = split_credentials("https://mail%3Ajet:a:b%40%C3%A9@example.com:1/x@y");
        assert_eq!(&*url, "https://example.com:1/x@y");
        assert_eq!(credentials.as_deref(), Some("mail:jet:a:b@é".as_bytes()));
        assert_eq!(split_credentials("http://example.com/a@b").1, None);
    }

    #[test]
    fn a_test_event_is_as_empty_as_mailjets() {
        let bounce = test_event(EventType::Bounce, 1_513_975_381).to_string();
        let expected = r#"{"event":"bounce","time":1513975381,"MessageID":0,"email":"","mj_campaign_id":"","mj_contact_id":"","customcampaign":"","CustomID":"","Payload":"","blocked":"","hard_bounce":"","error_related_to":"","error":""}"#;
        assert_eq!(bounce, expected);
    }
}
