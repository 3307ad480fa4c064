//! The webhooks that an [oracle](crate::oracle) posts, and at which rate.
//!
//! The number of an event determines its form, and so the row that must result from it.
//!
//! The benchmark has a load generator of its own. This one checks every event, so it may be slow: it blocks,
//! retries and remembers. The benchmark's must not be slower than what it measures, and it stops at the first
//! answer other than 200. They share the HTTP heads of [`crate::http`].

use std::time::Duration;

use crate::events::{self, number_of, numbered_event};
use crate::message::Record;

/// How many columns the events of [`EventForm::Unknown`] add, in addition to a split one. Few, since every
/// row has them.
const NEW_COLUMNS: u64 = 12;
/// The longest payload of [`EventForm::Large`], in bytes.
const LONGEST_PAYLOAD: u64 = 100_000;

/// The form of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventForm {
    /// As Mailjet sends it.
    Plain,
    /// With a long payload.
    Large,
    /// With an undocumented field, and a value that does not fit its column.
    Unknown,
    /// Not an event: a number instead of an object, which must end up in `_sdc_rejected`.
    NonEvent,
}

impl EventForm {
    const ALL: [EventForm; 4] = [EventForm::Plain, EventForm::Large, EventForm::Unknown, EventForm::NonEvent];

    /// The number of the `nth` event if it has this form. Later events have greater numbers.
    #[must_use]
    pub fn number(self, nth: u64) -> u64 {
        let form = EventForm::ALL.iter().position(|form| *form == self).expect("it is one of them");
        nth * EventForm::ALL.len() as u64 + form as u64
    }

    /// The form of the event with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let form = usize::try_from(number % EventForm::ALL.len() as u64).expect("a small number");
        EventForm::ALL[form]
    }
}

/// Which webhooks are posted, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct LoadProfile {
    /// How many connections post at once. Each is kept alive.
    pub connections: usize,
    /// How many events each request has, in turn. One event is posted as an object, several as an array.
    pub sizes: &'static [u64],
    /// The form of the events.
    pub form: EventForm,
    /// Whether each request also has an item that is not an event.
    pub with_item: bool,
    /// How long a connection pauses for each acknowledged event.
    pub pause: Duration,
    /// How long a connection waits before it sends a request again. Mailjet waits 30 seconds.
    pub retry_after: Duration,
}

impl LoadProfile {
    /// No load.
    pub const NONE: LoadProfile = LoadProfile {
        connections: 0,
        sizes: &[1],
        form: EventForm::Plain,
        with_item: false,
        pause: Duration::ZERO,
        retry_after: Duration::from_millis(5),
    };

    /// A load in which every fifth request is grouped.
    #[must_use]
    pub fn some_grouped(connections: usize, pause: Duration) -> Self {
        LoadProfile { connections, sizes: &[1, 1, 1, 1, 3], pause, ..LoadProfile::NONE }
    }

    /// The same load with pauses that limit it to `events_a_second`.
    #[must_use]
    pub fn paced(self, events_a_second: u32) -> Self {
        let connections = u32::try_from(self.connections).expect("a small number");
        LoadProfile { pause: Duration::from_secs(connections.into()) / events_a_second, ..self }
    }
}

/// The text of the event with this number.
#[must_use]
pub fn event(number: u64) -> String {
    let plain = numbered_event(number);
    match EventForm::from_number(number) {
        EventForm::Plain => plain,
        EventForm::Large => {
            let payload = "x".repeat(usize::try_from(number * 7919 % LONGEST_PAYLOAD).expect("an index"));
            plain.replace(r#""Payload":"""#, &format!(r#""Payload":"{payload}""#))
        }
        EventForm::Unknown => {
            let column = number / EventForm::ALL.len() as u64 % NEW_COLUMNS;
            let known = plain.strip_suffix('}').expect("an object");
            format!(r#"{known},"soaked_{column}":{number},"hard_bounce":"perhaps"}}"#)
        }
        EventForm::NonEvent => number.to_string(),
    }
}

/// The number of the event from which `row` results.
#[must_use]
pub fn number_in_row(row: &Record) -> u64 {
    match row.get("record") {
        Some(_) => {
            row.text("record").parse().unwrap_or_else(|_| panic!("no such item was sent: {}", row.text))
        }
        None => number_of(row),
    }
}

/// Asserts that `row` results from the event with this number.
pub fn assert_row(row: &Record, number: u64) {
    match EventForm::from_number(number) {
        // The number is the whole item, and it was read from the row.
        EventForm::NonEvent => {}
        EventForm::Unknown => {
            let changes = [("hard_bounce", "null"), ("hard_bounce__st", r#""perhaps""#)];
            events::assert_row(row, &event(number), &changes);
        }
        EventForm::Plain | EventForm::Large => events::assert_row(row, &event(number), &[]),
    }
}
