//! Open files: as many as the connections need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Files that a process has open besides its connections: a few for each thread that uses the spool, and some to spare.
const OTHERS: u64 = 128;

/// Raises the process's limit of open files, as far as it may, so that `connections` fit beside the others. Says how many
/// do.
pub fn allow(connections: usize) -> usize {
    let needed = connections as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return connections;
    }
    let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
    let current = match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => raised,
        Err(_) => current.unwrap_or(raised),
    };
    let fit = usize::try_from(current.saturating_sub(OTHERS).max(1)).unwrap_or(connections).min(connections);
    if fit < connections {
        warn!(
            "config key \"max_connections\" is {connections}, but this process may have only {current} files open: no more \
             than {fit} connections are taken at a time. Raise the limit (ulimit -n, LimitNOFILE=) or lower the key"
        );
    }
    fit
}
