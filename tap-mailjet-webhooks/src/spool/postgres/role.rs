//! Roles: leases by the database's clock, which are renewed for as long as they are held.
//!
//! A lease ends early if the connection that renews it is gone from the server: the process was killed, and
//! the next one need not wait.
//!
//! The lease of an emitter or a registrar has an epoch, a number that grows each time another process takes
//! the role. Everything that it writes in that role demands its epoch, so a process that was silent for too
//! long can write nothing more. There may be several listeners. Theirs only say that they are there.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_postgres::types::Type;
use tracing::{debug, error, warn};

use super::connection::{Context, Database, Patience, Write};
use super::error::PostgresError;
use crate::os::log_throttle::LogThrottle;
use crate::os::thread;
use crate::spool::{Role, RoleLock};

/// The pause before a renewal that failed is repeated.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often a lease is renewed while it lasts.
const RENEWALS_PER_LEASE: u32 = 3;

/// Whether the process of a row `holding` is there: its lease lasts, and so does its connection. After a
/// restart or a failover, the connection is another one until the next renewal, and only the lease counts.
/// An expiry that lies further in the future than a whole lease is that of a clock that was ahead.
fn is_held(lease: &str) -> String {
    format!(
        "holding.expires_at > clock_timestamp() AND holding.expires_at <= clock_timestamp() + {lease} \
         AND (holding.server_start <> pg_postmaster_start_time() \
             OR EXISTS (SELECT 1 FROM pg_stat_activity AS session WHERE session.pid = holding.backend \
             AND coalesce(session.backend_start, holding.backend_start) = holding.backend_start))"
    )
}

/// Whether the process of a row `holding` of the table `listener` is there.
pub(super) fn listener_is_there() -> String {
    // How long the leases of listeners are is not in their rows.
    is_held("interval '1 day'")
}

/// The connection that renews a lease: its process on the server, and when that and the server were started.
const BACKEND: &str = "pg_backend_pid(), \
     (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()), \
     pg_postmaster_start_time()";

/// A role that this process holds. Dropping it gives the role back.
#[derive(Debug)]
struct Lease {
    context: Arc<Context>,
    row: Row,
    /// Dropped to end the thread that renews the lease.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Without an answer the lease expires by itself, and the thread soon ends all the same.
        let _ = self.thread.take().map(JoinHandle::join);
        match self.row {
            Row::Role(role, _) => self.context.set_epoch(role, None),
            Row::Listener(_) => self.context.set_listener(None),
        }
    }
}

/// What a lease is in the tables.
#[derive(Debug, Clone, Copy)]
enum Row {
    /// A row of `role`, and the epoch in which this process holds it.
    Role(Role, i64),
    /// A row of `listener`.
    Listener(i64),
}

/// Takes `role` and keeps it until the returned lock is dropped.
pub(super) fn take(context: &Arc<Context>, role: Role) -> Result<RoleLock, PostgresError> {
    let mut database = Database::new(context)?;
    let row = match role {
        Role::Listener => Row::Listener(announce(&mut database)?),
        Role::Emitter | Role::Registrar => Row::Role(role, take_lease(&mut database, role)?),
    };
    match row {
        Row::Role(role, epoch) => context.set_epoch(role, Some(epoch)),
        Row::Listener(id) => context.set_listener(Some(id)),
    }
    let (stop, stopped) = mpsc::channel();
    let interval = context.location.lease / RENEWALS_PER_LEASE;
    let renew = move || renew_until_stopped(&mut database, row, interval, &stopped);
    let thread = thread::spawn("spool-role", renew)?;
    let context = Arc::clone(context);
    Ok(RoleLock::new(role, Lease { context, row, stop: Some(stop), thread: Some(thread) }))
}

fn renew_until_stopped(database: &mut Database, row: Row, interval: Duration, stopped: &mpsc::Receiver<()>) {
    let mut throttle = LogThrottle::default();
    let (mut is_held, mut pause) = (true, interval);
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = interval;
        match renew(database, row, interval) {
            Ok(still_held) => {
                if is_held
                    && !still_held
                    && let Row::Role(role, _) = row
                {
                    error!("another process has taken the role of the {role}");
                }
                is_held = still_held;
            }
            Err(error) => {
                pause = interval.min(RETRY_PAUSE);
                if let Some(suppressed) = throttle.allow() {
                    warn!("{error}{suppressed}");
                }
            }
        }
    }
    if let Err(error) = release(database, row) {
        debug!("a role was not given back: {error}");
    }
}

/// Returns this process's name for others: its process id and its machine.
fn holder() -> String {
    let machine = rustix::system::uname();
    format!("{} on {}", std::process::id(), machine.nodename().to_string_lossy())
}

fn lease_seconds(context: &Context) -> f64 {
    context.location.lease.as_secs_f64()
}

