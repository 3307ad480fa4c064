//! Handles the Singer messages, one after the other.

use std::collections::{HashMap, HashSet};

use catalog::byte_order_mark::without_byte_order_mark;
use catalog::message::{IncomingMessage, MessageError, Record};
use tracing::warn;

use crate::config::Config;
use crate::error::{LineProblem, StreamProblem, TargetError};
use crate::file_name::FileName;
use crate::input::{Input, InputEvent};
use crate::lines::Lines;
use crate::sink::{FileId, RowBuffer};
use crate::validate::{RecordCheck, Validation};

/// How many different warnings are logged. A hostile tap could cause any number.
const MAX_WARNINGS: usize = 100;
/// How much of the name of an unknown type is logged.
const MAX_TYPE_CHARACTERS: usize = 100;

/// Checks messages, and passes rows and STATEs to the sink.
pub(crate) struct MessageHandler<'c> {
    config: &'c Config,
    rows: RowBuffer,
    streams: HashMap<String, Stream>,
    /// The warnings that have been logged.
    warnings: HashSet<String>,
}

/// A stream whose SCHEMA is known.
struct Stream {
    /// How many streams came before it.
    index: usize,
    file: FileId,
    check: RecordCheck,
    records: u64,
    /// The SCHEMA's text. Some taps repeat it before each batch; the same text is not compiled again.
    schema: String,
    key_properties: Vec<String>,
}

impl<'c> MessageHandler<'c> {
    pub(crate) fn new(config: &'c Config, rows: RowBuffer) -> Self {
        MessageHandler { config, rows, streams: HashMap::new(), warnings: HashSet::new() }
    }

    /// Handles every message of the input. Returns what ended it, as the log says it.
    pub(crate) fn handle_all(&mut self, input: &Input) -> Result<&'static str, TargetError> {
        let mut lines = Lines::default();
        loop {
            match input.next(|| self.rows.flush()) {
                InputEvent::Chunk(chunk) => lines.feed(&chunk, |number, line| self.handle(number, line))?,
                InputEvent::NotOpened(error) => return Err(error),
                InputEvent::Failed(source) => {
                    return Err(TargetError::ReadInput { line: lines.count, source });
                }
                // A partial line is dropped: no STATE covers it, so the tap sends it again.
                InputEvent::Stopped => return Ok("stopped by a signal"),
                InputEvent::Wake => {}
                InputEvent::End => {
                    self.handle(lines.count + 1, &lines.rest).map_err(in_unfinished_line)?;
                    return Ok("the input is at its end");
                }
            }
        }
    }

    /// Passes on the rows that are left, and returns the streams with their numbers of records.
    pub(crate) fn finish(mut self) -> Vec<(String, u64)> {
        self.rows.flush();
        let mut streams: Vec<_> = self.streams.into_iter().collect();
        streams.sort_by_key(|(_, stream)| stream.index);
        streams.into_iter().map(|(name, stream)| (name, stream.records)).collect()
    }

    /// Handles one line, given with its number.
    fn handle(&mut self, number: u64, line: &[u8]) -> Result<(), TargetError> {
        // Some editors and shells begin a file with a byte order mark.
        let line = if number == 1 { without_byte_order_mark(line) } else { line };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let message = IncomingMessage::parse(line)
            .map_err(|error| TargetError::Line { line: number, problem: LineProblem::Message(error) })?;
        match message {
            IncomingMessage::Record { stream, record } => return self.record(number, &stream, &record),
            IncomingMessage::State { value } => self.rows.state(value),
            IncomingMessage::Schema { stream, schema, key_properties } => {
                return self.schema(number, &stream, schema, key_properties);
            }
            // An error, not a warning: the next STATE would claim that we have the records, but they are in
            // the tap's own files.
            IncomingMessage::Other { kind, stream } if kind == "BATCH" => {
                return Err(in_stream(number, stream.as_deref().unwrap_or_default(), StreamProblem::Batch));
            }
            IncomingMessage::Other { kind, .. } if kind == "ACTIVATE_VERSION" => self.warn_once(
                "ACTIVATE_VERSION messages are ignored: this target only appends, and deletes no rows"
                    .to_owned(),
            ),
            IncomingMessage::Other { kind, .. } => {
                let kind: String = kind.chars().take(MAX_TYPE_CHARACTERS).collect();
                self.warn_once(format!("messages of the unknown type {kind:?} are ignored"));
            }
        }
        Ok(())
    }

    fn record(&mut self, line: u64, name: &str, record: &Record<'_>) -> Result<(), TargetError> {
        let Some(stream) = self.streams.get_mut(name) else {
            return Err(in_stream(line, name, StreamProblem::RecordBeforeSchema));
        };
        stream.check.check(record).map_err(|error| in_stream(line, name, error))?;
        stream.records += 1;
        self.rows.append(stream.file, record.text);
        Ok(())
    }

    fn schema(
        &mut self,
        line: u64,
        name: &str,
        schema: &str,
        key_properties: Option<Vec<String>>,
    ) -> Result<(), TargetError> {
        if key_properties.is_none() {
            self.warn_once(format!(
                "the SCHEMA of stream {name:?} has no key_properties, so its rows have no key"
            ));
        }
        let key_properties = key_properties.unwrap_or_default();
        let known = self.streams.get_mut(name);
        let is_same = |known: &&mut Stream| known.schema == schema && known.key_properties == key_properties;
        if known.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let validation = match self.config.validate_records {
            true => Validation::Full,
            false => Validation::KeysOnly,
        };
        let check = RecordCheck::compile(schema, &key_properties, validation)
            .map_err(|error| in_stream(line, name, error))?;
        let schema = schema.to_owned();
        if let Some(known) = known {
            (known.check, known.schema, known.key_properties) = (check, schema, key_properties);
            return Ok(());
        }
        let base = match &self.config.custom_name {
            Some(base) => base.clone(),
            None => FileName::try_from(name.to_owned()).map_err(|error| in_stream(line, name, error))?,
        };
        let file = self.rows.open(&base)?;
        let index = self.streams.len();
        let stream = Stream { index, file, check, records: 0, schema, key_properties };
        self.streams.insert(name.to_owned(), stream);
        Ok(())
    }

    fn warn_once(&mut self, message: String) {
        if self.warnings.len() > MAX_WARNINGS || self.warnings.contains(&message) {
            return;
        }
        if self.warnings.len() == MAX_WARNINGS {
            warn!("there are more warnings like these, which are not logged");
        } else {
            warn!("{message}");
        }
        self.warnings.insert(message);
    }
}

/// Adapts the error of a last line that has no line ending: if it is not JSON, the rest of it is missing.
fn in_unfinished_line(error: TargetError) -> TargetError {
    match error {
        TargetError::Line { line, problem: LineProblem::Message(error @ MessageError::NotJson { .. }) } => {
            TargetError::Line { line, problem: LineProblem::CutOff(error) }
        }
        other => other,
    }
}

fn in_stream(line: u64, stream: &str, problem: impl Into<StreamProblem>) -> TargetError {
    let problem = LineProblem::Stream { stream: stream.to_owned(), problem: problem.into() };
    TargetError::Line { line, problem }
}
