//! What has come of the events that an [oracle](crate::oracle) has posted, row by row.
//!
//! Each row has to be right by itself, and beside all others: rows of one event have one key, rows of one sequence say the
//! same. What was settled (see [`Oracle::settle`](crate::oracle::Oracle::settle)) is forgotten, but for how far that goes: so
//! a run of hours needs no more memory than one of minutes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::load;
use crate::message::Record;

/// What has come of each event.
#[derive(Debug, Default)]
pub struct Arrivals {
    events: BTreeMap<u64, Arrival>,
    event_of_key: HashMap<String, u64>,
    /// Of each sequence, the event, and when it was received.
    sequences: BTreeMap<i64, (u64, String)>,
    last_sequence: Option<i64>,
    steps_back: usize,
    settled_through: Option<i64>,
    rows: u64,
    repeated: u64,
}

#[derive(Debug)]
struct Arrival {
    key: String,
    sequences: BTreeSet<i64>,
}

impl Arrivals {
    /// Takes the next row of the destination.
    pub fn take(&mut self, row: &Record) {
        let number = load::number_in_row(row);
        load::assert_row(row, number);
        let (key, sequence, received_at) = (row.key(), row.sequence(), row.raw("_sdc_received_at"));
        assert!(
            self.settled_through.is_none_or(|settled| settled < sequence),
            "a row that a state covered has come again: {}",
            row.text
        );
        self.steps_back += usize::from(Some(sequence) <= self.last_sequence);
        self.last_sequence = Some(sequence);
        self.rows += 1;
        let owner = *self.event_of_key.entry(key.clone()).or_insert(number);
        assert_eq!(owner, number, "two events have the key {key}");
        let (first, first_received_at) =
            self.sequences.entry(sequence).or_insert_with(|| (number, received_at.to_owned()));
        assert_eq!(*first, number, "two events have the sequence {sequence}");
        assert_eq!(first_received_at, received_at, "one sequence arrived twice: {}", row.text);
        let arrival = self
            .events
            .entry(number)
            .or_insert_with(|| Arrival { key: key.clone(), sequences: BTreeSet::new() });
        assert_eq!(arrival.key, key, "event {number} has several keys");
        self.repeated += u64::from(!arrival.sequences.insert(sequence));
    }

    /// The numbers of the events that have come.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.events.keys().copied()
    }

    /// The sequences under which an event has come; none if it has not.
    #[must_use]
    pub fn sequences_of(&self, number: u64) -> Option<&BTreeSet<i64>> {
        self.events.get(&number).map(|arrival| &arrival.sequences)
    }

    /// How often the sequence of a row was not greater than that of the row before: once for each run that wrote something
    /// again.
    #[must_use]
    pub fn steps_back(&self) -> usize {
        self.steps_back
    }

    /// How many rows have come.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many of them had come before, under the same sequence.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// The sequence of the last row.
    #[must_use]
    pub fn last_sequence(&self) -> Option<i64> {
        self.last_sequence
    }

    /// The latest event that has come under a sequence up to `bookmark`.
    pub(crate) fn latest_covered(&self, bookmark: i64) -> Option<u64> {
        let is_covered =
            |arrival: &Arrival| arrival.sequences.first().is_some_and(|first| *first <= bookmark);
        self.events.iter().rev().find(|(_, arrival)| is_covered(arrival)).map(|(number, _)| *number)
    }

    /// Forgets an event.
    pub(crate) fn forget(&mut self, number: u64) {
        if let Some(arrival) = self.events.remove(&number) {
            self.event_of_key.remove(&arrival.key);
            for sequence in arrival.sequences {
                self.sequences.remove(&sequence);
            }
        }
    }

    /// No row with a sequence up to `bookmark` may come any more.
    pub(crate) fn settle_through(&mut self, bookmark: i64) {
        self.settled_through = self.settled_through.max(Some(bookmark));
    }
}
