//! A spool with its configuration in a folder of its own, and the programs that run on it.

use std::fs::{self, File};
use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use end_to_end::http::Endpoint;
use end_to_end::metrics::Metrics;
use end_to_end::program::{self, ChildProcess, Signal};
use end_to_end::tap::{TOKEN, state_value};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

use crate::event_generator::EventGenerator;
use crate::load::{Load, LoadReport, Pace};
use crate::measurement::megabytes;
use crate::process::{self, ProcessUsage};

/// Events in each post when a spool is filled.
pub(crate) const GROUP: u64 = 100;
/// Connections that post when a spool is filled.
pub(crate) const GROUP_CONNECTIONS: usize = 32;

/// A spool and its configuration, in a folder of their own.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    config: Map<String, Value>,
    config_files: AtomicU32,
}

/// A running tap that receives webhooks.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The process.
    pub program: ChildProcess,
    /// Its webhook URL.
    pub endpoint: Endpoint,
}

impl Spool {
    /// Creates the folder. If it exists, removes it first.
    pub(crate) fn new(parent: &Path, name: &str) -> Self {
        let folder = parent.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let folder = folder.canonicalize().expect("the folder exists");
        let config = json!({
            "listen_address": "127.0.0.1:0",
            "admin_address": "off",
            "spool_path": folder.join("spool.db"),
            "webhook_tokens": [TOKEN],
            "spool_max_bytes": 1_u64 << 40,
        });
        let Value::Object(config) = config else { unreachable!("it is an object") };
        Spool { folder, config, config_files: AtomicU32::new(0) }
    }

    /// Sets a key of the configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// Puts the spool into a schema of a replicated database.
    pub(crate) fn in_postgres(mut self, url: &str, schema: &str) -> Self {
        self.config.remove("spool_path");
        self.set("spool_url", url).set("spool_schema", schema)
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where programs write their stderr, unless the benchmark reads it.
    pub(crate) fn log(&self) -> PathBuf {
        self.file("log")
    }

    /// The state file.
    pub(crate) fn state_file(&self) -> PathBuf {
        self.file("state.jsonl")
    }

    /// Replaces the content of the state file by one bookmark.
    pub(crate) fn set_state(&self, bookmark: i64) {
        let text = format!("{}\n", state_value(bookmark));
        fs::write(self.state_file(), text).expect("the state file can be written");
    }

    /// A command of the tap with this configuration and additional keys.
    pub(crate) fn command(&self, arguments: &[&str], extra: &[(&str, Value)]) -> Command {
        let mut config = self.config.clone();
        config.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let number = self.config_files.fetch_add(1, Ordering::Relaxed);
        let path = self.file(&format!("tap-{number}.json"));
        fs::write(&path, Value::Object(config).to_string()).expect("a config file can be written");
        let mut command = process::command_without_io(program::program_path("tap-mailjet-webhooks"));
        command.args(arguments).arg("--config").arg(path);
        command
    }

    /// A drain with the catalog that `--discover` prints, in which every column is selected.
    pub(crate) fn drain(&self) -> Command {
        let catalog = self.file("catalog.json");
        let output = File::create(&catalog).expect("a catalog can be written");
        process::run(self.command(&["--discover"], &[]).stdout(output), &self.log());
        let mut command = self.command(&[], &[("mode", "drain".into())]);
        command.arg("--catalog").arg(catalog);
        command
    }

    /// Drains the whole spool to the null device.
    pub(crate) fn drain_to_null(&self) -> ProcessUsage {
        process::run(&mut self.drain(), &self.log())
    }

    /// Drains to the null device what the state file does not cover.
    pub(crate) fn drain_from_state_to_null(&self) -> ProcessUsage {
        process::run(self.drain().arg("--state").arg(self.state_file()), &self.log())
    }

    /// Starts a listener and waits until it listens.
    pub(crate) fn listen(&self) -> Listener {
        Listener::start(&mut self.command(&["listen"], &[]))
    }

    /// Starts a tap whose output nobody reads: it fills the pipe and then waits. Everything else that it does
    /// can be measured.
    pub(crate) fn start_unread(&self, mode: &str, extra: &[(&str, Value)]) -> (ChildProcess, PipeReader) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut all = vec![("mode", Value::from(mode))];
        all.extend_from_slice(extra);
        let mut command = self.command(&[], &all);
        command.arg("--state").arg(self.state_file()).stdout(Stdio::from(writer));
        (ChildProcess::spawn("tap-mailjet-webhooks", &mut command), reader)
    }

