//! A broken disk: a library between the tap and the C library that lets calls on the spool's files fail, and records what
//! is written and synced.
//!
//! It is C, built by the test, since only what is loaded before the C library can stand there, and the workspace has no
//! unsafe Rust. SQLite can be given another way to the disk (a VFS) only from within the process; this way it is the real
//! program that meets the error, whichever part of it does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::tap::{Launch, Tap};

/// A system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
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
    /// Its write-ahead log: where commits go.
    Wal,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk fails: EIO.
    InputOutput,
    /// The disk is full: ENOSPC.
    NoSpace,
    /// The user may not do that: EACCES.
    NotPermitted,
    /// Half of the bytes are written.
    Half,
}

/// The library, built for one test.
#[derive(Debug)]
pub struct Faults {
    folder: PathBuf,
}

impl Faults {
    /// Builds the library in the folder of `tap`. None, and a line that says so, without a C compiler.
    #[must_use]
    pub fn beside(tap: &Tap) -> Option<Self> {
        // The library compares with the paths that the kernel knows.
        let folder = tap.folder().canonicalize().expect("the folder is there");
        let source = folder.join("faults.c");
        fs::write(&source, include_str!("faults.c")).expect("a file can be written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.join("faults.so")).arg(&source);
        match compiler.status() {
            Ok(status) if status.success() => Some(Faults { folder }),
            other => {
                eprintln!("skipped: cc can't build the library that lets calls fail: {other:?}");
                None
            }
        }
    }

    /// Lets a command meet what is planned, by then or later.
    pub fn under<'t>(&self, launch: Launch<'t>) -> Launch<'t> {
        let path =
            |name: &str| self.folder.join(name).into_os_string().into_string().expect("a path is text");
        launch
            .env("LD_PRELOAD", &path("faults.so"))
            .env("FAULTS_FILES", &path("spool.db"))
            .env("FAULTS_PLAN", &path("plan"))
            .env("FAULTS_FAILED", &path("failed"))
            .env("FAULTS_RECORD", &path("record"))
    }

    /// Plans that the next `count` calls of a kind on a file fail.
    pub fn plan(&self, call: Call, file: SpoolFile, fault: Fault, count: u32) {
        let call = match call {
            Call::Open => "open",
            Call::Read => "read",
            Call::Write => "write",
            Call::Sync => "sync",
        };
        let file = match file {
            SpoolFile::Database => ".",
            SpoolFile::Wal => "-wal",
        };
        let fault = match fault {
            Fault::InputOutput => 5,
            Fault::NoSpace => 28,
            Fault::NotPermitted => 13,
            Fault::Half => -1,
        };
        // At once for whoever reads it.
        let new = self.folder.join("new plan");
        fs::write(&new, format!("{call} {file} {fault} {count}\n")).expect("a file can be written");
        fs::rename(new, self.folder.join("plan")).expect("a file can be renamed");
    }

    /// Ends what is planned: the disk is well again.
    pub fn end(&self) {
        fs::remove_file(self.folder.join("plan")).expect("there is a plan");
    }

    /// How many calls have failed by plan.
    #[must_use]
    pub fn failed(&self) -> usize {
        fs::read_to_string(self.folder.join("failed")).unwrap_or_default().lines().count()
    }

    /// The record of what was written, synced and answered.
    #[must_use]
    pub fn record_file(&self) -> PathBuf {
        self.folder.join("record")
    }
}
