//! A spool with its configuration in a folder of its own, and the programs that run on it.

use std::fs::{self, File};
use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use end_to_end::http::Endpoint;
use end_to_end::program::{self, Program, Signal};
use end_to_end::tap::{TOKEN, state};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

use crate::figures::megabytes;
use crate::load::{Load, Loaded, Pace};
use crate::mail::Mail;
use crate::process::{self, Taken};

/// Events in the posts that fill a spool.
pub(crate) const GROUP: u64 = 100;
/// Connections on which they come.
pub(crate) const GROUP_CONNECTIONS: usize = 32;

/// The folder of a spool.
#[derive(Debug)]
pub(crate) struct Site {
    folder: PathBuf,
    config: Map<String, Value>,
    config_files: AtomicU32,
}

/// A tap that receives.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The process.
    pub program: Program,
    /// Where webhooks go.
    pub endpoint: Endpoint,
}

impl Site {
    /// Makes the folder anew.
    pub(crate) fn new(parent: &Path, name: &str) -> Self {
        let folder = parent.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let folder = folder.canonicalize().expect("it is there");
        let config = json!({
            "listen_address": "127.0.0.1:0",
            "admin_address": "off",
            "spool_path": folder.join("spool.db"),
            "webhook_tokens": [TOKEN],
            "spool_max_bytes": 1_u64 << 40,
        });
        let Value::Object(config) = config else { unreachable!("it is an object") };
        Site { folder, config, config_files: AtomicU32::new(0) }
    }

    /// Sets a key of the configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What programs say to stderr, if it is not read.
    pub(crate) fn log(&self) -> PathBuf {
        self.file("log")
    }

    /// The state file.
    pub(crate) fn state_file(&self) -> PathBuf {
        self.file("state.jsonl")
    }

    /// Lets the state file say this and nothing else.
    pub(crate) fn set_state(&self, bookmark: i64) {
        let text = format!("{}\n", state(bookmark));
        fs::write(self.state_file(), text).expect("the state file can be written");
    }

    /// A command of the tap, with this configuration and what is set besides.
    pub(crate) fn tap(&self, arguments: &[&str], besides: &[(&str, Value)]) -> Command {
        let mut config = self.config.clone();
        config.extend(besides.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let number = self.config_files.fetch_add(1, Ordering::Relaxed);
        let path = self.file(&format!("tap-{number}.json"));
        fs::write(&path, Value::Object(config).to_string()).expect("a config file can be written");
        let mut command = process::quiet(program::path_of("tap-mailjet-webhooks"));
        command.args(arguments).arg("--config").arg(path);
        command
    }

    /// A drain, with the catalog that `--discover` prints, in which all columns are selected.
    pub(crate) fn drain(&self) -> Command {
        let catalog = self.file("catalog.json");
        let output = File::create(&catalog).expect("a catalog can be written");
        process::run(self.tap(&["--discover"], &[]).stdout(output), &self.log());
        let mut command = self.tap(&[], &[("mode", "drain".into())]);
        command.arg("--catalog").arg(catalog);
        command
    }

    /// Drains the spool to the null device.
    pub(crate) fn drain_to_nowhere(&self, with_state: bool) -> Taken {
        let mut command = self.drain();
        if with_state {
            command.arg("--state").arg(self.state_file());
        }
        process::run(&mut command, &self.log())
    }

    /// Starts a listener and waits until it listens.
    pub(crate) fn listen(&self) -> Listener {
        Listener::start(&mut self.tap(&["listen"], &[]))
    }

    /// Starts a tap whose stdout nobody reads: it writes what the pipe takes, and then waits. What it does besides is all
    /// that is measured.
    pub(crate) fn unread(&self, mode: &str, besides: &[(&str, Value)]) -> (Program, PipeReader) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut all = vec![("mode", Value::from(mode))];
        all.extend_from_slice(besides);
        let mut command = self.tap(&[], &all);
        command.arg("--state").arg(self.state_file()).stdout(Stdio::from(writer));
        (Program::spawn("tap-mailjet-webhooks", &mut command), reader)
    }

    /// Puts so many events into the spool, by way of a listener.
    pub(crate) fn fill(&self, mail: &mut Mail, events: u64) -> Loaded {
        let listener = self.listen();
        let loaded = listener.take(mail, events);
        listener.stop();
        loaded
    }

    /// How many events the spool holds.
    pub(crate) fn events(&self) -> u64 {
        self.number("SELECT count(*) FROM event").unsigned_abs()
    }

    /// Answers a query whose answer is one number.
    pub(crate) fn number(&self, query: &str) -> i64 {
        self.look().query_row(query, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The sequence of an event, counted from the front.
    pub(crate) fn sequence_at(&self, place: u64) -> i64 {
        self.number(&format!("SELECT sequence FROM event ORDER BY sequence LIMIT 1 OFFSET {place}"))
    }

    /// The sequence of an event, counted from the end.
    pub(crate) fn sequence_from_end(&self, place: u64) -> i64 {
        self.number(&format!("SELECT sequence FROM event ORDER BY sequence DESC LIMIT 1 OFFSET {place}"))
    }

    /// Opens the spool for reading.
    pub(crate) fn look(&self) -> Connection {
        let spool = self.file("spool.db");
        let connection =
            Connection::open_with_flags(spool, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a spool");
        connection.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout can be set");
        connection
    }

    /// The size of the spool's files: the database and its log, in millions of bytes.
    pub(crate) fn size(&self) -> f64 {
        let size = |name| self.file(name).metadata().map_or(0, |metadata| metadata.len());
        megabytes(size("spool.db") + size("spool.db-wal"))
    }

    /// What `spool status` prints.
    pub(crate) fn status(&self) -> String {
        let output = self.tap(&["spool", "status"], &[]).stdout(Stdio::piped()).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Removes the folder.
    pub(crate) fn remove(self) {
        let _ = fs::remove_dir_all(self.folder);
    }
}

impl Listener {
    /// Starts a command that is to listen, and waits until it does.
    pub(crate) fn start(command: &mut Command) -> Self {
        let program = Program::spawn("tap-mailjet-webhooks", command);
        let line = program.stderr().wait_for("listening on http");
        let (_, rest) = line.split_once("listening on ").expect("the line says so");
        let url = rest.split_whitespace().next().expect("an address follows");
        let endpoint = Endpoint::of(url.trim_end_matches('/')).with_path(&format!("/v1/mailjet/{TOKEN}"));
        Listener { program, endpoint }
    }

    /// Posts so many events in groups of a hundred, as fast as they are taken.
    pub(crate) fn take(&self, mail: &mut Mail, events: u64) -> Loaded {
        let load = Load { events_per_post: GROUP, connections: GROUP_CONNECTIONS, pace: Pace::AsTaken };
        load.post(&self.endpoint, mail, |so_far| so_far.events < events)
    }

    /// The most memory that it has had so far: millions of bytes.
    pub(crate) fn peak(&self) -> f64 {
        megabytes(program::peak_memory(self.program.id()).expect("it runs"))
    }

    /// Stops it.
    pub(crate) fn stop(mut self) {
        self.program.signal(Signal::TERM);
        assert_eq!(self.program.wait(), Some(0), "{}", self.program.stderr().so_far().join("\n"));
    }
}
