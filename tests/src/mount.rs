//! A separate disk for a spool: small, or read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, unmounted on drop.
#[derive(Debug)]
pub struct TestDisk {
    path: PathBuf,
}

impl TestDisk {
    /// Creates the folder `path` and mounts an empty file system of this size there. Prints a line and
    /// returns `None` if that is not allowed.
    #[must_use]
    pub fn mount(path: PathBuf, kibibytes: u32) -> Option<Self> {
        std::fs::create_dir(&path).expect("a new folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kibibytes}k,mode=755"), "tmpfs"]).arg(&path);
        match mount.output() {
            Ok(output) if output.status.success() => Some(TestDisk { path }),
            other => {
                eprintln!("skipped: no disk can be mounted here (only root may): {other:?}");
                None
            }
        }
    }

    /// Where the disk is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Enlarges the disk.
    pub fn grow(&self, kibibytes: u32) {
        self.remount(&format!("size={kibibytes}k"));
    }

    /// Makes the disk read-only or writable. No process may have a file of it open for writing.
    pub fn set_read_only(&self, read_only: bool) {
        self.remount(if read_only { "ro" } else { "rw" });
    }

    fn remount(&self, options: &str) {
        let status =
            Command::new("mount").arg("-o").arg(format!("remount,{options}")).arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "remount {options}");
    }
}

impl Drop for TestDisk {
    fn drop(&mut self) {
        // Lazily, since a program that a failed test left behind may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
