//! The three threads of a run, and how a signal ends it.
//!
//! A slow disk does not stop the reading, and a silent tap does not hold back a STATE: one thread reads the
//! input, one handles the messages, one writes, fsyncs and prints.

use std::io::Write;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use catalog::plugin::logging;
use signal_hook::iterator::Signals;
use tracing::info;

use crate::config::Config;
use crate::error::TargetError;
use crate::input::{Input, StopHandle};
use crate::messages::MessageHandler;
use crate::sink::{Directory, RowBuffer, Writer};

/// How long a run may take to end after a signal.
const END_TIME: Duration = Duration::from_secs(60);
/// Commands that may wait for the disk. With the size of a batch of rows, this bounds the memory that they
/// take.
const MAX_WAITING_COMMANDS: usize = 16;

/// Reads on to the end of the input once one of the signals arrives. Further signals change nothing: a tap in
/// the same pipeline, which gets them too, needs somebody to read its last STATE.
pub(crate) fn follow_signals(mut signals: Signals, stop: StopHandle) {
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            thread::spawn(end_at_last);
            stop.finish();
            info!("a signal asks to stop: reading on to the end of the input");
        }
    });
}

/// Ends the process if the run goes on for long after a signal: a disk may hang, or a schema take forever.
/// What no STATE covers, the tap sends again.
fn end_at_last() {
    thread::sleep(END_TIME);
    let failure = "the run did not end within 60 seconds after a signal: the disk or the reader of stdout \
                   hangs, or a schema takes forever. No STATE covers what is missing, so run the tap again";
    logging::print_failure(env!("CARGO_PKG_NAME"), &failure);
    std::process::exit(1);
}

/// Handles messages until the input ends or `stop` is used, stores the records, and prints STATEs to
/// `output`. However the run ends, even with an error: everything before that point is stored, and its STATE
/// is printed.
pub(crate) fn run(
    config: &Config,
    input: &Input,
    stop: StopHandle,
    output: impl Write + Send,
) -> Result<(), TargetError> {
    let directory = Directory::open(&config.destination())?;
    info!("writing to {}", directory.path.display());
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
        let end = messages.handle_all(input);
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
