//! The tap: a folder with its spool and configuration, its command lines, and its running processes.

use std::cell::Cell;
use std::fs;
use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::http::Endpoint;
use crate::lines::OutputLines;
use crate::message::{Message, Record, bookmark};
use crate::program::{self, ChildProcess, Signal};
use crate::spool::{Schema, Spool};

/// The token that the tests' taps accept, unless a test creates webhook URLs of its own.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The user name of taps with Basic authentication.
pub const USERNAME: &str = "mailjet";
/// Its password.
pub const PASSWORD: &str = "open sesame, please";
/// Both, as a value of the header `Authorization`.
pub const BASIC_AUTHORIZATION: &str = "Basic bWFpbGpldDpvcGVuIHNlc2FtZSwgcGxlYXNl";

const NAME: &str = "tap-mailjet-webhooks";

/// A folder with a spool, and the configuration of the taps that use it.
#[derive(Debug)]
pub struct Tap {
    folder: TempDir,
    config: Map<String, Value>,
    config_files: Cell<u32>,
    schema: Option<Schema>,
}

/// A command line that is being built.
#[derive(Debug)]
#[must_use = "nothing runs until `start` or `finish` is called"]
pub struct TapCommand<'a> {
    tap: &'a Tap,
    arguments: Vec<String>,
    config: Map<String, Value>,
    environment: Vec<(String, String)>,
    with_config: bool,
    wrapper: Vec<String>,
}

/// A running tap.
#[derive(Debug)]
pub struct RunningTap {
    /// The process.
    pub program: ChildProcess,
    stdout: OutputLines,
}

/// A tap that has ended.
#[derive(Debug)]
pub struct FinishedTap {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The lines of its stdout.
    pub stdout: Vec<String>,
    /// The lines of its stderr.
    pub stderr: Vec<String>,
}

impl Default for Tap {
    fn default() -> Self {
        Self::new()
    }
}

