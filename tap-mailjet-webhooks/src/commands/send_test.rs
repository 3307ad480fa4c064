//! `send-test`: posts what Mailjet's "Send a test" button posts, and prints the answers.

use std::convert::Infallible;

use catalog::event::EventType;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use secrecy::SecretString;

use super::{CommandError, print};
use crate::mailjet::send_test::TestPoster;
use crate::os::clock::UnixMillis;

/// What to post, and where.
#[derive(Debug, Args)]
pub struct SendTestArgs {
    /// The event to post; by default one of each type
    #[arg(long, value_name = "EVENT", value_parser = event_type())]
    pub event: Option<EventType>,
    /// How often to post it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// The webhook URL to post to
    // clap repeats a value that it cannot parse, so a secret is taken as any text and parsed later.
    #[arg(long, value_name = "URL", value_parser = |text: &str| Ok::<SecretString, Infallible>(text.into()))]
    pub url: SecretString,
}

/// Not every event was accepted.
#[derive(Debug, thiserror::Error)]
#[error("{refused} of {posted} events were not accepted (their status is not 200); the tap's log says why")]
pub struct EventsRefused {
    refused: u32,
    posted: u32,
}

/// Posts the events and prints one line for each answer.
pub fn execute(args: &SendTestArgs) -> Result<(), CommandError> {
    let poster = TestPoster::new(&args.url)?;
    let unix_seconds = UnixMillis::now().get() / 1000;
    let events = args.event.map_or(EventType::ALL.to_vec(), |event| vec![event]);
    let (mut posted, mut refused) = (0, 0);
    for event in events {
        for _ in 0..args.count {
            let (status, body) = poster.post(event, unix_seconds)?;
            print(format!("{:8} {status} {body}\n", event.name()))?;
            posted += 1;
            refused += u32::from(status != 200);
        }
    }
    if refused == 0 { Ok(()) } else { Err(EventsRefused { refused, posted }.into()) }
}

/// Accepts the name of one of Mailjet's events.
fn event_type() -> impl TypedValueParser<Value = EventType> {
    PossibleValuesParser::new(EventType::ALL.map(EventType::name)).map(|name| {
        EventType::ALL.into_iter().find(|event| event.name() == name).expect("one of the possible values")
    })
}
