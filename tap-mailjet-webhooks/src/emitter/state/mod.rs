//! The state: how a run resumes, and how it learns what the target has stored.
//!
//! | file | contents |
//! | --- | --- |
//! | [`file`](mod@file) | the file that `--state` names, read at the start and followed while the tap runs |
//! | [`start`] | where a run starts, and what the log says about it |
//! | [`rounding`] | bookmarks that a tool has rounded |
//! | [`writer`] | when a STATE is written |
//! | [`written`] | what has been written to each stream, and how much of that a state confirms |
//! | [`confirmation`] | the thread that follows confirmations and trims what is confirmed and old |

mod confirmation;
mod file;
mod rounding;
mod start;
mod writer;
mod written;

use catalog::state::State;
use catalog::stream::StreamId;

use crate::spool::Sequence;

pub use confirmation::{Confirmation, WithoutState, follow_confirmations};
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
