//! Where a run begins, and what is said about it.

use catalog::state::State;
use catalog::stream::StreamId;
use tracing::{info, warn};

use super::file::{StateFile, StateFileError};
use crate::os::clock::UnixMillis;
use crate::spool::{Backlog, EventReader, ItemKind, Registry, Sequence, SequenceUnit, SpoolError};

/// Where a run begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The bookmarks that the run was given, or those of a first run.
    pub state: State,
    /// Events that wait past the bookmarks.
    pub waiting: Backlog,
}

/// Why a run can't begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state file can't be used.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The spool can't be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The bookmark is past everything that was ever written from the spool, so it is not one of its own. Events that
    /// have not been written are, or will be, before it.
    #[error(
        "the state's bookmark {bookmark} of stream \"{stream}\" is ahead of what was ever written from this spool (up to \
         {written_through}): it belongs to another spool or another sequence_unit, and events would be passed over in silence. \
         Give this spool's own state, or none"
    )]
    BookmarkAhead {
        /// The stream.
        stream: &'static str,
        /// What the state says.
        bookmark: Sequence,
        /// The largest sequence that a state of this spool can have.
        written_through: Sequence,
    },
}

impl Start {
    /// Reads the state, compares it with the spool, and tells what will be written to the streams.
    pub fn find(
        streams: &[StreamId],
        state_file: Option<&mut StateFile>,
        reader: &mut dyn EventReader,
        registry: &mut dyn Registry,
        unit: SequenceUnit,
        now: UnixMillis,
    ) -> Result<Self, StartError> {
        let with_state = state_file.is_some();
        let state = match state_file {
            None => State::default(),
            Some(file) => file.read()?.unwrap_or_else(|| {
                warn!("state file {} holds no state yet; starting from the beginning", file.path().display());
                State::default()
            }),
        };
        // A spool that nothing was written from can go on with the state of one that is lost, if that is older than all
        // that it holds and, since it goes on from the clock, will hold.
        let written_through = match registry.written_through()? {
            Some(sequence) => sequence,
            None => reader.first_sequence()?.unwrap_or(unit.sequence_at(now)).previous(),
        };
        for stream in streams.iter().map(|stream| stream.name()) {
            let bookmark = state.bookmark(stream).map_or(Sequence::START, Sequence::new);
            if bookmark > written_through {
                return Err(StartError::BookmarkAhead { stream, bookmark, written_through });
            }
        }
        let of_events = streams.iter().filter(|stream| **stream != StreamId::Rejected);
        let position = of_events
            .map(|stream| state.bookmark(stream.name()).map_or(Sequence::START, Sequence::new))
            .min();
        let Some(position) = position else {
            warn!(
                "the catalog selects no stream that has events: they are received and kept, but not written"
            );
            return Ok(Start { state, waiting: Backlog::Exactly(0) });
        };
        let waiting = reader.backlog_past(ItemKind::Event, position)?;
        let rejected = match streams.contains(&StreamId::Rejected) {
            true => {
                let position =
                    state.bookmark(StreamId::Rejected.name()).map_or(Sequence::START, Sequence::new);
                reader.backlog_past(ItemKind::Rejected, position)?
            }
            false => Backlog::Exactly(0),
        };
        let and_rejected =
            if rejected.is_empty() { String::new() } else { format!(" and {rejected} rejected items") };
        if with_state {
            info!("{waiting} events{and_rejected} wait in the spool, past the bookmark {position}");
        } else if !waiting.is_empty() || !rejected.is_empty() {
            warn!(
                "no --state was given: all that the spool still holds, {waiting} events{and_rejected}, is written (again)"
            );
        }
        Ok(Start { state, waiting })
    }
}
