//! Messages as a run would write them, without a spool: what `--test` prints, and what fuzzing checks.

use std::convert::Infallible;

use catalog::event::EventType;
use catalog::stream::StreamId;

use super::read_ahead::{Block, Item};
use super::streams::Streams;
use super::{OutputSpec, OutputSpecError};
use crate::os::clock::UnixMillis;
use crate::spool::{DiscoveredColumn, Sequence, StoredItem};

/// The selected streams of a run that reads and remembers nothing.
#[derive(Debug)]
pub struct DryRun(Streams);

impl DryRun {
    /// Starts a run of all selected streams, in which no column has appeared yet.
    pub fn new(spec: &OutputSpec) -> Result<Self, OutputSpecError> {
        Ok(DryRun(Streams::new(spec, StreamId::all(), &[])?))
    }

    /// Starts a run of one stream, in which the `discovered` columns have appeared.
    pub fn of_stream(
        spec: &OutputSpec,
        stream: StreamId,
        discovered: &[DiscoveredColumn],
    ) -> Result<Self, OutputSpecError> {
        Ok(DryRun(Streams::new(spec, [stream], discovered)?))
    }

    /// Appends the RECORDs of an item to `out`, whether it is an event or rejected.
    pub fn write_item(&mut self, item: StoredItem<'_>, now: UnixMillis, out: &mut Vec<u8>) {
        if item.reason.is_some() {
            self.0.write_rejected(item, now, out);
        } else {
            self.write_event(item, now, out);
        }
    }

    /// Appends the SCHEMA of every stream to `out`.
    pub fn write_schemas(&self, out: &mut Vec<u8>) {
        self.0.write_schemas(out);
    }

    /// Appends the RECORDs of an event to `out`, each after a SCHEMA if it adds a column to its stream.
    ///
    /// Nothing is written if the event's sequence is not larger than that of the event before.
    pub fn write_event(&mut self, event: StoredItem<'_>, now: UnixMillis, out: &mut Vec<u8>) {
        let mut block = Block::default();
        block.push(Ok(event));
        match block.first() {
            Some((Item::Event(event), following)) => {
                let Ok(_) = self.0.write_event(&event, following, now, out, |_| Ok::<_, Infallible>(()));
            }
            Some((Item::TooManyValues(item), _)) => drop(self.0.write_too_many_values(item, now, out)),
            Some((Item::Damage(_), _)) | None => {}
        }
    }
}

/// Appends the SCHEMA of each selected stream to `out`, and then one sample RECORD for each of them.
pub fn write_samples(spec: &OutputSpec, now: UnixMillis, out: &mut Vec<u8>) -> Result<(), OutputSpecError> {
    let all = DryRun::new(spec)?;
    all.write_schemas(out);
    for (number, stream) in (now.get()..).zip(all.0.ids()) {
        let sequence = Sequence::new(number);
        let mut dry_run = DryRun(Streams::new(spec, [stream], &[])?);
        let event_type = match stream {
            StreamId::Data => EventType::Open,
            StreamId::Event(event_type) => event_type,
            StreamId::Rejected => {
                let reason = Some("the body is not JSON: expected value at line 1 column 1");
                let item = StoredItem { sequence, received_at: now, reason, body: b"event=open" };
                dry_run.0.write_rejected(item, now, out);
                continue;
            }
        };
        let body = event_type.sample().as_bytes();
        dry_run.write_event(StoredItem { sequence, received_at: now, reason: None, body }, now, out);
    }
    Ok(())
}
