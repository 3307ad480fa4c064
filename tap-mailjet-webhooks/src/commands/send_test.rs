//! `send-test`: posts what Mailjet's "Send a test" button posts, and prints the answers.

use std::convert::Infallible;

use catalog::event::EventType;
use clap::Args;
use secrecy::SecretString;

use super::{CommandError, event_type, print};
use crate::mailjet::send_test::{Connection, Sender, TestPoster};
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
    /// Post as Mailjet does: with its user agent, and events as long as real ones, singly and then all in a
    /// group. Proxies and firewalls in front of the tap then treat them alike
    #[arg(long)]
    pub like_mailjet: bool,
    /// The webhook URL to post to
    // clap repeats a value that it cannot parse, so a secret is taken as any text and parsed later.
    #[arg(long, value_name = "URL", value_parser = |text: &str| Ok::<SecretString, Infallible>(text.into()))]
    pub url: SecretString,
}

/// Not every event was accepted.
#[derive(Debug, thiserror::Error)]
#[error("{refused} of {posted} posts were not accepted (their status is not 200); the tap's log says why")]
pub struct EventsRefused {
    refused: u32,
    posted: u32,
}

/// Posts the events and prints one line for each answer.
pub fn execute(args: &SendTestArgs) -> Result<(), CommandError> {
    let sender = if args.like_mailjet { Sender::Mailjet } else { Sender::TestButton };
    let poster = TestPoster::new(&args.url, sender, Connection::default())?;
    let unix_seconds = UnixMillis::now().get() / 1000;
    let events = args.event.map_or(EventType::ALL.to_vec(), |event| vec![event]);
    let mut posts: Vec<(&str, String)> =
        events.iter().map(|event| (event.name(), sender.event(*event, unix_seconds))).collect();
    if args.like_mailjet {
        let all: Vec<_> = posts.iter().map(|(_, event)| event.as_str()).collect();
        let group = format!("[{}]", all.join(","));
        posts.push(("group", group));
    }
    let (mut posted, mut refused) = (0, 0);
    for (name, body) in posts {
        for _ in 0..args.count {
            let (status, answer) = poster.post(&body)?;
            print(format!("{name:8} {status} {answer}\n"))?;
            posted += 1;
            refused += u32::from(status != 200);
        }
    }
    if refused == 0 { Ok(()) } else { Err(EventsRefused { refused, posted }.into()) }
}
