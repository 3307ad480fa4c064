//! The Singer messages, one after the other.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use catalog::message::{IncomingMessage, MessageError, Row};
use tracing::{info, warn};

use crate::config::Config;
use crate::error::{InputProblem, StreamProblem, TargetError};
use crate::file_name::FileName;
use crate::input::{Lines, Next, Stopper, read_in_background};
use crate::sink::FileId;
use crate::sink::directory::Directory;
use crate::sink::keeper::Keeper;
use crate::sink::outbox::Outbox;
use crate::validate::RecordCheck;

/// Pieces of work that may wait for the disk. With the outbox's batches, this bounds the memory that they take.
const COMMANDS_WAITING: usize = 16;

/// What a run did.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// Streams, in the order in which their first SCHEMA came, and how many records of each were stored.
    pub records: Vec<(String, u64)>,
    /// Whether the run was asked to stop before the end of its input.
    pub stopped: bool,
}

/// Reads messages from `input` until it ends or `shutdown` gets a message, stores the records, and prints STATEs to
/// `output`. Whatever ends the run, an error included: what came before is stored, and its STATE printed.
pub fn run(
    config: &Config,
    input: impl Read + Send + 'static,
    output: impl Write + Send,
    shutdown: Receiver<()>,
) -> Result<Summary, TargetError> {
    let directory = Directory::open(&config.destination())?;
    info!("writing to {}", directory.path().display());
    let (events, stopper) = read_in_background(input);
    stop_when_told(shutdown, stopper.clone());

    let (commands, to_do) = sync_channel(COMMANDS_WAITING);
    let mut keeper = Keeper::new(directory.clone(), config.state_interval(), output);
    thread::scope(|scope| {
        let keeping = scope.spawn(move || {
            let outcome = keeper.keep(&to_do);
            if outcome.is_err() {
                stopper.stop();
            }
            outcome
        });
        let mut target = Target::new(config, Outbox::new(directory, suffix(config), commands));
        let outcome = target.handle_all(|on_idle| events.next(on_idle));
        let records = target.finish();
        // What the keeper says comes first: if it failed, what came before is not stored, whatever else went wrong.
        keeping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Summary { records, stopped: outcome? })
    })
}

/// Passes on what `shutdown` says. A channel that is closed without a word says nothing.
fn stop_when_told(shutdown: Receiver<()>, stopper: Stopper) {
    thread::spawn(move || {
        if shutdown.recv().is_ok() {
            stopper.stop();
        }
    });
}

/// Local time, like the well-known target-jsonl.
fn suffix(config: &Config) -> String {
    if config.do_timestamp_file {
        chrono::Local::now().format("-%Y%m%dT%H%M%S").to_string()
    } else {
        String::new()
    }
}

struct Target<'c> {
    config: &'c Config,
    outbox: Outbox,
    streams: HashMap<String, Stream>,
    /// Kinds of messages that were warned about.
    warned_about: HashSet<String>,
}

/// A stream whose SCHEMA is known.
struct Stream {
    /// Its place among the streams.
    position: usize,
    file: FileId,
    check: RecordCheck,
    records: u64,
    /// The SCHEMA as it came. Some taps repeat it before each batch; it need not be compiled again then.
    schema: String,
    key_properties: Vec<String>,
}

impl<'c> Target<'c> {
    fn new(config: &'c Config, outbox: Outbox) -> Self {
        Target { config, outbox, streams: HashMap::new(), warned_about: HashSet::new() }
    }

    /// Handles all that comes. Returns whether it was asked to stop.
    fn handle_all(&mut self, next: impl Fn(&mut dyn FnMut()) -> Next) -> Result<bool, TargetError> {
        let mut lines = Lines::default();
        loop {
            match next(&mut || self.outbox.flush()) {
                Next::Chunk(chunk) => lines
                    .feed(&chunk, |number, line| self.handle(line).map_err(|failure| failure.at(number)))?,
                Next::Failed(cause) => return Err(TargetError::ReadInput { line: lines.count(), cause }),
                // What there is of a line is not worth anything: the tap sends it again.
                Next::Stopped => return Ok(true),
                Next::End => {
                    self.handle(lines.rest()).map_err(|failure| failure.cut_off().at(lines.count() + 1))?;
                    return Ok(false);
                }
            }
        }
    }

