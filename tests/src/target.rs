//! target-jsonl, the other end of the pipe.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::message::Record;
use crate::program::{self, ChildProcess};

const NAME: &str = "target-jsonl";

/// The configuration and the output folder of target-jsonl.
#[derive(Debug)]
pub struct Target {
    config: PathBuf,
    destination: PathBuf,
}

impl Target {
    /// A target that writes to a folder below `folder`, which it creates itself.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Target::with_state_interval(folder, 1)
    }

    /// The same with a `state_interval_seconds`; 0 writes every state at once.
    #[must_use]
    pub fn with_state_interval(folder: &Path, seconds: u32) -> Self {
        let (config, destination) = (folder.join("target.json"), folder.join("destination"));
        let settings = json!({ "destination_path": destination, "state_interval_seconds": seconds });
        fs::write(&config, settings.to_string()).expect("a config file can be written");
        Target { config, destination }
    }

    /// Starts the target. It reads `stdin` and appends states to `state_file`.
    #[must_use]
    pub fn start(&self, stdin: impl Into<Stdio>, state_file: &Path) -> ChildProcess {
        let states = File::options().create(true).append(true).open(state_file).expect("a state file");
        let mut command = Command::new(program::program_path(NAME));
        command.arg("--config").arg(&self.config).stdin(stdin.into()).stdout(states);
        ChildProcess::spawn(NAME, &mut command)
    }

    /// The file of a stream.
    #[must_use]
    pub fn file(&self, stream: &str) -> PathBuf {
        self.destination.join(format!("{stream}.jsonl"))
    }

    /// The rows of stream `data` so far.
    #[must_use]
    pub fn rows(&self) -> Vec<Record> {
        rows_in(&self.destination)
    }

    /// Calls `look` with the text of each row of stream `data` so far.
    pub fn each_row(&self, look: impl FnMut(&str)) {
        text_of(&self.destination).lines().for_each(look);
    }
}

/// The rows of stream `data` that target-jsonl has written to `destination` so far. Omits an incomplete last
/// line, which a killed target may leave.
#[must_use]
pub fn rows_in(destination: &Path) -> Vec<Record> {
    text_of(destination).lines().map(Record::from_row).collect()
}

fn text_of(destination: &Path) -> String {
    let text = fs::read(destination.join("data.jsonl")).unwrap_or_default();
    let mut text = String::from_utf8(text).expect("the table is UTF-8");
    text.truncate(text.rfind('\n').unwrap_or(0));
    text
}
