//! The spool in a replicated PostgreSQL: several listeners, one emitter, and any machine may be lost.
//!
//! # What it relies on
//!
//! - A commit that is answered is on two servers (or on as many as `spool_durability` says). The settings
//!   that
//!   decide this are read with every group ([`durability`]).
//! - A failover keeps what a standby has confirmed, in the order of commits.
//!
//! # How it keeps the contract
//!
//! - *Sequences*: each group locks the one row of `seq` until its commit is replicated, so the order of
//!   sequences is the order of commits, and nothing is committed behind a reader ([`group_store`]).
//! - *Unknown outcomes*: when a connection breaks or a commit takes too long, the group is answered 503 and
//!   the connection is dropped. It is never cancelled: the server would then end its wait for the standby and
//!   report success.
//! - *Reading*: after a restart, a server shows commits that no standby has. Before the emitter writes a
//!   RECORD, a commit of its own has been replicated that followed the row ([`reader`]).
//! - *Roles*: leases by the database's clock. The emitter's has an epoch, and each of its transactions
//!   demands
//!   it ([`role`]).
//! - *Time*: sequences and the registry use the database's clock. How old an item is, is decided like in the
//!   other implementation, by the emitter's machine.
//!
//! # Tables
//!
//! | table | columns |
//! | --- | --- |
//! | `event`, `rejected` | like those of the SQLite file |
//! | `seq` | one row: the last sequence, and how many events and bytes were ever stored |
//! | `count_mark` | how many events there had ever been when `last` was the last sequence |
//! | `trimmed` | for each kind: how far it was trimmed, and what that has deleted |
//! | `role`, `listener` | who has a role, in which epoch, until when |
//! | `webhook_url`, `discovered_column`, `item_count`, `fact` | like those of the SQLite file |
//! | `format` | one row: the number of the format |
//!
//! # Files
//!
//! | file | contents |
//! | --- | --- |
//! | [`location`], [`connection`] | the configuration of a spool, and connections with deadlines |
//! | [`format`](mod@format) | the tables |
//! | [`durability`] | what the database promises |
//! | [`group_store`] | appending |
//! | [`reader`], [`follower`] | reading, and learning what other processes commit |
//! | [`role`] | roles |
//! | [`trim`] | trimming |
//! | [`registry`], [`facts`] | the small tables |
//! | [`import`] | copying another spool |
//! | [`stats`], [`check`] | what `spool status` and `spool verify` show |
//! | [`error`] | what can go wrong, in messages for people |

mod check;
mod connection;
mod durability;
mod error;
mod facts;
mod follower;
mod format;
mod group_store;
mod import;
mod location;
mod reader;
mod registry;
mod role;
mod stats;
mod trim;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::import::Importer;
use super::{
    CommitFollower, EventReader, Limits, Registry, RegistryView, Role, RoleLock, SequenceUnit, Spool,
    SpoolError, SpoolView, StatsReader, Trimmer, Watermark, Writer, WriterHandle,
};
use crate::os::clock::{Clock, UnixMillis};
use connection::{Context, Database, Patience};
use durability::{SETTINGS_SQL, Settings};
use error::PostgresError;
use group_store::PostgresGroupStore;
use import::PostgresImporter;
pub use location::{Durability, PostgresLocation, PostgresUrl, PostgresUrlError, SchemaName, TlsAuthorities};
use reader::PostgresReader;
use registry::PostgresRegistry;
use stats::PostgresStatsReader;
use trim::PostgresTrimmer;

/// How long a token that was read from the registry may be accepted without asking again: a URL that was
/// revoked on another machine stops working within a second.
const REGISTRY_LASTS: Duration = Duration::from_millis(900);

#[derive(Debug)]
pub(super) struct PostgresSpool {
    context: Arc<Context>,
    is_writable: bool,
    /// Tells how old items are.
    clock: Clock,
    watermark: Watermark,
}

impl PostgresSpool {
    /// Opens the spool at `location`, and creates its tables if they do not exist. `clock` takes the place of
    /// all other clocks.
    pub(super) fn create_or_open(
        location: &PostgresLocation,
        clock: Option<Clock>,
    ) -> Result<Self, SpoolError> {
        let context = Arc::new(Context::new(location, clock.map(|clock| clock.wall))?);
        let clock = clock.unwrap_or(Clock::SYSTEM);
        let mut database = Database::new(&context)?;
        demand_durability(&mut database)?;
        format::create_or_convert(&mut database)?;
        import::demand_finished(&mut database)?;
        trim::note_first_time(&mut database, clock)?;
        Ok(PostgresSpool { context, is_writable: true, clock, watermark: Watermark::default() })
    }