    /// Hands on what is left, and lets the keeper come to its end.
    fn finish(mut self) -> Vec<(String, u64)> {
        self.outbox.flush();
        let mut streams: Vec<_> = self.streams.into_iter().collect();
        streams.sort_by_key(|(_, stream)| stream.position);
        streams.into_iter().map(|(name, stream)| (name, stream.records)).collect()
    }

    fn handle(&mut self, line: &[u8]) -> Result<(), Failure> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        match IncomingMessage::parse(line)? {
            IncomingMessage::Record { stream, record } => self.record(&stream, &record),
            IncomingMessage::State { value } => {
                self.outbox.state(value.get());
                Ok(())
            }
            IncomingMessage::Schema { stream, schema, key_properties } => {
                self.schema(&stream, schema.get(), key_properties)
            }
            // A warning would not do: its records are in files of the tap's, and a STATE would say that we have them.
            IncomingMessage::Other { kind, stream } if kind == "BATCH" => {
                Err(Failure::of(stream.as_deref().unwrap_or_default(), StreamProblem::Batch))
            }
            IncomingMessage::Other { kind, .. } if kind == "ACTIVATE_VERSION" => {
                self.warn_once(&kind, || {
                    "ACTIVATE_VERSION messages are passed over: files are only appended to, no row is deleted"
                        .to_owned()
                });
                Ok(())
            }
            IncomingMessage::Other { kind, .. } => {
                self.warn_once(&kind, || format!("messages of the unknown type {kind:?} are passed over"));
                Ok(())
            }
        }
    }

    fn record(&mut self, name: &str, record: &Row<'_>) -> Result<(), Failure> {
        let Some(stream) = self.streams.get_mut(name) else {
            return Err(Failure::of(name, StreamProblem::RecordBeforeSchema));
        };
        stream.check.check(record).map_err(|fault| Failure::of(name, fault.into()))?;
        stream.records += 1;
        self.outbox.append(stream.file, record.text);
        Ok(())
    }

    fn schema(
        &mut self,
        name: &str,
        schema: &str,
        key_properties: Option<Vec<String>>,
    ) -> Result<(), Failure> {
        if key_properties.is_none() {
            self.warn_once(&format!("SCHEMA {name}"), || {
                format!("the SCHEMA of stream {name:?} has no key_properties; its rows have no key, then")
            });
        }
        let key_properties = key_properties.unwrap_or_default();
        let known = self.streams.get_mut(name);
        if known
            .as_ref()
            .is_some_and(|known| known.schema == schema && known.key_properties == key_properties)
        {
            return Ok(());
        }
        let check = RecordCheck::compile(schema, &key_properties, self.config.validate_records)
            .map_err(|error| Failure::of(name, error.into()))?;
        let schema = schema.to_owned();
        if let Some(known) = known {
            (known.check, known.schema, known.key_properties) = (check, schema, key_properties);
            return Ok(());
        }
        let base = match &self.config.custom_name {
            Some(base) => base.clone(),
            None => FileName::parse(name).map_err(|error| Failure::of(name, error.into()))?,
        };
        let file = self.outbox.open(&base).map_err(Failure::Elsewhere)?;
        let position = self.streams.len();
        let stream = Stream { position, file, check, records: 0, schema, key_properties };
        self.streams.insert(name.to_owned(), stream);
        Ok(())
    }

    fn warn_once(&mut self, about: &str, message: impl FnOnce() -> String) {
        if self.warned_about.insert(about.to_owned()) {
            warn!("{}", message());
        }
    }
}

/// Why a line ends the run. Which line it is, is known further out.
enum Failure {
    /// The line is wrong.
    Input(InputProblem),
    /// The line is right, but something else is not.
    Elsewhere(TargetError),
}

impl Failure {
    fn of(stream: &str, problem: StreamProblem) -> Self {
        Failure::Input(InputProblem::Stream { stream: stream.to_owned(), problem })
    }

    fn at(self, line: u64) -> TargetError {
        match self {
            Failure::Input(problem) => TargetError::Input { line, problem },
            Failure::Elsewhere(error) => error,
        }
    }

    /// For a last line without a line ending: if it can't be read, then because there should be more of it.
    fn cut_off(self) -> Self {
        match self {
            Failure::Input(InputProblem::Message(
                error @ MessageError::Unreadable { is_json: false, .. },
            )) => Failure::Input(InputProblem::CutOff(error)),
            other => other,
        }
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::RecordNotAnObject { ref stream } => {
                Failure::of(&stream.clone(), StreamProblem::NotARecord(error))
            }
            error => Failure::Input(InputProblem::Message(error)),
        }
    }
}
