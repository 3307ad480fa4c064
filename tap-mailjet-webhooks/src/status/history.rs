//! Counts what a listener receives over time, so that it can be drawn, also after a restart.

use std::convert::Infallible;
use std::time::Duration;

use crate::listener::{EventCounts, Traffic};
use crate::os::clock::UnixMillis;
use crate::os::thread::ThreadError;
use crate::os::worker::Worker;
use crate::spool::Registry;

/// How often the counts are taken to the registry.
const INTERVAL: Duration = Duration::from_secs(1);

/// The name under which rejected items are counted. No type of event has it.
pub const REJECTED: &str = "rejected";

/// Starts the thread that takes the counts of `traffic` to the registry every second.
///
/// They are only shown, so nothing waits for them and no failure ends anything: what cannot be written now is
/// written with the next counts.
pub fn record(traffic: Traffic, mut registry: Box<dyn Registry>) -> Result<Worker<Infallible>, ThreadError> {
    let mut recorded = totals(&traffic);
    Worker::start("item-counts", INTERVAL, move |_| {
        let now = totals(&traffic);
        let new = now.iter().zip(&recorded).map(|((name, now), (_, before))| (*name, now - before));
        let new: Vec<_> = new.filter(|(_, count)| *count > 0).collect();
        if !new.is_empty() && registry.add_item_counts(UnixMillis::now(), &new).is_ok() {
            recorded = now;
        }
        Ok(())
    })
}

/// Returns how many items of each name the listener has stored since it started.
fn totals(traffic: &Traffic) -> Vec<(&'static str, u64)> {
    let events = EventCounts::names().into_iter().zip(traffic.event_totals());
    events.chain([(REJECTED, traffic.rejected.get())]).collect()
}