/// Takes a role that is free, or whose holder was silent for too long. Returns the new epoch.
fn take_lease(database: &mut Database, role: Role) -> Result<i64, PostgresError> {
    let (name, holder, lease) = (role.to_string(), holder(), lease_seconds(&database.context));
    let take = format!(
        "INSERT INTO @.role AS holding (name, holder, epoch, lease, expires_at, \
         backend, backend_start, server_start) \
         SELECT $1, $2, 1, make_interval(secs => $3), \
         clock_timestamp() + make_interval(secs => $3), {BACKEND} \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = holding.epoch + 1, \
         lease = excluded.lease, expires_at = excluded.expires_at, backend = excluded.backend, \
         backend_start = excluded.backend_start, server_start = excluded.server_start \
         WHERE NOT ({}) RETURNING epoch",
        is_held("holding.lease")
    );
    let taken = database.write("taking a role", Patience::Once, Write::Durable, async |queries| {
        let parameters = &[(&name as _, Type::TEXT), (&holder as _, Type::TEXT), (&lease as _, Type::FLOAT8)];
        queries.rows(&take, parameters).await?.first().map(|row| row.try_get::<_, i64>(0)).transpose()
    })?;
    if let Some(epoch) = taken {
        return Ok(epoch);
    }
    let holder = holders(database, role)?.pop().unwrap_or_else(|| "unknown".to_owned());
    Err(PostgresError::RoleTaken { role, spool: database.context.name.clone(), holder })
}

/// Says that this process listens. Returns the id of its row.
fn announce(database: &mut Database) -> Result<i64, PostgresError> {
    let (holder, lease) = (holder(), lease_seconds(&database.context));
    database.write("announcing the listener", Patience::Once, Write::Relaxed, async |queries| {
        // The rows of listeners that have vanished.
        queries.execute("DELETE FROM @.listener WHERE expires_at < clock_timestamp()", &[]).await?;
        let insert = format!(
            "INSERT INTO @.listener (holder, expires_at, backend, backend_start, server_start) \
             SELECT $1, clock_timestamp() + make_interval(secs => $2), {BACKEND} RETURNING id"
        );
        let row = queries.row(&insert, &[(&holder, Type::TEXT), (&lease, Type::FLOAT8)]).await?;
        row.try_get(0)
    })
}

/// Renews a lease. Returns whether this process still has it.
fn renew(database: &mut Database, row: Row, limit: Duration) -> Result<bool, PostgresError> {
    let (holder, lease) = (holder(), lease_seconds(&database.context));
    let renewed = database.write(
        "renewing a role",
        Patience::Within(limit),
        Write::Relaxed,
        async |queries| match row {
            Row::Role(role, epoch) => {
                let renew = format!(
                    "UPDATE @.role SET expires_at = clock_timestamp() + make_interval(secs => $3), \
                 (backend, backend_start, server_start) = (SELECT {BACKEND}) WHERE name = $1 AND epoch = $2"
                );
                let parameters = &[
                    (&role.to_string() as _, Type::TEXT),
                    (&epoch as _, Type::INT8),
                    (&lease as _, Type::FLOAT8),
                ];
                queries.execute(&renew, parameters).await
            }
            Row::Listener(id) => {
                // The row may be gone: another process deletes those that have expired.
                let renew = format!(
                    "INSERT INTO @.listener (id, holder, expires_at, backend, backend_start, server_start) \
                 OVERRIDING SYSTEM VALUE \
                 SELECT $1, $2, clock_timestamp() + make_interval(secs => $3), {BACKEND} \
                 ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, \
                 backend = excluded.backend, backend_start = excluded.backend_start, \
                     server_start = excluded.server_start"
                );
                let parameters =
                    &[(&id as _, Type::INT8), (&holder as _, Type::TEXT), (&lease as _, Type::FLOAT8)];
                queries.execute(&renew, parameters).await
            }
        },
    )?;
    Ok(renewed > 0)
}

fn release(database: &mut Database, row: Row) -> Result<(), PostgresError> {
    database.write("giving back a role", Patience::Impatient, Write::Relaxed, async |queries| match row {
        Row::Role(role, epoch) => {
            let release = "UPDATE @.role SET expires_at = '-infinity' WHERE name = $1 AND epoch = $2";
            queries.execute(release, &[(&role.to_string(), Type::TEXT), (&epoch, Type::INT8)]).await
        }
        Row::Listener(id) => {
            queries.execute("DELETE FROM @.listener WHERE id = $1", &[(&id, Type::INT8)]).await
        }
    })?;
    Ok(())
}

/// Returns the names of the processes that hold `role`.
pub(super) fn holders(database: &mut Database, role: Role) -> Result<Vec<String>, PostgresError> {
    let name = role.to_string();
    let (table, is_there) = match role {
        Role::Listener => ("(SELECT *, 'listener' AS name FROM @.listener)", listener_is_there()),
        Role::Emitter | Role::Registrar => ("@.role", is_held("holding.lease")),
    };
    let query = format!("SELECT holder FROM {table} AS holding WHERE name = $1 AND {is_there}");
    database.read("reading its roles", Patience::Once, async |queries| {
        queries.rows(&query, &[(&name, Type::TEXT)]).await?.iter().map(|row| row.try_get(0)).collect()
    })
}
