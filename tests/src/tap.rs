//! The tap: a folder with its spool and configuration, its command lines, and its running processes.

use std::cell::Cell;
use std::fs;
use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::http::Endpoint;
use crate::lines::Lines;
use crate::message::{Message, Record, bookmark};
use crate::program::{self, Program, Signal};
use crate::spool::Spool;

/// The token that taps of a test accept, unless the test mints its own.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The user name of taps that ask for one.
pub const USERNAME: &str = "mailjet";
/// Its password.
pub const PASSWORD: &str = "open sesame, please";
/// Both, as the header `Authorization` has them.
pub const BASIC: &str = "Basic bWFpbGpldDpvcGVuIHNlc2FtZSwgcGxlYXNl";

const NAME: &str = "tap-mailjet-webhooks";

/// A place for taps: a folder of its own, a spool in it, and a configuration that they share.
#[derive(Debug)]
pub struct Tap {
    folder: TempDir,
    config: Map<String, Value>,
    config_files: Cell<u32>,
}

/// A command line in the making.
#[derive(Debug)]
#[must_use = "nothing runs before `start` or `finish`"]
pub struct Launch<'a> {
    tap: &'a Tap,
    arguments: Vec<String>,
    config: Map<String, Value>,
    environment: Vec<(String, String)>,
    with_config: bool,
    wrapper: Vec<String>,
}

/// A tap that runs.
#[derive(Debug)]
pub struct RunningTap {
    /// The process.
    pub program: Program,
    stdout: Lines,
}

/// A tap that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; None if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: Vec<String>,
    /// What it wrote to stderr.
    pub stderr: Vec<String>,
}

impl Default for Tap {
    fn default() -> Self {
        Self::new()
    }
}

impl Tap {
    /// A new folder, with a spool that is not there yet.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let config = json!({
            "listen_address": "127.0.0.1:0",
            "admin_address": "",
            "spool_path": folder.path().join("spool.db"),
            "webhook_tokens": [TOKEN],
            "min_free_bytes": 0,
            "state_interval_seconds": 1,
        });
        let Value::Object(config) = config else { unreachable!("it is an object") };
        Tap { folder, config, config_files: Cell::new(0) }
    }

    /// Sets a key of the configuration.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// Takes webhook URLs that `url new` makes, instead of the one token that every other test uses.
    #[must_use]
    pub fn with_minted_urls(mut self) -> Self {
        self.config.remove("webhook_tokens");
        self
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The spool.
    #[must_use]
    pub fn spool(&self) -> Spool {
        Spool { path: self.folder().join("spool.db") }
    }

    /// The file that `Launch::state` names.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.folder().join("state.json")
    }

    /// Writes a line to the state file, as a target does.
    pub fn append_state(&self, bookmark: i64) {
        self.append_to_state(&format!("{}\n", state(bookmark)));
    }

    /// Writes any text to the state file.
    pub fn append_to_state(&self, text: &str) {
        use std::io::Write;
        let file = fs::OpenOptions::new().create(true).append(true).open(self.state_file());
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the state file can be written");
    }

    /// The bookmarks of stream `data` in the state file, line by line; 0 where a state has none. What is left of a state
    /// whose writer died in the middle of it is left out; another may follow it in the same line.
    #[must_use]
    pub fn bookmarks(&self) -> Vec<i64> {
        let text = fs::read_to_string(self.state_file()).unwrap_or_default();
        let states = text.lines().filter_map(|line| {
            let begin = line.rfind(r#"{"bookmarks""#)?;
            serde_json::from_str::<Value>(&line[begin..]).ok()
        });
        states.map(|state| bookmark(&state).unwrap_or(0)).collect()
    }

    /// Runs it as a Singer tap: continuously, unless the configuration says otherwise.
    pub fn run(&self) -> Launch<'_> {
        self.launch(&[])
    }

    /// Runs it as a Singer tap that ends when the spool is empty.
    pub fn drain(&self) -> Launch<'_> {
        self.launch(&[]).set("mode", "drain")
    }

    /// Runs the listener alone.
    pub fn listen(&self) -> Launch<'_> {
        self.launch(&["listen"])
    }

    /// Runs `url` with a subcommand of its own.
    pub fn url(&self, arguments: &[&str]) -> Launch<'_> {
        self.launch(&["url"]).args(arguments)
    }

    /// Runs it with any arguments, the configuration behind them.
    pub fn launch(&self, arguments: &[&str]) -> Launch<'_> {
        Launch {
            tap: self,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            config: self.config.clone(),
            environment: Vec::new(),
            with_config: true,
            wrapper: Vec::new(),
        }
    }

    /// Makes a webhook URL with `url new`.
    #[must_use]
    pub fn mint(&self) -> Endpoint {
        let finished = self.url(&["new"]).finish();
        finished.assert_code(0);
        Endpoint::of(&finished.stdout[0])
    }

    /// The ids of the active webhook URLs, as `url list` shows them.
    #[must_use]
    pub fn url_ids(&self) -> Vec<String> {
        let list = self.url(&["list"]).finish();
        list.assert_code(0);
        let rows = list.stdout.iter().skip(1).filter_map(|row| row.split_whitespace().next());
        rows.map(str::to_owned).collect()
    }

    /// Keeps `bodies` in the spool, by way of a listener that is stopped again.
    pub fn spool_bodies<'b>(&self, bodies: impl IntoIterator<Item = &'b str>) {
        let listener = self.listen().start();
        let endpoint = listener.endpoint();
        for body in bodies {
            endpoint.accept(body);
        }
        listener.stop().assert_code(0);
    }

    fn write_config(&self, config: &Map<String, Value>) -> PathBuf {
        let number = self.config_files.replace(self.config_files.get() + 1);
        let path = self.folder().join(format!("config-{number}.json"));
        fs::write(&path, Value::Object(config.clone()).to_string()).expect("a config file can be written");
        path
    }
}

