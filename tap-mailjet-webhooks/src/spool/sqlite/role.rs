//! The two roles that a process can have on a spool, each held by one process at a time.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::spool::SpoolError;

/// What a process does with a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives webhooks and writes them into the spool.
    Listener,
    /// Reads the spool, writes Singer messages and trims.
    Emitter,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Listener => "listener",
            Role::Emitter => "emitter",
        })
    }
}

/// How often, and after how long, a role is asked for again that somebody has: whoever only looks who has it
/// ([`holder_of`]) holds its lock for a moment.
const ATTEMPTS: u32 = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);

/// A role on a spool, given up when dropped and, by the kernel, when the process ends.
#[derive(Debug)]
pub struct RoleLock {
    path: PathBuf,
    _file: File,
}

impl RoleLock {
    /// Takes `role` on the spool at `spool`, which has to be there, or says who has it.
    ///
    /// The lock is a file beside the spool. The file stays when the role is given up: were it deleted, two processes
    /// could hold locks on two files of that name.
    pub fn take(role: Role, spool: &Path) -> Result<Self, SpoolError> {
        let io_of_spool = |source| SpoolError::Io { path: spool.to_owned(), doing: "looking for it", source };
        // By whichever symbolic links it was named: the lock is that of the file they lead to.
        let path = lock_path(role, &spool.canonicalize().map_err(io_of_spool)?);
        let io = |doing| {
            let path = path.clone();
            move |source| SpoolError::Io { path, doing, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("opening the lock file"))?;
        let mut outcome = file.try_lock();
        for _ in 1..ATTEMPTS {
            if !matches!(outcome, Err(TryLockError::WouldBlock)) {
                break;
            }
            thread::sleep(ATTEMPT_PAUSE);
            outcome = file.try_lock();
        }
        match outcome {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = named_in(&mut file);
                return Err(SpoolError::RoleTaken { role, path: spool.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io("locking")(source)),
        }
        // For whoever is turned away. The lock is what counts: a full disk must not keep a drain from making room.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(RoleLock { path, _file: file })
    }

    /// The file that is locked.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The process that has `role` on the spool at `spool`, as far as it is known; none if nobody has it. Nothing is made, and
/// nobody is kept from taking the role.
pub fn holder_of(role: Role, spool: &Path) -> Result<Option<String>, SpoolError> {
    let io = |source| SpoolError::Io { path: spool.to_owned(), doing: "looking for its roles", source };
    let mut file = match File::open(lock_path(role, &spool.canonicalize().map_err(io)?)) {
        // Nobody has ever had it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io)?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(named_in(&mut file))),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Whom a lock file names.
fn named_in(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    if holder.is_empty() { "unknown".to_owned() } else { holder }
}

fn lock_path(role: Role, spool: &Path) -> PathBuf {
    let mut path = spool.as_os_str().to_owned();
    path.push(format!(".{role}.lock"));
    path.into()
}
