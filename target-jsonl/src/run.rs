//! The three threads of a run, and how it ends.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use tracing::info;

use crate::config::Config;
use crate::error::TargetError;
use crate::input::{StopHandle, read_in_background};
use crate::messages::{End, MessageHandler};
use crate::sink::{Directory, RowBuffer, Writer};

/// Commands that may wait for the disk. With the size of a batch of rows, this bounds the memory that they
/// take.
const MAX_WAITING_COMMANDS: usize = 16;

/// What a run did.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// The streams in the order of their first SCHEMA, and how many records of each were stored.
    pub records: Vec<(String, u64)>,
    /// What ended the run.
    pub end: End,
}

/// Reads messages from `input` until it ends or `shutdown` gets a message, stores the records, and prints
/// STATEs to `output`. However the run ends, even with an error: everything before that point is stored, and
/// its STATE is printed.
pub fn run(
    config: &Config,
    input: impl Read + Send + 'static,
    output: impl Write + Send,
    shutdown: Receiver<()>,
) -> Result<Summary, TargetError> {
    let directory = Directory::open(&config.destination())?;
    info!("writing to {}", directory.path().display());
    let (input, stop) = read_in_background(input);
    stop_on_shutdown(shutdown, stop.clone());

    let (commands, received_commands) = sync_channel(MAX_WAITING_COMMANDS);
    let mut writer = Writer::new(directory.clone(), config.state_interval(), output);
    thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let outcome = writer.run(&received_commands);
            if outcome.is_err() {
                stop.stop();
            }
            outcome
        });
        let rows = RowBuffer::new(directory, file_name_suffix(config), commands);
        let mut messages = MessageHandler::new(config, rows);
        let end = messages.handle_all(&input);
        // Ends the writer, too: it stops once its commands have no sender.
        let records = messages.finish();
        // The writer's error comes first: if it failed, what other errors call stored may not be.
        writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Summary { records, end: end? })
    })
}

/// Stops the input when `shutdown` gets a message. If its sender is dropped, nothing happens.
fn stop_on_shutdown(shutdown: Receiver<()>, stop: StopHandle) {
    thread::spawn(move || {
        if shutdown.recv().is_ok() {
            stop.stop();
        }
    });
}

/// Returns what `do_timestamp_file` adds to each file's name: the local time, as the well-known target-jsonl
/// does.
fn file_name_suffix(config: &Config) -> String {
    if config.do_timestamp_file {
        chrono::Local::now().format("-%Y%m%dT%H%M%S").to_string()
    } else {
        String::new()
    }
}
