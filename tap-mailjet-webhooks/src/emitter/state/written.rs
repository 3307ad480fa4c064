//! What has been written to each stream. Compared with a state, it decides what may be trimmed.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::state::State;
use catalog::stream::StreamId;
use parking_lot::Mutex;

use super::rounding::{LARGEST_DISTANCE, smallest_before_rounding};
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

#[derive(Debug, Default)]
struct WrittenState {
    positions: Positions,
    /// No STATE written from this spool has a bookmark past this.
    largest_bookmark: Sequence,
    /// By the stream's name.
    bookmarks: BTreeMap<&'static str, RecentBookmarks>,
}

/// Bookmarks that a stream had in the STATEs of this run and at its start, in order. Only those are kept that
/// could be confused by rounding with the last one, or with that of the last record.
#[derive(Debug, Default)]
struct RecentBookmarks(Vec<Sequence>);

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
        Written(Arc::new(Mutex::new(WrittenState { largest_bookmark, ..WrittenState::default() })))
    }

    /// Notes that stdout has taken everything up to these positions.
    pub(crate) fn set_positions(&self, positions: Positions) {
        self.0.lock().positions = positions;
    }

    /// Notes where the run starts, and the bookmarks of each STATE before it is written.
    pub(crate) fn note_bookmarks(&self, positions: &Positions) {
        let mut written = self.0.lock();
        for position in &positions.0 {
            written.largest_bookmark = written.largest_bookmark.max(position.bookmark);
            written.bookmarks.entry(position.stream.name()).or_default().add(position);
        }
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
    /// A bookmark that a tool may have rounded up confirms only what it was at least: a smaller one that a
    /// STATE had.
    pub(super) fn confirm(&self, state: &State) -> Result<Confirmed, ForeignBookmark> {
        let written = self.0.lock();
        // What has been written is on its way into a STATE, if it is not in one yet.
        let positions = &written.positions.0;
        let last_record = positions.iter().filter_map(|position| position.last_record).max();
        let largest = last_record.unwrap_or(Sequence::START).max(written.largest_bookmark);
        let stored = |position: &StreamPosition| {
            let bookmark = super::bookmark(state, position.stream)?;
            let smallest = smallest_before_rounding(bookmark);
            let recent = written.bookmarks.get(position.stream.name());
            let is_exact = recent.is_some_and(|recent| recent.has_only(bookmark, smallest, position));
            Some(smallest.filter(|_| !is_exact).unwrap_or(bookmark))
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

impl RecentBookmarks {
    fn add(&mut self, position: &StreamPosition) {
        let StreamPosition { bookmark, last_record, .. } = *position;
        if self.0.last() == Some(&bookmark) {
            return;
        }
        let is_near = |other: Sequence, kept: &Sequence| kept.get().abs_diff(other.get()) <= LARGEST_DISTANCE;
        self.0.retain(|kept| is_near(bookmark, kept) || last_record.is_some_and(|last| is_near(last, kept)));
        self.0.push(bookmark);
    }

    /// Whether `bookmark` is the stream's last one, or that of its last record, and no other one is at least
    /// `smallest` and smaller than `bookmark`.
    fn has_only(&self, bookmark: Sequence, smallest: Option<Sequence>, position: &StreamPosition) -> bool {
        let is_last = Some(bookmark) == position.last_record || self.0.last() == Some(&bookmark);
        let may_be =
            |other: &Sequence| smallest.is_some_and(|smallest| smallest <= *other && *other < bookmark);
        is_last && !self.0.iter().any(may_be)
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

    /// 1565276078922000095, as jq 1.6 prints it, is another bookmark that this run has written.
    #[test]
    fn a_bookmark_that_may_be_another_one_rounded_confirms_only_the_smaller() {
        const BASE: i64 = 1_565_276_078_922_000_000;
        let position = |bookmark: i64| StreamPosition {
            last_record: Some(Sequence::new(BASE + bookmark)),
            ..StreamPosition::new(StreamId::Data, Sequence::new(BASE + bookmark))
        };
        // The bookmarks of the start and of STATEs, that of the state, and what it confirms.
        let cases: [(&[i64], i64, i64); 7] = [
            (&[0, 100], 100, -156),
            (&[95, 100], 100, -156),
            (&[-5_000_000, 100], 100, 100),
            (&[-300, 100], 100, 100),
            (&[-5_000_000, 95, 700, 6_000], 100, -156),
            (&[-5_000_000, 95, 2_000, 95_000], 95_000, 95_000),
            (&[0], 0, 0),
        ];
        for (written, bookmark, expected) in cases {
            let shared = Written::new(Sequence::START);
            for bookmark in written {
                shared.note_bookmarks(&Positions(vec![position(*bookmark)]));
                shared.set_positions(Positions(vec![position(*bookmark)]));
            }
            let mut state = State::default();
            state.set_bookmark("data", "_sdc_sequence", BASE + bookmark);
            let confirmed = shared.confirm(&state).expect("it is this spool's");
            let found = confirmed.through(ItemKind::Event).map(|sequence| sequence.get() - BASE);
            assert_eq!(found, Some(expected), "{bookmark} of {written:?}");
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
