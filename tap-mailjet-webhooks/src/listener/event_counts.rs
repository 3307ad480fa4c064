//! How many events of each type a request holds, for the metrics.
//!
//! They are counted in the listener because the spool knows no fields, and because a `listen` process has no
//! emitter.

use catalog::event::{EventType, type_name};

/// How many events there are of each of Mailjet's types, and how many of all other types together.
///
/// The counts are in the order of [`EventCounts::names`]. The types are Mailjet's, not the sender's, so a
/// sender cannot add to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCounts(pub [u64; EventCounts::TYPES]);

impl EventCounts {
    /// How many counts there are.
    pub const TYPES: usize = EventType::ALL.len() + 1;

    /// Returns the names of the types, in the order of the counts.
    pub(crate) fn names() -> [&'static str; EventCounts::TYPES] {
        let mut names = ["other"; EventCounts::TYPES];
        for (name, event_type) in names.iter_mut().zip(EventType::ALL) {
            *name = event_type.name();
        }
        names
    }

    /// Counts an event, given its JSON text.
    pub(super) fn add(&mut self, event: &str) {
        let name = type_name(event);
        let index = name.and_then(|name| EventType::ALL.iter().position(|known| known.name() == name));
        self.0[index.unwrap_or(EventType::ALL.len())] += 1;
    }
}
