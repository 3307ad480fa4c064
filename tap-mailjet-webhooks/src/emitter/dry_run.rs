//! Messages as they would be written, without a spool: what `--test` prints, and what fuzzing looks at.

use std::convert::Infallible;

use catalog::event::EventType;
use catalog::selection::CatalogError;
use catalog::stream::StreamId;

use super::block::{Block, Read};
use super::streams::Streams;
use super::{OutputSpec, OutputSpecError};
use crate::os::clock::UnixMillis;
use crate::spool::{Sequence, StoredEvent, StoredRejection};

/// A run that reads nothing and keeps nothing: the selected streams, as they would be written.
#[derive(Debug)]
pub struct DryRun {
    streams: Streams,
}

impl DryRun {
    /// The streams that `shape` selects. No column has appeared yet.
    pub fn new(shape: &OutputSpec) -> Result<Self, CatalogError> {
        Ok(DryRun { streams: Streams::new(shape, &[])? })
    }

    /// Appends the SCHEMA of every stream to `out`.
    pub fn write_schemas(&self, out: &mut Vec<u8>) {
        self.streams.write_schemas(out);
    }

    /// Appends the RECORDs of an event to `out`, after the SCHEMA of each stream in which it makes a column appear. Only an
    /// event with a larger sequence than the one before is written.
    pub fn write_event(&mut self, event: StoredEvent<'_>, now: UnixMillis, out: &mut Vec<u8>) {
        let mut block = Block::default();
        block.push(Ok(event));
        if let Read::Event(event) = block.get(0) {
            let Ok(_) = self.streams.write_event(&event, now, out, |_| Ok::<_, Infallible>(()));
        }
    }
}

/// Appends the SCHEMA of each selected stream to `out`, and, `with_records`, one RECORD that could be one of it. Nothing
/// is read or kept.
pub fn write_samples(
    shape: &OutputSpec,
    with_records: bool,
    now: UnixMillis,
    out: &mut Vec<u8>,
) -> Result<(), OutputSpecError> {
    let mut rehearsal = DryRun::new(shape)?;
    rehearsal.write_schemas(out);
    if !with_records {
        return Ok(());
    }
    let selected = rehearsal.streams.ids();
    // An event goes to `data` as well: one of the events that have a stream of their own is enough for both.
    let types = EventType::ALL.into_iter().filter(|event| selected.contains(&StreamId::Event(*event)));
    let mut types: Vec<_> = types.collect();
    if types.is_empty() && selected.contains(&StreamId::Data) {
        types.push(EventType::Open);
    }
    let mut is_first = true;
    for (number, event) in (now.get()..).zip(types) {
        let mut lines = Vec::new();
        let sequence = Sequence::new(number);
        let event = StoredEvent { sequence, received_at: now, body: event.sample().as_bytes() };
        rehearsal.write_event(event, now, &mut lines);
        // One record for each stream is enough. A SCHEMA stays: a column may appear, if the catalog asks for odd types.
        let is_repeated =
            |line: &&[u8]| !is_first && line.starts_with(br#"{"type":"RECORD","stream":"data","#);
        let lines = lines.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_repeated(line));
        lines.for_each(|line| out.extend_from_slice(line));
        is_first = false;
    }
    if selected.contains(&StreamId::Rejected) {
        let reason = "the body is not JSON: expected value at line 1 column 1";
        let item = StoredRejection {
            sequence: Sequence::new(now.get()),
            received_at: now,
            reason,
            body: b"event=open",
        };
        rehearsal.streams.write_rejected(item, now, out);
    }
    Ok(())
}
