//! The limit of open files, which also limits connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Files that a process has open besides its connections: a few for each thread that uses the spool, and some
/// to spare.
const OTHER_FILES: u64 = 128;

/// Raises the process's limit of open files as far as allowed, so that `connections` fit beside the other
/// files. Returns how many connections fit.
pub fn raise_limit(connections: usize) -> usize {
    let needed = connections as u64 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return connections;
    }
    let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
    let current = match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => raised,
        Err(_) => current.unwrap_or(raised),
    };
    let left = usize::try_from(current.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let allowed = left.clamp(1, connections);
    if allowed < connections {
        warn!(
            "config key \"max_connections\" is {connections}, but this process may have only {current} \
             files open: no more than {allowed} connections are accepted at a time. Raise the limit (ulimit \
             -n, systemd's LimitNOFILE=) or lower the key"
        );
    }
    allowed
}
