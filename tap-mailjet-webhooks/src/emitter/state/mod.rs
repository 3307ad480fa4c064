//! The state: the file that `--state` names, where a run starts, what it has written, and what the target has
//! confirmed.

mod confirmation;
mod file;
mod start;
mod trimming;
mod writer;
mod written;

use catalog::state::State;
use catalog::stream::StreamId;

use crate::spool::Sequence;

pub use confirmation::{Confirmation, follow_confirmations};
pub use file::{StateFile, StateFileError, last_state};
pub(super) use start::Start;
pub use start::StartError;
pub(super) use writer::StateWriter;
pub use written::Written;
pub(super) use written::{Positions, StreamPosition};

/// Returns the sequence up to which a state says that a stream is stored.
fn bookmark(state: &State, stream: StreamId) -> Option<Sequence> {
    state.bookmark(stream.name()).map(Sequence::new)
}
