//! Where a run starts, and what the log says about it.

use catalog::state::State;
use catalog::stream::StreamId;
use tracing::{info, warn};

use super::file::{StateFile, StateFileError};
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
         from this spool (up to {written_through}): it belongs to another spool or another sequence_unit, \
         and the run would skip events. Give this spool's own state, or none"
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
        let has_state = state_file.is_some();
        let state = match state_file {
            None => State::default(),
            Some(file) => file.read()?.unwrap_or_else(|| {
                warn!("state file {} holds no state yet; starting from the beginning", file.path.display());
                State::default()
            }),
        };
        // A spool from which nothing was written can continue the state of a lost one, if that is older than
        // everything that it holds or, because its sequences follow the clock, will hold.
        let written_through = match registry.written_through()? {
            Some(sequence) => sequence,
            None => reader.first_sequence()?.unwrap_or(unit.sequence_at(now)).previous(),
        };
        let mut positions = Positions::default();
        for stream in streams {
            let bookmark = super::bookmark(&state, *stream).unwrap_or(Sequence::START);
            if bookmark > written_through {
                return Err(StartError::ForeignBookmark { stream: stream.name(), bookmark, written_through });
            }
            positions.0.push(StreamPosition::new(*stream, bookmark));
        }
        let waiting = positions.backlog(ItemKind::Event, reader)?;
        let rejected = positions.backlog(ItemKind::Rejected, reader)?;
        log_start(positions.through(ItemKind::Event), waiting, rejected, has_state);
        Ok(Start { state, positions, waiting })
    }
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