/// The value of a STATE with a bookmark for `data`.
#[must_use]
pub fn state(bookmark: i64) -> Value {
    json!({"bookmarks": {"data": {"replication_key": "_sdc_sequence", "replication_key_value": bookmark}}})
}

impl Launch<'_> {
    /// Sets a key of the configuration, for this command only.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Adds `--state` with the tap's state file, which may be missing.
    pub fn state(self) -> Self {
        let path = self.tap.state_file();
        self.args(&["--state", path.to_str().expect("a temporary path is text")])
    }

    /// Leaves `--config` out.
    pub fn without_config(mut self) -> Self {
        self.with_config = false;
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets writing any file past `kibibytes` fail, as a disk with errors would: the write returns an error.
    pub fn limit_file_size(self, kibibytes: u32) -> Self {
        // Without the trap, a write past the limit would end the process by SIGXFSZ. POSIX counts in blocks of 512
        // bytes.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", 2 * kibibytes);
        self.through(&["sh", "-c", &script])
    }

    /// Starts it by way of another program, which gets its path and arguments as the last ones.
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Starts it and collects what it writes.
    #[must_use]
    pub fn start(self) -> RunningTap {
        // `url new` is the only command that may print a token.
        let may_print_token = self.arguments.starts_with(&["url".to_owned(), "new".to_owned()]);
        let mut program = self.spawn(Stdio::piped());
        let stdout = program.collect_stdout(may_print_token);
        RunningTap { program, stdout }
    }

    /// Starts it; what it writes stays in the pipe until the caller reads it.
    #[must_use]
    pub fn start_unread(self) -> (Program, ChildStdout) {
        let mut program = self.spawn(Stdio::piped());
        let stdout = program.take_stdout();
        (program, stdout)
    }

    /// Starts it with its output going into `pipe`.
    #[must_use]
    pub fn start_into(self, pipe: PipeWriter) -> RunningTap {
        RunningTap { program: self.spawn(pipe.into()), stdout: Lines::of(io::empty()) }
    }

    /// Runs it to its end.
    #[must_use]
    pub fn finish(self) -> Finished {
        self.start().finish()
    }

    /// The command line, stdin and stderr aside.
    #[must_use]
    pub fn command(self) -> Command {
        let program = program::path_of(NAME);
        let mut command = match &self.wrapper[..] {
            [] => Command::new(program),
            [wrapper, arguments @ ..] => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(program);
                command
            }
        };
        command.args(&self.arguments).envs(self.environment);
        if self.with_config {
            command.arg("--config").arg(self.tap.write_config(&self.config));
        }
        // A test that forgets spool_path must not write into somebody's home.
        command.env("XDG_STATE_HOME", self.tap.folder()).current_dir(self.tap.folder());
        command
    }

    fn spawn(self, stdout: Stdio) -> Program {
        Program::spawn(NAME, self.command().stdin(Stdio::null()).stdout(stdout))
    }
}

