//! What has been written to each stream. Compared with a state, it decides what may be trimmed.

use std::sync::Arc;

use catalog::state::State;
use catalog::stream::StreamId;
use parking_lot::Mutex;

use super::rounding::smallest_before_rounding;
use crate::spool::{Backlog, EventReader, ItemKind, Sequence, SpoolError};

/// How far a selected stream has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamPosition {
    pub(crate) stream: StreamId,
    /// Everything up to this sequence that belongs in the stream has been written to it.
    pub(crate) bookmark: Sequence,
    /// The last record that this run has written to it.
    pub(crate) last_record: Option<Sequence>,
}

impl StreamPosition {
    /// The position of a stream to which this run has not written anything.
    pub(crate) fn new(stream: StreamId, bookmark: Sequence) -> Self {
        StreamPosition { stream, bookmark, last_record: None }
    }

    /// The kind of items that move the bookmark.
    pub(crate) fn kind(&self) -> ItemKind {
        match self.stream {
            StreamId::Rejected => ItemKind::Rejected,
            StreamId::Data | StreamId::Event(_) => ItemKind::Event,
        }
    }
}

/// How far each selected stream has been written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions(pub(crate) Vec<StreamPosition>);

impl Positions {
    /// Returns the sequence up to which every item of this kind has been written to all selected streams that
    /// it belongs in; `None` if no stream with items of this kind is selected.
    pub(crate) fn through(&self, kind: ItemKind) -> Option<Sequence> {
        self.of_kind(kind).map(|position| position.bookmark).min()
    }

    /// Returns how many items of this kind are past what has been written.
    pub(crate) fn backlog(
        &self,
        kind: ItemKind,
        reader: &mut dyn EventReader,
    ) -> Result<Backlog, SpoolError> {
        match self.through(kind) {
            Some(position) => reader.backlog_past(kind, position),
            None => Ok(Backlog::Exactly(0)),
        }
    }

    /// Returns the largest bookmark; `None` if no stream is selected.
    pub(crate) fn largest_bookmark(&self) -> Option<Sequence> {
        self.0.iter().map(|position| position.bookmark).max()
    }

    fn of_kind(&self, kind: ItemKind) -> impl Iterator<Item = &StreamPosition> {
        self.0.iter().filter(move |position| position.kind() == kind)
    }
}

/// What stdout has taken. The emitter notes it, and the thread that follows the confirmations compares it
/// with a state. Clones share it.
#[derive(Debug, Clone)]
pub struct Written(Arc<Mutex<WrittenState>>);

#[derive(Debug)]
struct WrittenState {
    positions: Positions,
    /// No STATE written from this spool has a bookmark past this.
    largest_bookmark: Sequence,
}

/// Up to where the target has stored the items of each kind.
///
/// Trimming accepts only this type, and only [`Written`] creates it, so a figure that is merely displayed
/// cannot cause a deletion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Confirmed {
    events: Option<Sequence>,
    rejected: Option<Sequence>,
}

/// The first stream whose bookmark no STATE of this spool can have had.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignBookmark(pub(super) &'static str);

impl Written {
    /// Nothing has been written by this run. `largest_bookmark` is that of the STATEs of earlier runs.
    pub(crate) fn new(largest_bookmark: Sequence) -> Self {
        Written(Arc::new(Mutex::new(WrittenState { positions: Positions::default(), largest_bookmark })))
    }

    /// Notes that stdout has taken everything up to these positions.
    pub(crate) fn set_positions(&self, positions: Positions) {
        self.0.lock().positions = positions;
    }

    /// Notes the largest bookmark of any STATE, before that STATE is written.
    pub(crate) fn set_largest_bookmark(&self, sequence: Sequence) {
        self.0.lock().largest_bookmark = sequence;
    }

    pub(super) fn confirm_all(&self) -> Confirmed {
        let written = self.0.lock();
        Confirmed::new(|kind| written.positions.through(kind))
    }