impl Tap {
    /// Creates a new folder. The spool does not exist yet.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let config = json!({
            "listen_address": "127.0.0.1:0",
            "admin_address": "",
            "webhook_tokens": [TOKEN],
            "min_free_bytes": 0,
            "state_interval_seconds": 1,
        });
        let Value::Object(config) = config else { unreachable!("it is an object") };
        let mut tap = Tap { folder, config, config_files: Cell::new(0), schema: None };
        match Schema::from_environment() {
            Some(schema) => {
                tap.set_schema(schema);
                tap.set("spool_durability", "local")
            }
            None => tap.with_spool_file(),
        }
    }

    /// Puts the spool into a schema of the database that `url` names.
    #[must_use]
    pub fn with_spool_in(mut self, url: &str) -> Self {
        self.config.remove("spool_path");
        self.set_schema(Schema::new(url.to_owned()));
        self
    }

    /// Puts the spool into an SQLite file, whatever the environment says.
    #[must_use]
    pub fn with_spool_file(mut self) -> Self {
        self.schema = None;
        for key in ["spool_url", "spool_schema", "spool_durability"] {
            self.config.remove(key);
        }
        self.config.insert("spool_path".to_owned(), json!(self.folder().join("spool.db")));
        self
    }

    fn set_schema(&mut self, schema: Schema) {
        self.config.insert("spool_url".to_owned(), json!(schema.url));
        self.config.insert("spool_schema".to_owned(), json!(schema.name));
        self.schema = Some(schema);
    }

    /// Uses the same spool as `other`, from another folder.
    #[must_use]
    pub fn sharing_spool_of(mut self, other: &Tap) -> Self {
        self.config.clone_from(&other.config);
        self.schema.clone_from(&other.schema);
        self
    }

    /// Puts the spool into a database. `psql_url` is how the test itself reaches it.
    #[must_use]
    pub fn with_spool_at(mut self, url: &str, psql_url: &str) -> Self {
        let name = "torture".to_owned();
        self.config.remove("spool_path");
        self.config.insert("spool_schema".to_owned(), json!(name));
        self.schema = Some(Schema { url: psql_url.to_owned(), name });
        self.set("spool_url", url)
    }

    /// Sets a key of the configuration.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// Accepts URLs that `url new` creates, instead of the fixed token of the other tests.
    #[must_use]
    pub fn with_created_urls(mut self) -> Self {
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
        Spool { path: self.folder().join("spool.db"), schema: self.schema.clone() }
    }

    /// The file that [`TapCommand::state`] names.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.folder().join("state.json")
    }

    /// Appends a STATE to the state file, as a target does.
    pub fn append_state(&self, bookmark: i64) {
        self.append_to_state(&format!("{}\n", state_value(bookmark)));
    }

    /// Appends any text to the state file.
    pub fn append_to_state(&self, text: &str) {
        use std::io::Write;
        let file = fs::OpenOptions::new().create(true).append(true).open(self.state_file());
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the state file can be written");
    }

    /// The bookmarks of stream `data` in the state file, as [`bookmarks_in`] returns them.
    #[must_use]
    pub fn bookmarks(&self) -> Vec<i64> {
        bookmarks_in(&self.state_file())
    }

    /// Runs the Singer tap: continuously, unless the configuration says otherwise.
    pub fn run(&self) -> TapCommand<'_> {
        self.command(&[])
    }

    /// Runs the Singer tap until the spool is empty.
    pub fn drain(&self) -> TapCommand<'_> {
        self.command(&[]).set("mode", "drain")
    }

    /// Runs only the listener.
    pub fn listen(&self) -> TapCommand<'_> {
        self.command(&["listen"])
    }

    /// Runs a subcommand of `url`.
    pub fn url(&self, arguments: &[&str]) -> TapCommand<'_> {
        self.command(&["url"]).args(arguments)
    }

    /// Runs the tap with any arguments, followed by the configuration.
    pub fn command(&self, arguments: &[&str]) -> TapCommand<'_> {
        TapCommand {
            tap: self,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            config: self.config.clone(),
            environment: Vec::new(),
            with_config: true,
            wrapper: Vec::new(),
        }
    }

    /// Creates a webhook URL with `url new`.
    #[must_use]
    pub fn create_url(&self) -> Endpoint {
        let finished = self.url(&["new"]).finish();
        finished.assert_code(0);
        Endpoint::parse(&finished.stdout[0])
    }

    /// The ids of the active webhook URLs, as `url list` shows them.
    #[must_use]
    pub fn url_ids(&self) -> Vec<String> {
        let list = self.url(&["list"]).finish();
        list.assert_code(0);
        let rows = list.stdout.iter().skip(1).filter_map(|row| row.split_whitespace().next());
        rows.map(str::to_owned).collect()
    }

    /// Stores `bodies` in the spool by posting them to a listener, which is then stopped.
    pub fn spool_bodies<'b>(&self, bodies: impl IntoIterator<Item = &'b str>) {
        let listener = self.listen().start();
        let endpoint = listener.endpoint();
        for body in bodies {
            endpoint.post_accepted(body);
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

/// The bookmarks of stream `data` in a state file, line by line; 0 for a state without one. Skips a state
/// whose writer died in the middle of it, even if another one follows on the same line.
#[must_use]
pub fn bookmarks_in(state_file: &Path) -> Vec<i64> {
    let text = fs::read_to_string(state_file).unwrap_or_default();
    let states = text.lines().filter_map(|line| {
        let begin = line.rfind(r#"{"bookmarks""#)?;
        serde_json::from_str::<Value>(&line[begin..]).ok()
    });
    states.map(|state| bookmark(&state).unwrap_or(0)).collect()
}

/// The value of a STATE with a bookmark for `data`.
#[must_use]
pub fn state_value(bookmark: i64) -> Value {
    json!({"bookmarks": {"data": {"replication_key": "_sdc_sequence", "replication_key_value": bookmark}}})
}

impl TapCommand<'_> {
    /// Sets a key of the configuration for this command only.
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

    /// Omits `--config`.
    pub fn without_config(mut self) -> Self {
        self.with_config = false;
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes writes beyond `kibibytes` of any file fail.
    pub fn limit_file_size(self, kibibytes: u32) -> Self {
        // POSIX counts blocks of 512 bytes.
        let script = format!("ulimit -f {}; exec \"$0\" \"$@\"", 2 * kibibytes);
        self.wrapped_in(&["sh", "-c", &script])
    }

    /// Starts the tap through another program, which gets the tap's path and arguments as its last ones.
    pub fn wrapped_in(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Starts the tap and collects its output.
    #[must_use]
    pub fn start(self) -> RunningTap {
        // `url new` is the only command that may print a token.
        let may_print_token = self.arguments.starts_with(&["url".to_owned(), "new".to_owned()]);
        let mut program = self.spawn(Stdio::piped());
        let stdout =
            if may_print_token { program.collect_stdout_with_token() } else { program.collect_stdout() };
        RunningTap { program, stdout }
    }

    /// Starts the tap. Its output stays in the pipe until the caller reads it.
    #[must_use]
    pub fn start_unread(self) -> (ChildProcess, ChildStdout) {
        let mut program = self.spawn(Stdio::piped());
        let stdout = program.take_stdout();
        (program, stdout)
    }

    /// Starts the tap with `pipe` as its stdout.
    #[must_use]
    pub fn start_with_stdout(self, pipe: PipeWriter) -> RunningTap {
        RunningTap { program: self.spawn(pipe.into()), stdout: OutputLines::collect(io::empty()) }
    }

    /// Runs the tap until it ends.
    #[must_use]
    pub fn finish(self) -> FinishedTap {
        self.start().finish()
    }

    /// The command, without stdin and stderr.
    #[must_use]
    pub fn into_command(self) -> Command {
        let program = program::program_path(NAME);
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
        // If a test forgets spool_path, the tap must not write into the user's home.
        command.env("XDG_STATE_HOME", self.tap.folder()).current_dir(self.tap.folder());
        command
    }

    fn spawn(self, stdout: Stdio) -> ChildProcess {
        ChildProcess::spawn(NAME, self.into_command().stdin(Stdio::null()).stdout(stdout))
    }
}

impl RunningTap {
    /// Waits until the tap listens, and returns its webhook address.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        let line = self.program.stderr().wait_for("listening on http");
        let (_, rest) = line.split_once("listening on ").expect("an address follows");
        let url = rest.split_whitespace().next().expect("a URL follows");
        Endpoint::parse(url.trim_end_matches('/')).with_path(&format!("/v1/mailjet/{TOKEN}"))
    }

    /// Waits until the admin address is open, and returns it; add `.with_path("/metrics")` and so on.
    #[must_use]
    pub fn admin(&self) -> Endpoint {
        let line = self.program.stderr().wait_for("admin on http://");
        let (_, rest) = line.split_once("admin on ").expect("an address follows");
        Endpoint::parse(rest.split(": ").next().expect("an address"))
    }

    /// Waits for `count` records of stream `data`, and returns all of them so far.
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

    /// What the tap has written to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> &OutputLines {
        &self.stdout
    }

    /// Asks the tap to stop, and waits until it has ended.
    #[must_use]
    pub fn stop(mut self) -> FinishedTap {
        self.program.signal(Signal::TERM);
        self.finish()
    }

    /// Kills the tap, and waits until it has ended.
    #[must_use]
    pub fn kill(mut self) -> FinishedTap {
        self.program.signal(Signal::KILL);
        self.finish()
    }

    /// Waits until the tap has ended.
    #[must_use]
    pub fn finish(mut self) -> FinishedTap {
        let code = self.program.wait();
        let (stdout, stderr) = (self.stdout.wait_for_end(), self.program.stderr().wait_for_end());
        assert!(
            code.is_none() || self.stdout.partial_line().is_empty(),
            "an incomplete line: {}",
            self.stdout.partial_line()
        );
        FinishedTap { code, stdout, stderr }
    }
}

impl FinishedTap {
    /// Asserts that the exit code is `code`.
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "stderr:\n{}", self.stderr.join("\n"));
    }

    /// Asserts that the tap failed with exactly one error line, and returns the line.
    #[must_use]
    pub fn only_error(&self) -> &str {
        self.assert_code(1);
        let errors: Vec<_> = self.stderr.iter().filter(|line| is_error(line)).collect();
        assert_eq!(errors.len(), 1, "there is one error line; stderr:\n{}", self.stderr.join("\n"));
        errors[0]
    }

    /// The messages on stdout.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        Message::parse_all(&self.stdout)
    }

    /// The records of stream `data` on stdout.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.records_of("data")
    }

    /// The records of a stream on stdout.
    #[must_use]
    pub fn records_of(&self, stream: &str) -> Vec<Record> {
        let records = self.messages().into_iter().filter_map(Message::record);
        records.filter(|record| record.stream == stream).collect()
    }

    /// Whether a line on stderr contains `pattern`.
    #[must_use]
    pub fn stderr_contains(&self, pattern: &str) -> bool {
        self.stderr.iter().any(|line| line.contains(pattern))
    }
}

/// Whether a line on stderr reports an error.
fn is_error(line: &str) -> bool {
    line.contains("ERROR") || line.starts_with("error") || line.starts_with(NAME)
}
