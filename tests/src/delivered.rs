//! The rows that have reached the destination for the events that an [oracle](crate::oracle) has posted.
//!
//! Each row is checked by itself and against all others: the rows of one event have one key, and the rows of
//! one sequence are equal. [`Oracle::settle`](crate::oracle::Oracle::settle) removes rows that are final, and
//! only their last bookmark is kept. So a run of hours needs no more memory than one of minutes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::load;
use crate::message::Record;

/// The rows of each event.
#[derive(Debug, Default)]
pub struct DeliveredRows {
    events: BTreeMap<u64, DeliveredEvent>,
    event_of_key: HashMap<String, u64>,
    /// By sequence: the event, and when it was received.
    sequences: BTreeMap<i64, (u64, String)>,
    last_sequence: Option<i64>,
    steps_back: usize,
    settled_through: Option<i64>,
    rows: u64,
    repeated: u64,
}

#[derive(Debug)]
struct DeliveredEvent {
    key: String,
    sequences: BTreeSet<i64>,
}

impl DeliveredRows {
    /// Checks and adds the next row of the destination.
    pub fn add(&mut self, row: &Record) {
        let number = load::number_in_row(row);
        load::assert_row(row, number);
        let (key, sequence, received_at) = (row.key(), row.sequence(), row.raw("_sdc_received_at"));
        assert!(
            self.settled_through.is_none_or(|settled| settled < sequence),
            "a row that a state had covered arrived again: {}",
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
        assert_eq!(first_received_at, received_at, "one sequence has different rows: {}", row.text);
        let event = self
            .events
            .entry(number)
            .or_insert_with(|| DeliveredEvent { key: key.clone(), sequences: BTreeSet::new() });
        assert_eq!(event.key, key, "event {number} has several keys");
        self.repeated += u64::from(!event.sequences.insert(sequence));
    }

    /// The numbers of the events that have arrived.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.events.keys().copied()
    }

    /// The sequences of an event's rows; `None` if the event has not arrived.
    #[must_use]
    pub fn sequences_of(&self, number: u64) -> Option<&BTreeSet<i64>> {
        self.events.get(&number).map(|event| &event.sequences)
    }

    /// How often a row's sequence was not greater than that of the row before: once for each run that
    /// repeated rows.
    #[must_use]
    pub fn steps_back(&self) -> usize {
        self.steps_back
    }

    /// How many rows have arrived.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many of them had already arrived under the same sequence.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// The sequence of the last row.
    #[must_use]
    pub fn last_sequence(&self) -> Option<i64> {
        self.last_sequence
    }

    /// The latest event with a sequence up to `bookmark`.
    pub(crate) fn latest_covered(&self, bookmark: i64) -> Option<u64> {
        let is_covered =
            |event: &DeliveredEvent| event.sequences.first().is_some_and(|first| *first <= bookmark);
        self.events.iter().rev().find(|(_, event)| is_covered(event)).map(|(number, _)| *number)
    }

    /// Removes an event.
    pub(crate) fn forget(&mut self, number: u64) {
        if let Some(event) = self.events.remove(&number) {
            self.event_of_key.remove(&event.key);
            for sequence in event.sequences {
                self.sequences.remove(&sequence);
            }
        }
    }

    /// From now on, no row with a sequence up to `bookmark` may arrive.
    pub(crate) fn settle_through(&mut self, bookmark: i64) {
        self.settled_through = self.settled_through.max(Some(bookmark));
    }
}
