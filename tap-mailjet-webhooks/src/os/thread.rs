//! Named threads, and what to say when the system has no more of them.

use std::io;
use std::thread::{Builder, JoinHandle};

/// The system refused to start a thread.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread \"{name}\": {source}; allow more of them (ulimit -u, systemd's TasksMax=)")]
pub struct ThreadError {
    name: &'static str,
    source: io::Error,
}

/// Starts a thread that debuggers and log lines show as `name`.
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadError> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|source| ThreadError { name, source })
}
