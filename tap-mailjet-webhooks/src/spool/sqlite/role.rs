//! Roles: each is an advisory lock on a file beside the spool, which the kernel releases when its process
//! ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use super::SqliteError;
use super::file;
use crate::spool::Role;

/// How often to try to take a role, and the pause in between: a process that only asks for the [`holder`] has
/// the lock for a moment.
const ATTEMPTS: u32 = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);

/// Takes `role` on the spool at `spool`, which has to exist. If another process has the role, the error names
/// that process. The role lasts as long as the returned file is open.
///
/// The lock file stays when the role is given up: if it were deleted, two processes could hold locks on two
/// files of that name.
pub(super) fn take(role: Role, spool: &Path) -> Result<File, SqliteError> {
    let path = lock_path(role, spool);
    let io = |action| SqliteError::io(&path, action);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(&path)
        .map_err(io("opening the lock file"))?;
    file::give_to_owner_of(spool, &file);
    let mut retries = 1..ATTEMPTS;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if retries.next().is_some() => thread::sleep(ATTEMPT_PAUSE),
            Err(TryLockError::WouldBlock) => {
                let holder = name_in(&mut file);
                return Err(SqliteError::RoleTaken { role, path: spool.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(SqliteError::NoLocks { path: path.clone(), source: source.into() });
            }
        }
    }
    // This is only for the message that another process gets. It may fail: a full disk must not stop a drain,
    // which frees space.
    let _ =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    Ok(file)
}

/// Returns the id of the process that has `role` on the spool at `spool`, or "unknown"; `None` if no process
/// has it. This creates nothing and keeps no process from taking the role.
pub(super) fn holder(role: Role, spool: &Path) -> Result<Option<String>, SqliteError> {
    let io = SqliteError::io(spool, "reading its lock files");
    let opened = OpenOptions::new().read(true).custom_flags(no_follow()).open(lock_path(role, spool));
    let mut file = match opened {
        // No process has ever had it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io)?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(name_in(&mut file))),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// The flag with which a symbolic link is not followed: whoever may create files beside the spool could
/// have the tap write to another file.
fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).expect("the flag is a small number")
}

fn name_in(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    if holder.is_empty() { "unknown".to_owned() } else { holder }
}

/// Returns the path of the lock file of `role`. It is beside the file that any symbolic links lead to, so
/// that a spool has only one.
pub(super) fn lock_path(role: Role, spool: &Path) -> PathBuf {
    file::beside(spool, &format!(".{role}.lock"))
}
