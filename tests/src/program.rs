//! One child process: started, watched, signalled, and checked when it is over.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, setrlimit};

pub use rustix::process::Signal;

use crate::lines::Lines;
use crate::tap::{BASIC, PASSWORD};
use crate::wait;

/// Sends SIGKILL to a process that is not our child, should a test fail that expects it to end by itself.
#[derive(Debug)]
pub struct KillOnFailure(pub i32);

impl Drop for KillOnFailure {
    fn drop(&mut self) {
        if let (true, Some(pid)) = (thread::panicking(), Pid::from_raw(self.0)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Lets this process have so many files open, or as many as it may; says how many.
#[must_use]
pub fn allow_open_files(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(wanted as u64, |maximum| maximum.min(wanted as u64));
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).expect("it may be raised");
    }
    usize::try_from(wanted).expect("a small number")
}

/// The repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// Where the program `name` of this workspace is: in the folder of the profile that this process was built with.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    let this = env::current_exe().expect("a process knows its own path");
    let folder = this.parent().expect("a program lies in a folder");
    // target/<profile>/deps/<test>, target/<profile>/examples/<example> or target/<profile>/<program>
    let is_below = folder.ends_with("deps") || folder.ends_with("examples");
    let profile = if is_below { folder.parent().expect("a profile's folder") } else { folder };
    let program = profile.join(name);
    assert!(
        program.is_file(),
        "{} is missing: run `cargo build --workspace --all-targets` first",
        program.display()
    );
    program
}

/// A script of the repository, to be run with an argument (a folder, for most), that builds what it builds for tests.
#[must_use]
pub fn script(name: &str, argument: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("bash");
    command.arg(name).arg(argument).current_dir(repository()).env("TAP_PROFILE", "dev");
    // What a test runner tells this test of its own package would make cargo build the C libraries anew.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// A running child process. It is killed, if it has to be, when it is dropped.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    child: Child,
    status: Option<ExitStatus>,
    stderr: Lines,
    /// What it writes to stdout, if that is collected.
    stdout: Option<Lines>,
    /// Whether a token on stdout is what was asked for (`url new`) and not a leak.
    may_print_token: bool,
}

impl Program {
    /// Starts `command`. Where its stdin and stdout lead is for the caller to say; stderr is collected.
    pub fn spawn(name: &'static str, command: &mut Command) -> Self {
        // With RUST_BACKTRACE set, an error that carries a backtrace would show it, and the check at the end see it.
        let command = command.stderr(Stdio::piped()).env("RUST_BACKTRACE", "1");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stderr = Lines::of(child.stderr.take().expect("stderr is a pipe"));
        Program { name, child, status: None, stderr, stdout: None, may_print_token: false }
    }

    /// Collects what comes to stdout, which has to be a pipe.
    pub fn collect_stdout(&mut self, may_print_token: bool) -> Lines {
        let lines = Lines::of(self.take_stdout());
        self.may_print_token = may_print_token;
        self.stdout.insert(lines).clone()
    }

    /// Our end of the pipe that is its stdout.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("stdout is a pipe that is taken once")
    }

    /// What it writes to stderr.
    #[must_use]
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// The id of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, if the process still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.poll().is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).expect("a child that was not waited for can be signalled");
        }
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Waits until it has ended by itself, and returns its exit code; None if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let name = self.name;
        wait::until(&format!("{name} ends"), || self.poll()).code()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// What other users of the machine see of it: its command line, and the names of its threads.
    #[must_use]
    pub fn titles(&self) -> Vec<String> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let threads = std::fs::read_dir(process.join("task")).expect("it runs").filter_map(Result::ok);
        let names = threads.map(|thread| thread.path().join("comm"));
        let titles = names.chain([process.join("cmdline")]).filter_map(|path| std::fs::read(path).ok());
        titles.map(|title| String::from_utf8_lossy(&title).into_owned()).collect()
    }

    /// The most memory that it has had at any time: bytes.
    #[must_use]
    pub fn peak_memory(&self) -> usize {
        let peak = peak_memory(self.child.id()).expect("it runs, and Linux tells it");
        usize::try_from(peak).expect("it fits into memory")
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status
    }
}

/// The most memory that a process has had at any time: bytes. None if it does not run.
#[must_use]
pub fn peak_memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- stderr of {}:\n{}\n---", self.name, self.stderr.so_far().join("\n"));
            return;
        }
        for line in self.stderr.to_end() {
            assert_clean(self.name, &line);
        }
        if let Some(stdout) = self.stdout.as_ref().filter(|_| !self.may_print_token) {
            for line in stdout.to_end() {
                assert_no_token(self.name, &line);
            }
        }
    }
}

/// No program may end in a panic, show a backtrace or give a token away.
fn assert_clean(name: &str, line: &str) {
    for sign in ["panicked at", "stack backtrace", "RUST_BACKTRACE", "Backtrace"] {
        assert!(!line.contains(sign), "{name} wrote to stderr: {line}");
    }
    assert_no_token(name, line);
}

/// A token is 64 hexadecimal digits; so is its hash, which is nobody's business either. Passwords and private keys are those
/// of the harness.
fn assert_no_token(name: &str, line: &str) {
    let (_, basic) = BASIC.split_once(' ').expect("a scheme and what follows it");
    for secret in [PASSWORD, basic, "PRIVATE KEY-----"] {
        assert!(!line.contains(secret), "{name} wrote a secret: {line}");
    }
    let mut runs = line.split(|c: char| !c.is_ascii_hexdigit());
    assert!(!runs.any(|run| run.len() >= 64), "{name} wrote what looks like a token: {line}");
}
