//! A disk of its own for a spool: small, or read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, unmounted when it is dropped.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts an empty one of so many KiB at `path`, a folder that is made. None, and a line that says so, where that is
    /// not allowed.
    #[must_use]
    pub fn mount(path: PathBuf, kibibytes: u32) -> Option<Self> {
        std::fs::create_dir(&path).expect("a new folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kibibytes}k,mode=755"), "tmpfs"]).arg(&path);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Disk { path }),
            other => {
                eprintln!("skipped: a disk can't be mounted here (that takes root): {other:?}");
                None
            }
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it larger.
    pub fn grow(&self, kibibytes: u32) {
        self.remount(&format!("size={kibibytes}k"));
    }

    /// Lets nobody write to it, or everybody again. Nobody may have a file of it open for writing.
    pub fn set_read_only(&self, read_only: bool) {
        self.remount(if read_only { "ro" } else { "rw" });
    }

    fn remount(&self, options: &str) {
        let status =
            Command::new("mount").arg("-o").arg(format!("remount,{options}")).arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "remount {options}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a program that a failed test leaves behind may still have files there.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
