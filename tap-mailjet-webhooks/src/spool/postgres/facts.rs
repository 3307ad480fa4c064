//! The table of single facts about the spool itself.

use std::time::Duration;

use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::connection::Queries;
use crate::os::clock::{UnixMillis, millis};
use crate::os::uptime::Uptime;
use crate::spool::Sequence;
pub(super) use crate::spool::facts::*;
use crate::spool::retention::Marks;
use crate::spool::spool_clock::NotedTime;

pub(super) async fn read(queries: Queries<'_>, name: &str) -> Result<Option<i64>, Error> {
    let query = "SELECT value FROM @.fact WHERE name = $1";
    queries.rows(query, &[(&name, Type::TEXT)]).await?.first().map(|row| row.try_get(0)).transpose()
}

pub(super) async fn set(queries: Queries<'_>, name: &str, value: i64) -> Result<(), Error> {
    let set = "INSERT INTO @.fact (name, value) VALUES ($1, $2) \
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    queries.execute(set, &[(&name, Type::TEXT), (&value, Type::INT8)]).await.map(drop)
}

/// Sets a fact, unless it already is at least that large. Returns whether it was set.
pub(super) async fn raise(queries: Queries<'_>, name: &str, value: i64) -> Result<bool, Error> {
    let raise = "INSERT INTO @.fact AS fact (name, value) VALUES ($1, $2) \
        ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE fact.value < excluded.value";
    Ok(queries.execute(raise, &[(&name, Type::TEXT), (&value, Type::INT8)]).await? > 0)
}

/// Reads the spool's time as it was last noted.
pub(super) async fn read_time(queries: Queries<'_>) -> Result<Option<NotedTime>, Error> {
    let (time, boot, uptime) =
        (read(queries, TIME).await?, read(queries, TIME_BOOT).await?, read(queries, TIME_UPTIME).await?);
    let (Some(time), Some(boot), Some(uptime)) = (time, boot, uptime) else { return Ok(None) };
    let since_boot = Duration::from_millis(u64::try_from(uptime).unwrap_or(0));
    Ok(Some(NotedTime { time: UnixMillis::new(time), uptime: Uptime { boot, since_boot } }))
}

/// Notes the spool's time.
pub(super) async fn set_time(queries: Queries<'_>, noted: NotedTime) -> Result<(), Error> {
    set(queries, TIME, noted.time.get()).await?;
    set(queries, TIME_BOOT, noted.uptime.boot).await?;
    set(queries, TIME_UPTIME, millis(noted.uptime.since_boot)).await
}

/// Reads both marks.
pub(super) async fn read_marks(queries: Queries<'_>) -> Result<Marks, Error> {
    let mut marks = [None, None];
    for (names, mark) in [OLDER_MARK, NEWER_MARK].into_iter().zip(&mut marks) {
        let time = read(queries, names.time).await?.map(UnixMillis::new);
        *mark = time.zip(read(queries, names.sequence).await?.map(Sequence::new));
    }
    let [older, newer] = marks;
    Ok(Marks { older, newer })
}

/// Sets both marks.
pub(super) async fn set_marks(queries: Queries<'_>, marks: Marks) -> Result<(), Error> {
    for (names, mark) in [(OLDER_MARK, marks.older), (NEWER_MARK, marks.newer)] {
        let Some((time, sequence)) = mark else { continue };
        set(queries, names.time, time.get()).await?;
        set(queries, names.sequence, sequence.get()).await?;
    }
    Ok(())
}
