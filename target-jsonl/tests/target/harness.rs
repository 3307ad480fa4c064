//! A temporary directory, and the binary that runs in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const SCHEMA: &str = concat!(
    r#"{"type":"SCHEMA","stream":"data","schema":{"type":"object","properties":{"id":{"type":"integer"},"#,
    r#""note":{"type":["string","null"]}}},"key_properties":["id"]}"#
);

/// A RECORD of the stream `data`, with its line ending.
pub(crate) fn record(id: u64) -> String {
    format!("{{\"type\":\"RECORD\",\"stream\":\"data\",\"record\":{{\"id\":{id}}}}}\n")
}

/// A STATE with a bookmark of the stream `data`, with its line ending.
pub(crate) fn state(id: u64) -> String {
    format!("{{\"type\":\"STATE\",\"value\":{{\"data\":{id}}}}}\n")
}

/// A directory that is deleted when the test ends.
pub(crate) struct Sandbox {
    root: TempDir,
}

/// The outcome of a finished run.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A run that is not finished.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<BufReader<ChildStdout>>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Sandbox { root: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Reads a file of the destination. A missing file reads as empty.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap_or_default()
    }

    /// Lists the names in the destination, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("out")) else { return Vec::new() };
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }

    /// A command with a config file that contains the keys of `config`. The default destination is `out`.
    pub(crate) fn command(&self, mut config: Value) -> Command {
        let keys = config.as_object_mut().expect("a configuration is an object");
        keys.entry("destination_path").or_insert_with(|| json!(self.path("out")));
        let file = self.path("config.json");
        fs::write(&file, config.to_string()).expect("a config file");
        let mut command = bare_command(self.root.path());
        command.arg("--config").arg(file);
        command
    }

    pub(crate) fn run(&self, config: Value, input: &str) -> Outcome {
        finish(&mut self.command(config), input.as_bytes())
    }

    pub(crate) fn start(&self, config: Value) -> Running {
        start(&mut self.command(config))
    }
}

/// A command without arguments, and without the environment variables that the binary reads.
pub(crate) fn bare_command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_target-jsonl"));
    command.current_dir(directory);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TARGET_JSONL_") {
            command.env_remove(name);
        }
    }
    command
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Starts a command.
pub(crate) fn start(command: &mut Command) -> Running {
    let mut child = spawn(command);
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().map(BufReader::new);
    Running { child, stdin, stdout }
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child = spawn(command);
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let input = input.to_vec();
    // In another thread, because a large input and a large output would wait for each other. Writing fails if
    // the run ends early.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the run ends");
    writing.join().expect("the input is written");
    Outcome {
        code: output.status.code().expect("no signal killed it"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Outcome {
    /// Returns the error, without the log lines before it.
    pub(crate) fn error(&self) -> &str {
        assert_eq!(self.code, 1, "{}", self.stderr);
        let errors: Vec<_> =
            self.stderr.lines().filter_map(|line| line.strip_prefix("target-jsonl: ")).collect();
        let [error] = errors[..] else { panic!("not one line of error:\n{}", self.stderr) };
        assert!(self.stderr.ends_with(&format!("{error}\n")), "the error is the last line:\n{}", self.stderr);
        error
    }

    pub(crate) fn success(&self) -> &Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }
}

impl Running {
    /// Writes to stdin, which stays open. Up to 4 KiB arrive in one piece.
    pub(crate) fn write(&mut self, input: &str) {
        self.stdin.as_mut().expect("stdin is open").write_all(input.as_bytes()).expect("the target reads");
    }

    /// Waits for a line on stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().expect("stdout is open").read_line(&mut line).expect("a line");
        line
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the run goes on");
    }

    /// Waits for the run to end by itself. If the caller has taken stdin, it stays open until then, so that
    /// the end of input is not what ends the run.
    pub(crate) fn wait(mut self) -> Outcome {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        if let Some(mut rest) = self.stdout.take() {
            rest.read_to_string(&mut stdout).expect("text");
        }
        self.child.stderr.take().expect("stderr is a pipe").read_to_string(&mut stderr).expect("text");
        let status = self.child.wait().expect("the run ends");
        Outcome { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

/// Polls until something has happened. Only for what is certain to happen, however long it takes.
pub(crate) fn wait_until(happened: impl Fn() -> bool) {
    while !happened() {
        std::thread::sleep(Duration::from_millis(2));
    }
}
