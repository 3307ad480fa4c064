//! `spool export`: writes what can be read of the spool as JSON Lines, even if it is damaged.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracing::warn;

use super::spool_items::{describe_damage, is_json_object};
use super::{CommandError, unless_reader_gone};
use crate::config::Config;
use crate::os::stdout::Stdout;
use crate::spool::{self, ItemKind, Sequence, StoredItem};

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
    let mut reader = spool.reader()?;
    let mut out = BufWriter::new(Stdout::open()?);
    let mut places = 0;
    for kind in ItemKind::ALL {
        let mut written = Ok(());
        reader.read_past(kind, Sequence::START, u32::MAX, &mut |item| {
            match item {
                Ok(item) => written = write(&mut out, &item),
                Err(damage) => {
                    warn!("{}", describe_damage(kind, &damage));
                    places += 1;
                }
            }
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if let Err(error) = written {
            return unless_reader_gone(error);
        }
    }
    out.flush().or_else(unless_reader_gone)?;
    if places == 0 { Ok(()) } else { Err(SpoolDamaged { spool: spool.to_string(), places }.into()) }
}

fn write(out: &mut impl Write, item: &StoredItem<'_>) -> io::Result<()> {
    let StoredItem { sequence, received_at, reason, body } = item;
    write!(out, r#"{{"sequence":{sequence},"received_at":{received_at},"#)?;
    match reason {
        None => writeln!(out, r#""body":{}}}"#, one_line_body(body)),
        Some(reason) => {
            let exact = match str::from_utf8(body) {
                Ok(_) => String::new(),
                Err(_) => format!(r#","body_base64":"{}""#, STANDARD.encode(body)),
            };
            let (reason, body) = (json_string(reason.as_bytes()), json_string(body));
            writeln!(out, r#""reason":{reason},"body":{body}{exact}}}"#)
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
