//! Where a run starts, and what the log says about it.

use std::ops::ControlFlow;
use std::path::Path;

use catalog::state::State;
use catalog::stream::StreamId;
use tracing::{info, warn};

use super::file::{StateFile, StateFileError};
use super::rounding::smallest_before_rounding;
use super::written::{Positions, StreamPosition};
use crate::os::clock::UnixMillis;
use crate::spool::{Backlog, EventReader, ItemKind, Registry, Sequence, SequenceUnit, SpoolError};

pub(crate) struct Start {
    /// The state that the run was given, or an empty one.
    pub(crate) state: State,
    /// The positions of the selected streams in it.
    pub(crate) positions: Positions,
    /// The events past those positions.
    pub(crate) waiting: Backlog,
}

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum StartError {
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A bookmark is past everything that was ever written from the spool, so it comes from another one.
    /// There are or will be unwritten events before it.
    #[error(
        "the state's bookmark {bookmark} of stream \"{stream}\" is past everything that was ever written \
         from this spool (up to {written_through}): the state belongs to another spool or another \
         sequence_unit, or this spool was restored from a backup. The run would skip events. Give this \
         spool's own state, or a new state file, with which everything that the spool holds is written"
    )]
    ForeignBookmark { stream: &'static str, bookmark: Sequence, written_through: Sequence },
}

impl Start {
    /// Reads the state, compares it with the spool, and logs what the run will write.
    pub(crate) fn determine(
        streams: &[StreamId],
        state_file: Option<&mut StateFile>,
        reader: &mut dyn EventReader,
        registry: &mut dyn Registry,
        unit: SequenceUnit,
        now: UnixMillis,
    ) -> Result<Self, StartError> {
        let state_path = state_file.as_ref().map(|file| file.path.clone());
        let state = match state_file {
            None => State::default(),
            Some(file) => file.read()?.unwrap_or_default(),
        };
        // A spool from which nothing was written can continue the state of a lost one, if that is older than
        // everything that it holds or, because its sequences follow the clock, will hold.
        let noted = registry.written_through()?;
        let written_through = match noted {
            Some(sequence) => sequence,
            None => reader.first_sequence()?.unwrap_or(unit.sequence_at(now)).previous(),
        };
        if let Some(path) = &state_path
            && !state.has_bookmark()
        {
            warn_of_no_bookmark(path, noted);
        }
        let mut positions = Positions::default();
        for stream in streams {
            let bookmark = super::bookmark(&state, *stream).unwrap_or(Sequence::START);
            let position = StreamPosition::new(*stream, bookmark);
            let bookmark = unless_rounded(position, written_through, reader)?;
            if bookmark > written_through {
                return Err(StartError::ForeignBookmark { stream: stream.name(), bookmark, written_through });
            }
            positions.0.push(StreamPosition { bookmark, ..position });
        }
        let waiting = positions.backlog(ItemKind::Event, reader)?;
        let rejected = positions.backlog(ItemKind::Rejected, reader)?;
        if state.has_bookmark() {
            warn_of_streams_without_bookmark(&state, &positions, waiting, rejected);
        }
        log_start(positions.through(ItemKind::Event), waiting, rejected, state_path.is_some());
        Ok(Start { state, positions, waiting })
    }
}

/// Says why everything is written, although a state file was named.
fn warn_of_no_bookmark(path: &Path, written_through: Option<Sequence>) {
    let is_missing = !path.exists();
    let path = path.display();
    match written_through {
        None if is_missing => warn!("there is no state file {path} yet; starting from the beginning"),
        None => warn!("state file {path} holds no bookmark yet; starting from the beginning"),
        Some(sequence) if is_missing => warn!(
            "there is no state file {path}, although earlier runs have written everything up to {sequence}: \
             everything that the spool holds is written again. Check the path, or whether the file was moved"
        ),
        Some(sequence) => warn!(
            "state file {path} holds no bookmark, although earlier runs have written everything up to \
             {sequence}: everything that the spool holds is written again. If the shell empties the file \
             (> {path}), append to it (>> {path})"
        ),
    }
}

/// Says which streams everything is written to, although the state has bookmarks: a stream that was selected
/// only now, or one whose name in the state somebody has changed.
///
/// `waiting` and `rejected` are past the smallest position of their kind, so they are all that the spool
/// holds if one of these streams is of that kind.
fn warn_of_streams_without_bookmark(
    state: &State,
    positions: &Positions,
    waiting: Backlog,
    rejected: Backlog,
) {
    let starts_with_something = |position: &&StreamPosition| {
        let backlog = match position.kind() {
            ItemKind::Event => waiting,
            ItemKind::Rejected => rejected,
        };
        super::bookmark(state, position.stream).is_none() && !backlog.is_empty()
    };
    let from_start: Vec<_> =
        positions.0.iter().filter(starts_with_something).map(|position| position.stream.name()).collect();
    if !from_start.is_empty() {
        warn!(
            "the state has no bookmark of {}, only of {}; writing everything that the spool holds for {}",
            quoted(from_start.iter().copied()),
            quoted(state.streams()),
            if from_start.len() == 1 { "this stream" } else { "these streams" }
        );
    }
}

/// Lists names. A state may hold any number of them, of any length.
fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let short = |name: &str| format!("\"{}\"", name.chars().take(63).collect::<String>());
    names.take(10).map(short).collect::<Vec<_>>().join(", ")
}

/// Returns the bookmark of a stream or, if a tool may have rounded it up and the spool holds items just
/// before it, the smallest that it may have been: events are repeated rather than skipped.
fn unless_rounded(
    position: StreamPosition,
    written_through: Sequence,
    reader: &mut dyn EventReader,
) -> Result<Sequence, SpoolError> {
    let bookmark = position.bookmark;
    let Some(smallest) = smallest_before_rounding(bookmark) else { return Ok(bookmark) };
    let mut is_ambiguous = false;
    for kind in ItemKind::ALL {
        reader.read_past(kind, smallest.previous(), 1, &mut |item| {
            let sequence = item.map_or_else(|damage| damage.after.next(), |item| item.sequence);
            // The bookmark may have been this item. If it was one of the later items, nothing is skipped.
            is_ambiguous |= sequence < bookmark;
            ControlFlow::Break(())
        })?;
    }
    // Past everything that was written, there is no item, but a rounded bookmark may be.
    if !is_ambiguous && (bookmark <= written_through || smallest > written_through) {
        return Ok(bookmark);
    }
    warn!(
        "the bookmark {bookmark} of stream \"{}\" looks rounded, as by a tool that knows numbers only as \
         doubles; continuing from {smallest}, so that nothing is skipped",
        position.stream.name()
    );
    Ok(smallest.min(written_through))
}

fn log_start(position: Option<Sequence>, waiting: Backlog, rejected: Backlog, has_state: bool) {
    let Some(position) = position else {
        warn!("the catalog selects no stream of events: events are received and stored, but not written");
        return;
    };
    let and_rejected =
        if rejected.is_empty() { String::new() } else { format!(" and {rejected} rejected items") };
    if has_state {
        info!("{waiting} events{and_rejected} wait in the spool, past the bookmark {position}");
    } else if !waiting.is_empty() || !rejected.is_empty() {
        warn!(
            "no --state was given: everything that the spool holds ({waiting} events{and_rejected}) is \
             written, even if earlier runs have written it"
        );
    }
}
