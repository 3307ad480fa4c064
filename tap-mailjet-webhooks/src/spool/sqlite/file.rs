//! The files of a spool: created so that they survive a power cut, and watched while they are in use.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tracing::warn;

use super::error::SqliteError;

/// Creates the file and its directory if they do not exist, so that they survive a power cut.
pub(super) fn create(path: &Path) -> Result<(), SqliteError> {
    let io = |action| SqliteError::io(path, action);
    let directory = parent_of(path);
    create_directory(directory).map_err(io("creating its directory"))?;
    // Created here and not by SQLite, so that only its owner can read it: it holds e-mail addresses.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            give_to_owner_of(directory, &file);
            warn!("spool {}: it did not exist and has been created, empty", path.display());
            sync_directory(directory).map_err(io("syncing its directory"))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io("creating the file")(error)),
    }
}

fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = parent_of(directory);
    create_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            if let Ok(created) = File::open(directory) {
                give_to_owner_of(parent, &created);
            }
            sync_directory(parent)
        }
    }
}

/// Gives a file that this process has created to the owner of `model`, if this process is root's: one
/// command of an administrator must not lock out the user as whom the service runs. SQLite does the same
/// with its files.
pub(super) fn give_to_owner_of(model: &Path, created: &File) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let given = model.metadata().and_then(|model| fchown(created, Some(model.uid()), Some(model.gid())));
    if let Err(error) = given {
        warn!("a file beside {} belongs to root, and other users cannot use it: {error}", model.display());
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Syncs the entries of a directory. Some file systems cannot: there, a new file may not survive a power cut
/// in the moments after it was created.
fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(error) if is_unsupported(&error) => {
            warn!("{}: this file system cannot sync a directory ({error}); going on", directory.display());
            Ok(())
        }
        other => other,
    }
}

/// Whether the system says that it does not have a call, or not for this kind of file.
fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [Errno::INVAL, Errno::NOTSUP, Errno::NOSYS, Errno::NOTTY];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}

/// Whether a write failed because there is no room: the disk is full, a quota is used up, or a file may not
/// become larger.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// Whether there is no room for the spool at `path`. SQLite reports a used-up quota and a file-size limit as
/// I/O errors, so this tries it.
///
/// What is appended to the log here lies past its valid part. SQLite writes at positions of its own and never
/// reads it.
pub(super) fn has_no_room(path: &Path) -> bool {
    const BYTES: [u8; 4096] = [0; 4096];
    let disk_is_full = rustix::fs::statvfs(path)
        .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < 16 * BYTES.len() as u64);
    let appended =
        OpenOptions::new().append(true).open(log_of(path)).and_then(|mut log| log.write_all(&BYTES));
    disk_is_full || appended.is_err_and(|error| is_no_room(&error))
}

/// Logs a warning if the spool is on a network, or in another program's hands.
#[cfg(target_os = "linux")]
pub(super) fn warn_if_remote(path: &Path) {
    // `statfs(2)` lists them.
    const KINDS: [(u32, &str); 7] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x0102_1997, "9p"),
        (0x6573_5546, "FUSE"),
        (0x5346_414f, "AFS"),
    ];
    let Ok(found) = rustix::fs::statfs(path) else { return };
    let kind = KINDS.iter().find(|(number, _)| i128::from(*number) == i128::from(found.f_type));
    if let Some((_, name)) = kind {
        warn!(
            "spool {}: it is on a file system of the kind {name}, where locks and syncs may not hold what \
             SQLite needs: events can be lost. Set spool_path to a file on a local disk",
            path.display()
        );
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn warn_if_remote(_: &Path) {}

/// Fails unless `path` is a regular file: for a directory or a device, SQLite would say only "disk I/O
/// error".
pub(super) fn demand_regular(path: &Path) -> Result<Metadata, SqliteError> {
    let metadata = path.metadata().map_err(SqliteError::io(path, "inspecting it"))?;
    if metadata.is_file() { Ok(metadata) } else { Err(SqliteError::NotASpool { path: path.to_owned() }) }
}

/// Fails if there is a log without a database: SQLite would delete the log, and with it what only the log
/// holds.
pub(super) fn demand_no_lone_log(path: &Path) -> Result<(), SqliteError> {
    let log = log_of(path);
    let has_bytes = |file: &Path| file.metadata().is_ok_and(|metadata| metadata.len() > 0);
    // The order matters: a spool that is being created has a database before it has a log.
    if has_bytes(&log) && !has_bytes(path) {
        return Err(SqliteError::LogWithoutSpool { path: path.to_owned(), log });
    }
    Ok(())
}

/// Logs a warning if the log has been deleted. SQLite creates the log's index after the log and deletes it
/// before the log, so an index alone means that something else has deleted the log.
pub(super) fn warn_if_log_is_gone(path: &Path) {
    let (log, index) = (log_of(path), index_of(path));
    // The log is checked twice, because another process may be creating both.
    if !log.exists() && index.exists() && !log.exists() {
        warn!(
            "spool {}: the last run did not end cleanly, and its log {} has since been deleted: events that \
             only the log held are lost",
            path.display(),
            log.display()
        );
    }
}

pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn index_of(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

/// Returns the path of a file beside the spool, or beside the file that a symbolic link at `path` leads to.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    path.push(suffix);
    path.into()
}

/// The identities of a spool's files when they were opened.
///
/// A process that has a file open does not notice when it is deleted or replaced: it would go on writing, and
/// no other process would ever see what it wrote.
#[derive(Debug)]
pub(super) struct OpenFiles {
    path: PathBuf,
    /// The database, its log, the log's index and the role's lock, each with its device and inode.
    files: Vec<(PathBuf, (u64, u64))>,
}

impl OpenFiles {
    /// Notes the files of the spool at `path` as they are now. `lock` is the lock file of this process's
    /// role.
    pub(super) fn note(path: &Path, lock: &Path) -> Result<Self, SqliteError> {
        let files = [path.to_owned(), log_of(path), index_of(path), lock.to_owned()].into_iter();
        let files = files.map(|file| identity(&file).map(|identity| (file, identity)));
        let files =
            files.collect::<io::Result<_>>().map_err(SqliteError::io(path, "inspecting its files"))?;
        Ok(OpenFiles { path: path.to_owned(), files })
    }

    /// Fails unless a process that opens the spool now gets the same files.
    pub(super) fn demand_unchanged(&self) -> Result<(), SqliteError> {
        for (file, noted) in &self.files {
            match identity(file) {
                Ok(found) if found == *noted => {}
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(SqliteError::io(file, "inspecting it")(source));
                }
                Ok(_) | Err(_) => {
                    return Err(SqliteError::Replaced { path: self.path.clone(), file: file.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Returns the device and the inode behind `path`, and asks for nothing else.
///
/// Since Linux 6.13, asking for a file's times makes the next write change them. The next sync then writes
/// the inode as well as the data, which takes half as long again.
#[cfg(target_os = "linux")]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let found = match statx(CWD, path, AtFlags::empty(), StatxFlags::INO) {
        // An old sandbox does not know the call, and refuses it.
        Err(Errno::NOSYS | Errno::PERM) => {
            let metadata = path.metadata()?;
            return Ok((metadata.dev(), metadata.ino()));
        }
        found => found?,
    };
    Ok((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

#[cfg(not(target_os = "linux"))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