    /// Opens the spool at `location` for reading, and creates nothing.
    pub(super) fn open_existing(location: &PostgresLocation) -> Result<Self, SpoolError> {
        let context = Arc::new(Context::new(location, None::<fn() -> UnixMillis>)?);
        let mut database = Database::new(&context)?;
        format::demand(&mut database)?;
        import::demand_finished(&mut database)?;
        let (clock, watermark) = (Clock::SYSTEM, Watermark::default());
        Ok(PostgresSpool { context, is_writable: false, clock, watermark })
    }

    fn database(&self) -> Result<Database, PostgresError> {
        Database::new(&self.context)
    }
}

/// Begins to copy another spool into the one at `location`.
pub(super) fn importer(location: &PostgresLocation) -> Result<Box<dyn Importer>, SpoolError> {
    let context = Arc::new(Context::new(location, None::<fn() -> UnixMillis>)?);
    let mut database = Database::new(&context)?;
    demand_durability(&mut database)?;
    format::create_or_convert(&mut database)?;
    trim::note_first_time(&mut database, Clock::SYSTEM)?;
    Ok(Box::new(PostgresImporter::begin(&context)?))
}

/// Demands that the database promises what `spool_durability` says, and stores text as it is.
fn demand_durability(database: &mut Database) -> Result<(), PostgresError> {
    let context = Arc::clone(&database.context);
    let query = format!("SELECT current_setting('server_encoding'), {SETTINGS_SQL}");
    let (encoding, settings) = database.read("opening it", Patience::Once, async |queries| {
        let row = queries.row(&query, &[]).await?;
        Ok((row.try_get::<_, String>(0)?, Settings::read(&row, 1)?))
    })?;
    let wrong = if encoding == "UTF8" {
        settings.wrong_for(context.location.durability)
    } else {
        Some(format!("the database's encoding is {encoding}; create one with the encoding UTF8"))
    };
    match wrong {
        Some(wrong) => Err(PostgresError::Setting { spool: context.name.clone(), wrong }),
        None => Ok(()),
    }
}

impl fmt::Display for PostgresSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context.name)
    }
}

impl SpoolView for PostgresSpool {
    fn reader(&self) -> Result<Box<dyn EventReader>, SpoolError> {
        Ok(Box::new(PostgresReader::new(self.database()?, self.is_writable)))
    }

    fn registry_view(&self) -> Result<Box<dyn RegistryView>, SpoolError> {
        Ok(Box::new(PostgresRegistry { database: self.database()?, patience: Patience::Once }))
    }

    fn stats_reader(&self) -> Result<Box<dyn StatsReader>, SpoolError> {
        Ok(Box::new(PostgresStatsReader::new(self.database()?)))
    }

    fn role_holders(&self, role: Role) -> Result<Vec<String>, SpoolError> {
        Ok(role::holders(&mut self.database()?, role)?)
    }

    fn check(&self) -> Result<Vec<String>, SpoolError> {
        Ok(check::check(&mut self.database()?)?)
    }
}

impl Spool for PostgresSpool {
    fn take_role(&self, role: Role) -> Result<RoleLock, SpoolError> {
        let lock = role::take(&self.context, role)?;
        // A copy that begins now sees this process, and this process sees one that began before.
        import::demand_finished(&mut self.database()?)?;
        Ok(lock)
    }

    fn start_writer(
        &self,
        _: &RoleLock,
        unit: SequenceUnit,
        limits: Limits,
    ) -> Result<(WriterHandle, Writer), SpoolError> {
        if self.context.location.durability == Durability::Managed {
            warn!(
                "spool {self}: spool_durability is managed, so a 200 means what the provider of the database \
                 promises about its replication; it cannot be checked from here"
            );
        }
        let store = PostgresGroupStore::open(self.database()?, unit, limits)?;
        let started = Writer::start(store, limits.memory_bytes, self.watermark.clone());
        Ok(started.map_err(PostgresError::from)?)
    }

    fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    fn follow_commits(&self, _: bool) -> Result<Option<CommitFollower>, SpoolError> {
        Ok(Some(follower::follow(&self.context, self.watermark.clone())?))
    }

    fn trimmer(&self) -> Result<Box<dyn Trimmer>, SpoolError> {
        Ok(Box::new(PostgresTrimmer::open(self.database()?, self.clock)?))
    }

    fn registry(&self) -> Result<Box<dyn Registry>, SpoolError> {
        Ok(Box::new(PostgresRegistry { database: self.database()?, patience: Patience::Once }))
    }

    fn impatient_registry(&self) -> Result<Box<dyn Registry>, SpoolError> {
        Ok(Box::new(PostgresRegistry { database: self.database()?, patience: Patience::Impatient }))
    }

    fn registry_lasts(&self) -> Option<Duration> {
        Some(REGISTRY_LASTS)
    }

    fn tidy_up(&self) {}
}
