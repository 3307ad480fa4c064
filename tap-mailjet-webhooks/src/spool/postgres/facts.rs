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

/// Reads several facts in one query, in the order of their names here.
async fn read_several<const N: usize>(
    queries: Queries<'_>,
    names: [&str; N],
) -> Result<[Option<i64>; N], Error> {
    let query = "SELECT name, value FROM @.fact WHERE name = ANY ($1)";
    let mut values = [None; N];
    for row in queries.rows(query, &[(&names.as_slice(), Type::TEXT_ARRAY)]).await? {
        let found: &str = row.try_get(0)?;
        for (name, value) in names.iter().zip(&mut values) {
            if *name == found {
                *value = Some(row.try_get(1)?);
            }
        }
    }
    Ok(values)
}

/// Reads the spool's time as it was last noted.
pub(super) async fn read_time(queries: Queries<'_>) -> Result<Option<NotedTime>, Error> {
    let [Some(time), Some(boot), Some(uptime)] =
        read_several(queries, [TIME, TIME_BOOT, TIME_UPTIME]).await?
    else {
        return Ok(None);
    };
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
    let names = [OLDER_MARK.time, OLDER_MARK.sequence, NEWER_MARK.time, NEWER_MARK.sequence];
    let [older_time, older, newer_time, newer] = read_several(queries, names).await?;
    let mark =
        |time: Option<i64>, sequence: Option<i64>| time.map(UnixMillis::new).zip(sequence.map(Sequence::new));
    Ok(Marks { older: mark(older_time, older), newer: mark(newer_time, newer) })
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
