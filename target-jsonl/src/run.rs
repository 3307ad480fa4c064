//! The three threads of a run, and how it ends.
//!
//! A slow disk does not stop the reading, and a silent tap does not hold back a STATE: one thread reads the
//! input, one handles the messages, one writes, fsyncs and prints.

use std::io::{Read, Write};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use signal_hook::iterator::Signals;
use tracing::info;

use crate::config::Config;
use crate::error::TargetError;
use crate::input::read_in_background;
use crate::messages::MessageHandler;
use crate::sink::{Directory, RowBuffer, Writer};

/// Commands that may wait for the disk. With the size of a batch of rows, this bounds the memory that they
/// take.
const MAX_WAITING_COMMANDS: usize = 16;

/// Reads messages from `input` until it ends or one of the signals arrives, stores the records, and prints
/// STATEs to `output`. However the run ends, even with an error: everything before that point is stored, and
/// its STATE is printed.
pub(crate) fn run(
    config: &Config,
    input: impl Read + Send + 'static,
    output: impl Write + Send,
    mut signals: Signals,
) -> Result<(), TargetError> {
    let directory = Directory::open(&config.destination())?;
    info!("writing to {}", directory.path.display());
    let (input, stop) = read_in_background(input);
    let stop_on_signal = stop.clone();
    thread::spawn(move || signals.forever().for_each(|_| stop_on_signal.stop()));

    let (commands, received_commands) = sync_channel(MAX_WAITING_COMMANDS);
    let state_interval = Duration::from_secs_f64(config.state_interval_seconds);
    let mut writer = Writer::new(directory.clone(), state_interval, output);
    thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let outcome = writer.run(&received_commands);
            if outcome.is_err() {
                stop.stop();
            }
            outcome
        });
        let suffix = match config.do_timestamp_file {
            // The local time, as the well-known target-jsonl does.
            true => chrono::Local::now().format("-%Y%m%dT%H%M%S").to_string(),
            false => String::new(),
        };
        let rows = RowBuffer::new(directory, suffix, commands);
        let mut messages = MessageHandler::new(config, rows);
        let end = messages.handle_all(&input);
        // Ends the writer, too: it stops once its commands have no sender.
        let stored = messages.finish();
        // The writer's error comes first: if it failed, what other errors call stored may not be.
        writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let end = end?;
        for (stream, records) in stored {
            info!("{records} records of stream {stream:?} stored");
        }
        info!("{end}");
        Ok(())
    })
}
