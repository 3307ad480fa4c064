//! A faulty disk: a library between the tap and the C library that makes calls on the spool's files fail, and
//! records what is written and synced.
//!
//! The library is written in C and compiled by the test: it must be loaded before the C library, and the
//! workspace forbids unsafe Rust. SQLite's own hook for this (a VFS) works only from within the process. This
//! way, the real program meets the error, whichever part of it makes the call.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::tap::{Tap, TapCommand};

/// A system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemCall {
    /// Opening a file.
    Open,
    /// Reading from it.
    Read,
    /// Writing to it.
    Write,
    /// Syncing it.
    Sync,
}

/// A file of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolFile {
    /// The `SQLite` database.
    Database,
    /// Its write-ahead log, which receives the commits.
    Wal,
    /// The folder that it is in.
    Directory,
}

/// The result of a call that is made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk fails (EIO).
    InputOutput,
    /// The disk is full (ENOSPC).
    NoSpace,
    /// The user's quota is used up (EDQUOT).
    QuotaExceeded,
    /// The file system does not have the call for this kind of file (EINVAL).
    Unsupported,
    /// The user lacks the permission (EACCES).
    PermissionDenied,
    /// Only half of the bytes are written.
    ShortWrite,
    /// The disk does not answer: the call never returns.
    Hang,
}

/// The library, compiled for one test.
#[derive(Debug)]
pub struct FaultInjector {
    folder: PathBuf,
}

impl FaultInjector {
    /// Compiles the library in the folder of `tap`. Without a C compiler, prints a line and returns `None`.
    #[must_use]
    pub fn build_for(tap: &Tap) -> Option<Self> {
        // The library compares paths with those that the kernel reports.
        let folder = tap.folder().canonicalize().expect("the folder is there");
        let source = folder.join("faults.c");
        fs::write(&source, include_str!("faults.c")).expect("a file can be written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.join("faults.so")).arg(&source);
        match compiler.status() {
            Ok(status) if status.success() => Some(FaultInjector { folder }),
            other => {
                eprintln!("skipped: cc cannot build the library that makes calls fail: {other:?}");
                None
            }
        }
    }

    /// Loads the library into the tap that a command starts. The plan may change while the tap runs.
    pub fn inject_into<'t>(&self, command: TapCommand<'t>) -> TapCommand<'t> {
        let path = |name: &str| {
            self.folder.join(name).into_os_string().into_string().expect("a temporary path is text")
        };
        command
            .env("LD_PRELOAD", &path("faults.so"))
            .env("FAULTS_FILES", &path("spool.db"))
            .env("FAULTS_PLAN", &path("plan"))
            .env("FAULTS_FAILED", &path("failed"))
            .env("FAULTS_RECORD", &path("record"))
    }

    /// Plans that the next `count` calls of this kind on a file fail.
    pub fn plan(&self, call: SystemCall, file: SpoolFile, fault: Fault, count: u32) {
        let call = match call {
            SystemCall::Open => "open",
            SystemCall::Read => "read",
            SystemCall::Write => "write",
            SystemCall::Sync => "sync",
        };
        let file = match file {
            SpoolFile::Database => ".",
            SpoolFile::Wal => "-wal",
            SpoolFile::Directory => "dir",
        };
        let fault = match fault {
            Fault::InputOutput => 5,
            Fault::NoSpace => 28,
            Fault::QuotaExceeded => 122,
            Fault::Unsupported => 22,
            Fault::PermissionDenied => 13,
            Fault::ShortWrite => -1,
            Fault::Hang => -2,
        };
        // Renamed into place, so that no reader sees half of it.
        let new = self.folder.join("new plan");
        fs::write(&new, format!("{call} {file} {fault} {count}\n")).expect("a file can be written");
        fs::rename(new, self.folder.join("plan")).expect("a file can be renamed");
    }

    /// Removes the plan: from now on, no call fails.
    pub fn clear(&self) {
        fs::remove_file(self.folder.join("plan")).expect("there is a plan");
    }

    /// How many calls have failed as planned.
    #[must_use]
    pub fn failed_calls(&self) -> usize {
        fs::read_to_string(self.folder.join("failed")).unwrap_or_default().lines().count()
    }

    /// The file that records what was written, synced and answered.
    #[must_use]
    pub fn record_file(&self) -> PathBuf {
        self.folder.join("record")
    }
}
