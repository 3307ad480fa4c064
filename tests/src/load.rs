//! What an [oracle](crate::oracle) posts, and how much of it.
//!
//! An event is known by its number alone: the number says what form the event has, and so what its row has to be.

use std::time::Duration;

use crate::events::{self, number_of, numbered};
use crate::message::Record;

/// Columns that events of [`Form::Unknown`] bring, besides the split one. Few, since every row of the run has them.
const NEW_COLUMNS: u64 = 12;
/// The longest payload of [`Form::Large`]: bytes.
const LONGEST_PAYLOAD: u64 = 100_000;

/// What an event is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As Mailjet sends it.
    Plain,
    /// With a long payload.
    Large,
    /// With a field that no documentation knows, and a value that does not fit its column.
    Unknown,
    /// No event: a number where an object should be, which comes into `_sdc_rejected`.
    Item,
}

impl Form {
    const ALL: [Form; 4] = [Form::Plain, Form::Large, Form::Unknown, Form::Item];

    /// The number of an event of this form that is the `nth` of all: as they grow, so do the numbers.
    #[must_use]
    pub fn number(self, nth: u64) -> u64 {
        let form = Form::ALL.iter().position(|form| *form == self).expect("it is one of them");
        nth * Form::ALL.len() as u64 + form as u64
    }

    /// The form of the event with this number.
    #[must_use]
    pub fn of(number: u64) -> Self {
        let form = usize::try_from(number % Form::ALL.len() as u64).expect("a small number");
        Form::ALL[form]
    }
}

/// What is posted, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections that post at once, each kept alive.
    pub connections: usize,
    /// How many events the requests have, in turn. A single one is posted as an object, several as an array.
    pub sizes: &'static [u64],
    /// What the events are like.
    pub form: Form,
    /// Whether each request has an item besides that is no event.
    pub with_item: bool,
    /// How long a connection rests for each event that was acknowledged.
    pub pause: Duration,
}

impl Load {
    /// Nothing at all.
    pub const NONE: Load =
        Load { connections: 0, sizes: &[1], form: Form::Plain, with_item: false, pause: Duration::ZERO };

    /// Every fifth request is grouped.
    #[must_use]
    pub fn some_grouped(connections: usize, pause: Duration) -> Self {
        Load { connections, sizes: &[1, 1, 1, 1, 3], pause, ..Load::NONE }
    }

    /// The same, with pauses that make it so many events a second at most.
    #[must_use]
    pub fn paced(self, events_a_second: u32) -> Self {
        let connections = u32::try_from(self.connections).expect("a small number");
        Load { pause: Duration::from_secs(connections.into()) / events_a_second, ..self }
    }
}

/// The event with this number, as text.
#[must_use]
pub fn event(number: u64) -> String {
    let plain = numbered(number);
    match Form::of(number) {
        Form::Plain => plain,
        Form::Large => {
            let payload = "x".repeat(usize::try_from(number * 7919 % LONGEST_PAYLOAD).expect("an index"));
            plain.replace(r#""Payload":"""#, &format!(r#""Payload":"{payload}""#))
        }
        Form::Unknown => {
            let column = number / Form::ALL.len() as u64 % NEW_COLUMNS;
            let known = plain.strip_suffix('}').expect("an object");
            format!(r#"{known},"soaked_{column}":{number},"hard_bounce":"perhaps"}}"#)
        }
        Form::Item => number.to_string(),
    }
}

/// The number of the event that `row` came of.
#[must_use]
pub fn number_in_row(row: &Record) -> u64 {
    match row.get("record") {
        Some(_) => {
            row.text("record").parse().unwrap_or_else(|_| panic!("nothing like it was sent: {}", row.text))
        }
        None => number_of(row),
    }
}

/// Demands that `row` is what has to come of the event with this number.
pub fn assert_row(row: &Record, number: u64) {
    match Form::of(number) {
        // Its number is all of it, and that was read from the row.
        Form::Item => {}
        Form::Unknown => {
            let changes = [("hard_bounce", "null"), ("hard_bounce__st", r#""perhaps""#)];
            events::assert_row(row, &event(number), &changes);
        }
        Form::Plain | Form::Large => events::assert_row(row, &event(number), &[]),
    }
}
