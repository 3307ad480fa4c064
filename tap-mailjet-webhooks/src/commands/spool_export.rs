//! `spool export`: writes what can be read of the spool as JSON Lines, even if it is damaged.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use tracing::warn;

use super::CommandError;
use super::spool_items::{describe_damage, is_json_object};
use crate::config::Config;
use crate::spool::{self, EventReader, ItemKind, Sequence, SpoolError, StoredItem};

/// Parts of the spool are unreadable.
#[derive(Debug, thiserror::Error)]
#[error("spool {spool}: {places} places are damaged (see above); everything else was exported")]
pub struct SpoolDamaged {
    spool: String,
    places: usize,
}

/// Writes everything that is readable: events first, then rejected items. Fails if something is not readable.
pub fn execute(config: &Config) -> Result<(), CommandError> {
    let spool = spool::open_existing(&config.spool_location()?)?;
    let mut export = Export { out: BufWriter::new(io::stdout().lock()), damaged: 0, failure: None };
    export.write_items(&mut *spool.reader()?)?;
    let Export { mut out, damaged, failure } = export;
    failure.map_or_else(|| out.flush(), Err).map_err(CommandError::Output)?;
    match damaged {
        0 => Ok(()),
        places => Err(SpoolDamaged { spool: spool.to_string(), places }.into()),
    }
}

/// An export under way.
struct Export<W> {
    out: W,
    /// How many places could not be read.
    damaged: usize,
    /// Why the output could not be written to.
    failure: Option<io::Error>,
}

impl<W: Write> Export<W> {
    fn write_items(&mut self, reader: &mut dyn EventReader) -> Result<(), SpoolError> {
        for kind in ItemKind::ALL {
            reader.read_past(kind, Sequence::START, u32::MAX, &mut |item| {
                match item {
                    Ok(item) => self.failure = self.write(&item).err(),
                    Err(damage) => {
                        warn!("{}", describe_damage(kind, &damage));
                        self.damaged += 1;
                    }
                }
                if self.failure.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        Ok(())
    }

    fn write(&mut self, item: &StoredItem<'_>) -> io::Result<()> {
        let StoredItem { sequence, received_at, reason, body } = item;
        write!(self.out, r#"{{"sequence":{sequence},"received_at":{received_at},"#)?;
        match reason {
            None => writeln!(self.out, r#""body":{}}}"#, one_line_body(body)),
            Some(reason) => {
                let (reason, body) = (json_string(reason.as_bytes()), json_string(body));
                writeln!(self.out, r#""reason":{reason},"body":{body}}}"#)
            }
        }
    }
}

/// Returns the body of an event in one line: as it is or, if it is no longer a JSON object, as a JSON string.
fn one_line_body(body: &[u8]) -> String {
    match str::from_utf8(body) {
        // The strings of a JSON object contain no line breaks, so they can only be between its parts.
        Ok(text) if is_json_object(body) => text.replace(['\n', '\r'], " "),
        _ => json_string(body),
    }
}

fn json_string(text: &[u8]) -> String {
    serde_json::to_string(&String::from_utf8_lossy(text)).expect("text is JSON")
}