impl RunningTap {
    /// Waits until it listens, and returns where.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        let line = self.program.stderr().wait_for("listening on http");
        let (_, rest) = line.split_once("listening on ").expect("the line says so");
        let url = rest.split_whitespace().next().expect("an address follows");
        Endpoint::of(url.trim_end_matches('/')).with_path(&format!("/v1/mailjet/{TOKEN}"))
    }

    /// Waits until it answers on its admin address, and returns where: `.with_path("/metrics")` and so on.
    #[must_use]
    pub fn admin(&self) -> Endpoint {
        let line = self.program.stderr().wait_for("admin on http://");
        let (_, rest) = line.split_once("admin on ").expect("the line says so");
        Endpoint::of(rest.split(": ").next().expect("an address"))
    }

    /// Waits for `count` records of stream `data`, and returns all that are there.
    #[must_use]
    pub fn wait_records(&self, count: usize) -> Vec<Record> {
        let mut seen = 0;
        let mut records = Vec::new();
        self.stdout.wait(&format!("{count} records"), |lines| {
            let new = lines[seen..].iter().filter_map(|line| Message::parse(line).record());
            records.extend(new.filter(|record| record.stream == "data"));
            seen = lines.len();
            (records.len() >= count).then_some(())
        });
        records
    }

    /// Waits for a STATE that covers `sequence`.
    pub fn wait_bookmark(&self, sequence: i64) {
        let mut seen = 0;
        self.stdout.wait(&format!("a STATE that covers {sequence}"), |lines| {
            let mut new = lines[seen..].iter().filter_map(|line| Message::parse(line).bookmark());
            let covered = new.any(|bookmark| bookmark >= sequence);
            seen = lines.len();
            covered.then_some(())
        });
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// Asks it to stop, and waits for its end.
    #[must_use]
    pub fn stop(mut self) -> Finished {
        self.program.signal(Signal::TERM);
        self.finish()
    }

    /// Kills it, and waits for its end.
    #[must_use]
    pub fn kill(mut self) -> Finished {
        self.program.signal(Signal::KILL);
        self.finish()
    }

    /// Waits for its end.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        let code = self.program.wait();
        let (stdout, stderr) = (self.stdout.to_end(), self.program.stderr().to_end());
        assert!(code.is_none() || self.stdout.torn().is_empty(), "a torn line: {}", self.stdout.torn());
        Finished { code, stdout, stderr }
    }
}

impl Finished {
    /// Demands an exit code.
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "stderr:\n{}", self.stderr.join("\n"));
    }

    /// Demands that it failed and that it said why in one line, which is returned.
    #[must_use]
    pub fn sole_error(&self) -> &str {
        self.assert_code(1);
        let errors: Vec<_> = self.stderr.iter().filter(|line| is_error(line)).collect();
        assert_eq!(errors.len(), 1, "one line tells the error; stderr:\n{}", self.stderr.join("\n"));
        errors[0]
    }

    /// The messages that it wrote.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        Message::parse_all(&self.stdout)
    }

    /// The records of stream `data` that it wrote.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.records_of("data")
    }

    /// The records of a stream that it wrote.
    #[must_use]
    pub fn records_of(&self, stream: &str) -> Vec<Record> {
        let records = self.messages().into_iter().filter_map(Message::record);
        records.filter(|record| record.stream == stream).collect()
    }

    /// Whether a line on stderr contains `pattern`.
    #[must_use]
    pub fn says(&self, pattern: &str) -> bool {
        self.stderr.iter().any(|line| line.contains(pattern))
    }
}

/// Whether a line on stderr tells an error, and not what else there is to tell.
fn is_error(line: &str) -> bool {
    line.contains("ERROR") || line.starts_with("error") || line.starts_with(NAME)
}