    /// Confirms what `state` says is stored, but nothing that has not been written.
    ///
    /// Every selected stream that an event belongs in has to confirm it, so the result is the smallest of
    /// their positions. A stream's bookmark would do as its position if every target returned all bookmarks.
    /// But some keep only those of streams that had records since they started: the bookmark of a stream
    /// without new events then stays behind or is missing, and would block trimming forever. So a stream has
    /// confirmed everything once it has confirmed the last record that was written to it, if there was one.
    ///
    /// A bookmark that a tool may have rounded up confirms only what it was at least.
    pub(super) fn confirm(&self, state: &State) -> Result<Confirmed, ForeignBookmark> {
        let written = self.0.lock();
        // What has been written is on its way into a STATE, if it is not in one yet.
        let positions = &written.positions.0;
        let last_record = positions.iter().filter_map(|position| position.last_record).max();
        let largest = last_record.unwrap_or(Sequence::START).max(written.largest_bookmark);
        let stored = |position: &StreamPosition| {
            let bookmark = super::bookmark(state, position.stream)?;
            let is_known = Some(bookmark) == position.last_record || bookmark == written.largest_bookmark;
            let smallest = if is_known { None } else { smallest_before_rounding(bookmark) };
            Some(smallest.unwrap_or(bookmark))
        };
        let is_foreign = |position: &&StreamPosition| stored(position) > Some(largest);
        if let Some(position) = positions.iter().find(is_foreign) {
            return Err(ForeignBookmark(position.stream.name()));
        }
        Ok(Confirmed::new(|kind| {
            let position = written.positions.through(kind)?;
            let by_stream = written.positions.of_kind(kind).map(|written| {
                let bookmark = stored(written);
                let has_all = written.last_record.is_none_or(|last| bookmark >= Some(last));
                if has_all { position } else { bookmark.unwrap_or(Sequence::START).min(position) }
            });
            by_stream.min()
        }))
    }
}

impl Confirmed {
    fn new(through: impl Fn(ItemKind) -> Option<Sequence>) -> Self {
        Confirmed { events: through(ItemKind::Event), rejected: through(ItemKind::Rejected) }
    }

    pub(super) fn through(self, kind: ItemKind) -> Option<Sequence> {
        match kind {
            ItemKind::Event => self.events,
            ItemKind::Rejected => self.rejected,
        }
    }

    /// Adds another confirmation. A state file may be replaced by an older one, which takes nothing back.
    pub(super) fn add(&mut self, other: Confirmed) {
        self.events = self.events.max(other.events);
        self.rejected = self.rejected.max(other.rejected);
    }
}

#[cfg(test)]
mod tests {
    use catalog::event::EventType;

    use super::*;

    /// Bookmarks of the state, the last record of each stream, and up to where events and rejected items are
    /// confirmed.
    type Case<'a> = (&'a [(StreamId, i64)], &'a [(StreamId, Option<i64>)], (Option<i64>, Option<i64>));

    #[test]
    fn events_are_confirmed_by_every_selected_stream_that_has_them() {
        let (data, rejected) = (StreamId::Data, StreamId::Rejected);
        let click = StreamId::Event(EventType::Click);
        let positions = |last_records: &[(StreamId, Option<i64>)]| {
            let position = |(stream, last): &(StreamId, Option<i64>)| StreamPosition {
                last_record: last.map(Sequence::new),
                ..StreamPosition::new(*stream, Sequence::new(if *stream == rejected { 50 } else { 100 }))
            };
            Positions(last_records.iter().map(position).collect())
        };
        let cases: [Case<'_>; 9] = [
            (&[], &[(data, Some(100)), (rejected, None)], (Some(0), Some(50))),
            (&[(data, 100)], &[(rejected, None)], (None, Some(50))),
            (&[(data, 900)], &[(data, Some(100)), (rejected, None)], (Some(100), Some(50))),
            (&[(data, 70)], &[(data, Some(100)), (rejected, Some(50))], (Some(70), Some(0))),
            (
                &[(data, 100), (rejected, 50)],
                &[(data, Some(100)), (rejected, Some(50))],
                (Some(100), Some(50)),
            ),
            (&[(data, 100)], &[(data, Some(100)), (click, Some(80))], (Some(0), None)),
            (&[(data, 100), (click, 80)], &[(data, Some(100)), (click, Some(80))], (Some(100), None)),
            (&[(data, 100)], &[(data, Some(100)), (click, None)], (Some(100), None)),
            (&[(data, 90), (click, 80)], &[(data, Some(100)), (click, Some(80))], (Some(90), None)),
        ];
        for (bookmarks, last_records, (events, rejected)) in cases {
            let mut state = State::default();
            for (id, sequence) in bookmarks {
                state.set_bookmark(id.name(), "_sdc_sequence", *sequence);
            }
            let written = Written::new(Sequence::new(1000));
            written.set_positions(positions(last_records));
            let expected =
                Confirmed { events: events.map(Sequence::new), rejected: rejected.map(Sequence::new) };
            assert_eq!(written.confirm(&state), Ok(expected), "{bookmarks:?} of {last_records:?}");
        }
    }

    #[test]
    fn a_state_past_everything_that_was_written_confirms_nothing() {
        let written = Written::new(Sequence::new(10));
        let position = StreamPosition::new(StreamId::Data, Sequence::new(10));
        let mut state = State::default();
        state.set_bookmark("data", "_sdc_sequence", 11);
        for (last_record, is_foreign) in [(None, true), (Some(Sequence::new(11)), false)] {
            written.set_positions(Positions(vec![StreamPosition { last_record, ..position }]));
            assert_eq!(written.confirm(&state).is_err(), is_foreign);
        }
    }
}
