//! Opens files that belong to the destination alone: no links, which lead elsewhere, and nothing that blocks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Why a file is not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It is not a file of its own. Says what it is.
    NotOwn(&'static str),
    Io(io::Error),
}

/// Opens the file at `path`, unless it is a link or no regular file.
pub(super) fn open(options: &OpenOptions, path: &Path) -> Result<File, OpenError> {
    // Opening a FIFO must not block.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("the flags are small numbers");
    let file = options.clone().custom_flags(flags).open(path).map_err(|error| {
        let errno = error.raw_os_error();
        match () {
            () if errno == Some(Errno::LOOP.raw_os_error()) => OpenError::NotOwn("a symbolic link"),
            // A socket, or a FIFO that nobody reads.
            () if errno == Some(Errno::NXIO.raw_os_error()) => OpenError::NotOwn(NO_FILE),
            () => OpenError::Io(error),
        }
    })?;
    let metadata = file.metadata().map_err(OpenError::Io)?;
    if !metadata.is_file() {
        return Err(OpenError::NotOwn(NO_FILE));
    }
    if metadata.nlink() > 1 {
        return Err(OpenError::NotOwn("a file with another name (a hard link)"));
    }
    Ok(file)
}

const NO_FILE: &str = "a FIFO, a socket or a device";
