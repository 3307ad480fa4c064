//! `spool copy`: moves an SQLite spool into a PostgreSQL one, sequences kept.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use tracing::warn;

use super::spool_items::describe_damage;
use super::{CommandError, print};
use crate::config::Config;
use crate::os::clock::UnixMillis;
use crate::spool::import::{Importer, Ledger, OwnedItem};
use crate::spool::{
    self, CountStep, EventReader, ItemKind, Registry, Role, Sequence, Spool, SpoolError, SpoolLocation,
};

/// How many items are copied in one transaction, unless their bodies are large.
const BATCH_ITEMS: u32 = 10_000;
const BATCH_BYTES: usize = 4 << 20;

/// What to copy.
#[derive(Debug, Args)]
pub struct SpoolCopyArgs {
    /// The SQLite file to copy from. It is not changed, and no tap may be using it
    pub from: PathBuf,
}

/// Why a spool cannot be copied, or not all of it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum CopyError {
    #[error(
        "the configured spool is an SQLite file, which is copied as a file: stop the tap, then copy it \
         together with its log (-wal). To move to PostgreSQL, set spool_url"
    )]
    NotToPostgres,
    #[error("spool {spool}: {places} places are damaged (see above); everything else was copied")]
    Damaged { spool: String, places: u64 },
}

/// Copies the spool. Fails if a part of it cannot be read, after everything else was copied.
pub fn execute(config: &Config, args: &SpoolCopyArgs) -> Result<(), CommandError> {
    let SpoolLocation::Postgres(destination) = config.spool_location()? else {
        return Err(CopyError::NotToPostgres.into());
    };
    let path = std::path::absolute(&args.from).unwrap_or_else(|_| args.from.clone());
    let location = SpoolLocation::Sqlite(path);
    // Opening it for writing would create a file that is missing.
    drop(spool::open_existing(&location)?);
    let source = spool::open(&location)?;
    // Nothing may arrive or be trimmed meanwhile.
    let _roles = [source.take_role(Role::Listener)?, source.take_role(Role::Emitter)?];
    let mut importer = spool::importer(&destination)?;
    let mut places = 0;
    let mut reader = source.reader()?;
    for kind in ItemKind::ALL {
        places += copy_items(&mut *reader, kind, &mut *importer)?;
    }
    let ledger = read_ledger(&*source)?;
    importer.finish(&ledger)?;
    drop(importer);
    let copied = spool::open_existing(&SpoolLocation::Postgres(destination))?;
    let stats = copied.stats_reader()?.read()?;
    print(format!(
        "copied to {copied}: {} events, {} rejected items, {} webhook URLs; the next sequence follows {}\n",
        stats.events,
        stats.rejected,
        ledger.webhook_urls.len(),
        stats.committed_through
    ))?;
    if places == 0 { Ok(()) } else { Err(CopyError::Damaged { spool: source.to_string(), places }.into()) }
}

/// Copies what is not there yet. Returns the number of places that cannot be read.
fn copy_items(
    reader: &mut dyn EventReader,
    kind: ItemKind,
    importer: &mut dyn Importer,
) -> Result<u64, SpoolError> {
    let mut position = importer.copied_through(kind)?;
    let mut places = 0;
    loop {
        let (mut items, mut bytes) = (Vec::new(), 0);
        let seen = reader.read_past(kind, position, BATCH_ITEMS, &mut |item| {
            match item {
                Ok(item) => {
                    position = item.sequence;
                    bytes += item.body.len();
                    items.push(OwnedItem::from(item));
                }
                Err(damage) => {
                    position = damage.through;
                    warn!("{}", describe_damage(kind, &damage));
                    places += 1;
                }
            }
            if bytes < BATCH_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if !items.is_empty() {
            importer.add(kind, &items)?;
        }
        if seen == 0 {
            return Ok(places);
        }
    }
}

fn read_ledger(source: &dyn Spool) -> Result<Ledger, SpoolError> {
    let mut registry: Box<dyn Registry> = source.registry()?;
    let stats = source.stats_reader()?.read()?;
    let mut item_counts = Vec::new();
    for step in CountStep::ALL {
        item_counts.push((step, registry.item_counts(step, UnixMillis::new(0))?));
    }
    Ok(Ledger {
        committed_through: stats.committed_through.max(stats.trimmed_through.unwrap_or(Sequence::START)),
        state_was_given: registry.state_was_given()?,
        written_through: registry.written_through()?,
        confirmed: stats.confirmed_through.zip(stats.confirmed_at),
        columns_forgotten: registry.columns_forgotten()?,
        discovered_columns: registry.discovered_columns()?,
        webhook_urls: registry.webhook_urls()?,
        revoked_tokens: registry.revoked_tokens()?,
        item_counts,
    })
}
