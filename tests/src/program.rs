//! Child processes: started, watched, signalled, and checked when they have ended.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, setrlimit};

pub use rustix::process::Signal;

use crate::lines::OutputLines;
use crate::mailjet::{API_KEY, SECRET_KEY};
use crate::tap::{BASIC_AUTHORIZATION, PASSWORD};
use crate::wait;

/// Kills a process that is not a child of the test if the test panics. Used where it should end by itself.
#[derive(Debug)]
pub struct KillOnPanic(pub i32);

impl Drop for KillOnPanic {
    fn drop(&mut self) {
        if let (true, Some(pid)) = (thread::panicking(), Pid::from_raw(self.0)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Raises this process's limit on open files to `wanted`, or as far as allowed. Returns the new limit.
#[must_use]
pub fn allow_open_files(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(wanted as u64, |maximum| maximum.min(wanted as u64));
    if current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
            .expect("the limit may be raised");
    }
    usize::try_from(wanted).expect("a small number")
}

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// The path of a program of this workspace. It lies in the folder of the profile that this process was built
/// with.
#[must_use]
pub fn program_path(name: &str) -> PathBuf {
    let this = env::current_exe().expect("a process knows its own path");
    let folder = this.parent().expect("a program lies in a folder");
    // target/<profile>/deps/<test>, target/<profile>/examples/<example> or target/<profile>/<program>
    let is_below = folder.ends_with("deps") || folder.ends_with("examples");
    let profile = if is_below { folder.parent().expect("a profile's folder") } else { folder };
    let program = profile.join(name);
    assert!(
        program.is_file(),
        "{} is missing: run `cargo build -p tap-mailjet-webhooks -p target-jsonl` first",
        program.display()
    );
    program
}

/// A command that runs a script of the repository with one argument. The script builds with the dev profile.
#[must_use]
pub fn script(name: &str, argument: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("bash");
    command.arg(name).arg(argument).current_dir(repository()).env("TAP_PROFILE", "dev");
    // Variables that cargo sets for this package would make it build the C libraries again.
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

/// The path of a program in one of the virtual environments below `target/venvs`.
#[must_use]
pub fn venv_program(venv: &str, program: &str) -> PathBuf {
    let path = repository().join("target/venvs").join(venv).join("bin").join(program);
    assert!(
        path.is_file(),
        "{} is missing: run scripts/test once, it installs what the tests need",
        path.display()
    );
    path
}

/// Runs a command that must succeed, and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the command starts");
    assert!(status.success(), "{command:?} ends with {status}:\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}

/// A running child process. It is killed on drop if it has not ended.
#[derive(Debug)]
pub struct ChildProcess {
    name: &'static str,
    child: Child,
    status: Option<ExitStatus>,
    stderr: OutputLines,
    /// The lines of its stdout, if they are collected.
    stdout: Option<OutputLines>,
    /// Whether stdout may show a token because the command was asked for one (`url new`).
    may_print_token: bool,
}

impl ChildProcess {
    /// Starts `command` and collects its stderr. The caller decides about stdin and stdout.
    pub fn spawn(name: &'static str, command: &mut Command) -> Self {
        // With RUST_BACKTRACE set, an error that carries a backtrace shows it, and the check at the end finds
        // it.
        let command = command.stderr(Stdio::piped()).env("RUST_BACKTRACE", "1");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stderr = OutputLines::collect(child.stderr.take().expect("stderr is a pipe"));
        ChildProcess { name, child, status: None, stderr, stdout: None, may_print_token: false }
    }

    /// Collects the lines of stdout, which must be a pipe. None of them may contain a token.
    pub fn collect_stdout(&mut self) -> OutputLines {
        let lines = OutputLines::collect(self.take_stdout());
        self.stdout.insert(lines).clone()
    }

    /// The same for a program whose job is to print a token (`url new`).
    pub fn collect_stdout_with_token(&mut self) -> OutputLines {
        self.may_print_token = true;
        self.collect_stdout()
    }

    /// Takes our end of the pipe that is the child's stdout.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("stdout is a pipe, and is taken only once")
    }

    /// The lines of its stderr.
    #[must_use]
    pub fn stderr(&self) -> &OutputLines {
        &self.stderr
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal if the process is still running.
    pub fn signal(&mut self, signal: Signal) {
        if self.poll().is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).expect("a child that was not waited for can be signalled");
        }
    }

    /// Kills the process and waits until it has ended.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Waits until the process has ended, and returns its exit code; `None` if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let name = self.name;
        wait::until(&format!("{name} ends"), || self.poll()).code()
    }

    /// Whether the process is still running.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// What other users of the machine can see of the process: its command line and the names of its threads.
    #[must_use]
    pub fn visible_names(&self) -> Vec<String> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let threads =
            std::fs::read_dir(process.join("task")).expect("the process is running").filter_map(Result::ok);
        let names = threads.map(|thread| thread.path().join("comm"));
        let titles = names.chain([process.join("cmdline")]).filter_map(|path| std::fs::read(path).ok());
        titles.map(|title| String::from_utf8_lossy(&title).into_owned()).collect()
    }

    /// The peak memory of the process so far, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> usize {
        let peak = peak_memory(self.child.id()).expect("the process is running");
        usize::try_from(peak).expect("memory sizes fit into usize")
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status
    }
}

/// The peak memory of a process so far, in bytes; `None` if it is not running.
#[must_use]
pub fn peak_memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- stderr of {}:\n{}\n---", self.name, self.stderr.so_far().join("\n"));
            return;
        }
        for line in self.stderr.wait_for_end() {
            assert_clean(self.name, &line);
        }
        if let Some(stdout) = self.stdout.as_ref().filter(|_| !self.may_print_token) {
            for line in stdout.wait_for_end() {
                assert_no_token(self.name, &line);
            }
        }
    }
}

/// Asserts that a line shows no panic, no backtrace and no secret.
fn assert_clean(name: &str, line: &str) {
    for sign in ["panicked at", "stack backtrace", "RUST_BACKTRACE", "Backtrace"] {
        assert!(!line.contains(sign), "{name} wrote to stderr: {line}");
    }
    assert_no_token(name, line);
}

/// Asserts that a line shows no token, no hash of one, and none of the harness's passwords and private keys.
/// Tokens and their hashes are 64 hexadecimal digits.
fn assert_no_token(name: &str, line: &str) {
    let (_, basic) = BASIC_AUTHORIZATION.split_once(' ').expect("a scheme and credentials");
    for secret in [PASSWORD, basic, "PRIVATE KEY-----", API_KEY, SECRET_KEY] {
        assert!(!line.contains(secret), "{name} wrote a secret: {line}");
    }
    let mut runs = line.split(|c: char| !c.is_ascii_hexdigit());
    assert!(!runs.any(|run| run.len() >= 64), "{name} wrote what looks like a token: {line}");
}
