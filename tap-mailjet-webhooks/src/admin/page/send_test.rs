//! "Send a test": posts one event to this tap, as Mailjet does, and shows what came back.
//!
//! The test has a token of its own, which is stored nowhere and ends with the test. It posts to `public_url`,
//! as Mailjet does. If that cannot be reached from this machine, it posts to the listen address.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use catalog::event::EventType;
use serde::Deserialize;
use tracing::info;
use url::Url;
use uuid::Builder;
use warp::http::StatusCode;

use super::headline::{State, sentence};
use super::items::{Piece, pieces};
use super::request::Request;
use super::response::Answer;
use super::view::Frame;
use super::{Context, blocking, failed};
use crate::http;
use crate::listener::token::Token;
use crate::mailjet::send_test::{Connection, Sender, TestPoster, with_message_guid};
use crate::os::clock::UnixMillis;
use crate::spool::{ItemKind, Sequence, SpoolError, SpoolStats};

/// How long a post may take.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the page waits for the target to confirm the event.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The number of newest items among which the event is looked for.
const MAX_SEARCHED: u32 = 10_000;

/// The outcome of the last test in a session.
#[derive(Debug, Clone)]
pub(super) struct TestResult {
    event: EventType,
    attempts: Vec<Attempt>,
    /// The sequence of the stored event; `None` if it was not stored.
    sequence: Option<Sequence>,
    confirmed_after: Option<Duration>,
}

/// A post, and what came back.
#[derive(Debug, Clone)]
struct Attempt {
    /// Scheme, host and port.
    place: String,
    took: Duration,
    /// The status and the body of the answer, or why there is none.
    outcome: Result<(u16, String), String>,
}

/// A test, as the page shows it.
#[derive(Debug)]
pub(super) struct TestView {
    pub(super) event: &'static str,
    /// Says that another post had no answer, if one came before.
    pub(super) before: Option<String>,
    pub(super) state: State,
    /// "200 in 38 ms".
    pub(super) status: String,
    pub(super) text: String,
    /// The body of the answer.
    pub(super) answer: Option<Vec<Piece>>,
    /// The sequence of the stored event; `None` if it was not stored.
    pub(super) sequence: Option<i64>,
}

/// The body of an answer of this program.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answered {
    accepted: Option<u64>,
    error: Option<String>,
}

/// Sends a test, and redirects to its result.
pub(super) async fn send(context: &Arc<Context>, request: &Request, frame: Frame) -> Answer {
    let event = request.field("event").and_then(|name| EventType::from_name(&name));
    let Some(event) = event else {
        let text = "Choose one of the types of events.";
        return Answer::message(frame, StatusCode::BAD_REQUEST, "Nothing was sent", text);
    };
    match blocking(context, move |context| run(context, event)).await {
        Ok(result) => {
            context.sessions.with_data(&frame.form_token, |session| session.test = Some(result));
            Answer::redirect("/#test")
        }
        Err(error) => failed(frame, &error),
    }
}

fn run(context: &Context, event: EventType) -> Result<TestResult, SpoolError> {
    let mut guid = [0; 16];
    let Ok(temporary) = getrandom::fill(&mut guid).and_then(|()| context.tokens.admit_temporarily()) else {
        let outcome = Err("the system's random source failed".to_owned());
        let attempts = vec![Attempt { place: "this tap".to_owned(), took: Duration::ZERO, outcome }];
        return Ok(TestResult { event, attempts, sequence: None, confirmed_after: None });
    };
    let guid = Builder::from_random_bytes(guid).into_uuid().to_string();
    let now = UnixMillis::now();
    let body = with_message_guid(&Sender::Mailjet.event(event, now.get() / 1000), &guid);
    let sent_at = Instant::now();
    let mut attempts = vec![post(&context.config.public_url, true, temporary.token(), &body)];
    let own_address = own_address(context);
    if attempts[0].outcome.is_err() && origin(&own_address) != attempts[0].place {
        // The certificate, if there is one, is for the host in public_url.
        attempts.push(post(&own_address, false, temporary.token(), &body));
    }
    drop(temporary);
    info!("a test event ({}) was sent on the status page", event.name());
    // Whatever the answer was, this shows whether the event is stored.
    let sequence = find(context, &body)?;
    let confirmed_after = match sequence {
        Some(sequence) if context.has_emitter => wait_until_confirmed(context, sequence, sent_at),
        _ => None,
    };
    Ok(TestResult { event, attempts, sequence, confirmed_after })
}