    /// Puts `events` events into the spool by posting them to a listener.
    pub(crate) fn fill(&self, generator: &mut EventGenerator, events: u64) -> LoadReport {
        let listener = self.listen();
        let report = listener.post_groups(generator, events);
        listener.stop();
        report
    }

    /// How many events the spool holds.
    pub(crate) fn event_count(&self) -> u64 {
        self.number("SELECT count(*) FROM event").unsigned_abs()
    }

    /// Runs a query that returns one number.
    pub(crate) fn number(&self, query: &str) -> i64 {
        self.open_read_only()
            .query_row(query, [], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The sequence of an event, by its position from the front.
    pub(crate) fn sequence_at(&self, place: u64) -> i64 {
        self.number(&format!("SELECT sequence FROM event ORDER BY sequence LIMIT 1 OFFSET {place}"))
    }

    /// The sequence of an event, by its position from the end.
    pub(crate) fn sequence_from_end(&self, place: u64) -> i64 {
        self.number(&format!("SELECT sequence FROM event ORDER BY sequence DESC LIMIT 1 OFFSET {place}"))
    }

    /// Opens the spool for reading.
    pub(crate) fn open_read_only(&self) -> Connection {
        let spool = self.file("spool.db");
        let connection =
            Connection::open_with_flags(spool, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a spool");
        connection.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout can be set");
        connection
    }

    /// The size of the database and its log, in millions of bytes.
    pub(crate) fn size(&self) -> f64 {
        let size = |name| self.file(name).metadata().map_or(0, |metadata| metadata.len());
        megabytes(size("spool.db") + size("spool.db-wal"))
    }

    /// The output of `spool status`.
    pub(crate) fn status(&self) -> String {
        let output =
            self.command(&["spool", "status"], &[]).stdout(Stdio::piped()).output().expect("the tap starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Removes the folder.
    pub(crate) fn remove(self) {
        let _ = fs::remove_dir_all(self.folder);
    }
}

impl Listener {
    /// Starts a command that listens, and waits until it does.
    pub(crate) fn start(command: &mut Command) -> Self {
        let program = ChildProcess::spawn("tap-mailjet-webhooks", command);
        let line = program.stderr().wait_for("listening on http");
        let (_, rest) = line.split_once("listening on ").expect("an address follows");
        let url = rest.split_whitespace().next().expect("a URL follows");
        let endpoint = Endpoint::parse(url.trim_end_matches('/')).with_path(&format!("/v1/mailjet/{TOKEN}"));
        Listener { program, endpoint }
    }

    /// Posts `events` events in groups of a hundred, as fast as they are answered.
    pub(crate) fn post_groups(&self, generator: &mut EventGenerator, events: u64) -> LoadReport {
        let load = Load { events_per_post: GROUP, connections: GROUP_CONNECTIONS, pace: Pace::AsAnswered };
        load.post(&self.endpoint, generator, |progress| progress.events < events)
    }

    /// How many rows each transaction has had. The listener needs an admin address for that.
    pub(crate) fn rows_per_transaction(&self) -> u64 {
        let admin = self.program.stderr().wait_for("admin on http://");
        let (_, admin) = admin.split_once("admin on ").expect("an address follows");
        let metrics = Metrics::fetch(&Endpoint::parse(admin.split(": ").next().expect("an address")));
        let commits = metrics.count("commit_rows_count").max(1);
        let rows = (metrics.count("commit_rows_sum") / commits).max(1);
        eprintln!("  {commits} transactions of {rows} rows");
        rows.unsigned_abs()
    }

    /// The peak memory so far, in millions of bytes.
    pub(crate) fn peak(&self) -> f64 {
        megabytes(program::peak_memory(self.program.id()).expect("the tap is running"))
    }

    /// Stops the tap and checks that it succeeds.
    pub(crate) fn stop(mut self) {
        self.program.signal(Signal::TERM);
        assert_eq!(self.program.wait(), Some(0), "{}", self.program.stderr().so_far().join("\n"));
    }
}