fn post(base: &Url, verifies_certificate: bool, token: &Token, body: &str) -> Attempt {
    let connection = Connection { timeout: POST_TIMEOUT, verifies_certificate };
    let started = Instant::now();
    let poster = TestPoster::new(&token.url(base.as_str()).into(), Sender::Mailjet, connection);
    let outcome = poster.and_then(|poster| poster.post(body)).map_err(|error| error.reason().to_owned());
    Attempt { place: origin(base), took: started.elapsed(), outcome }
}

/// The scheme, host and port of a URL.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The address on which this process listens, as a URL with the credentials that it demands.
fn own_address(context: &Context) -> Url {
    let address = http::from_this_machine(context.listen_address);
    let mut url = Url::parse(&format!("{}://{address}", context.config.listen_scheme))
        .expect("an address is the host of a URL");
    let public = &context.config.public_url;
    url.set_username(public.username())
        .and_then(|()| url.set_password(public.password()))
        .expect("an http URL has a host");
    url
}

/// Finds the event that was stored with this body.
fn find(context: &Context, body: &str) -> Result<Option<Sequence>, SpoolError> {
    let mut found = None;
    let mut reader = context.spool.reader()?;
    reader.read_newest(ItemKind::Event, Sequence::END, MAX_SEARCHED, &mut |item| {
        if item.body == body.as_bytes() {
            found = Some(item.sequence);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Waits up to [`CONFIRMATION_TIMEOUT`] for the target to confirm an item. Returns the time since `sent_at`.
fn wait_until_confirmed(context: &Context, sequence: Sequence, sent_at: Instant) -> Option<Duration> {
    let deadline = Instant::now() + CONFIRMATION_TIMEOUT;
    while Instant::now() < deadline {
        let stats = context.source.snapshot()?.spool?.stats;
        if stats.confirmed_through.is_some_and(|confirmed| confirmed >= sequence) {
            return Some(sent_at.elapsed());
        }
        thread::sleep(POLL_INTERVAL);
    }
    None
}

impl TestResult {
    /// Describes the result, and how far the event has got by now.
    pub(super) fn view(&self, stats: Option<&SpoolStats>) -> TestView {
        let (last, earlier) = self.attempts.split_last().expect("there is an attempt");
        let before = earlier.first().map(|attempt| {
            let reason = attempt.outcome.as_ref().err().map_or("", String::as_str);
            format!(
                "{} cannot be reached from here: {} So the same event was posted to the listen address, {}:",
                attempt.place,
                sentence(reason),
                last.place
            )
        });
        let milliseconds = last.took.as_millis();
        let (state, status, text, answer) = match &last.outcome {
            Err(reason) => {
                let text = format!("From {}: {}", last.place, sentence(reason));
                (State::Bad, "No answer".to_owned(), text, None)
            }
            Ok((status, body)) => {
                let answered: Answered = serde_json::from_str(body).unwrap_or_default();
                let is_accepted = *status == 200 && answered.accepted == Some(1);
                let (state, text) = match (is_accepted, answered.error) {
                    (true, _) => (State::Ok, self.progress(stats)),
                    (false, Some(error)) => {
                        let stored = if self.sequence.is_some() {
                            "It was stored all the same."
                        } else {
                            "Nothing was stored."
                        };
                        (State::Bad, format!("Refused: {error}. {stored}"))
                    }
                    (false, None) => {
                        let text = format!(
                            "This is not an answer of this tap: something else answers at {}.",
                            last.place
                        );
                        (State::Bad, text)
                    }
                };
                (state, format!("{status} in {milliseconds} ms"), text, Some(pieces(body)))
            }
        };
        let sequence = self.sequence.map(Sequence::get);
        TestView { event: self.event.name(), before, state, status, text, answer, sequence }
    }

    /// How far the accepted event has got.
    fn progress(&self, stats: Option<&SpoolStats>) -> String {
        let reaches = |position: Option<Sequence>| {
            self.sequence.is_some_and(|sequence| position.is_some_and(|position| position >= sequence))
        };
        match (self.confirmed_after, stats) {
            (Some(after), _) => format!(
                "Accepted, on disk, and confirmed by the target {:.1} s later.",
                after.as_secs_f64().max(0.1)
            ),
            (None, Some(stats)) if reaches(stats.confirmed_through) => {
                "Accepted, on disk, and confirmed by the target.".to_owned()
            }
            (None, Some(stats)) if reaches(stats.written_through) => {
                "Accepted, on disk, and written to the target, which has not confirmed it yet.".to_owned()
            }
            _ => "Accepted, and on disk.".to_owned(),
        }
    }
}
