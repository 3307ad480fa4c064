//! Checks a spool apart from its items: the sequences, the counts, the facts. Whether the database's files
//! are sound is for its own tools to say.

use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::connection::{Database, Patience, Queries};
use super::error::PostgresError;
use super::facts;

/// What is counted that must not be there.
const WRONG: [(&str, &str); 5] = [
    ("sequences of events are below 1", "SELECT count(*) FROM @.event WHERE sequence < 1"),
    ("sequences of rejected items are below 1", "SELECT count(*) FROM @.rejected WHERE sequence < 1"),
    (
        "sequences belong to both an event and a rejected item",
        "SELECT count(*) FROM @.rejected JOIN @.event USING (sequence)",
    ),
    (
        "items have sequences past the last one that was assigned",
        "SELECT count(*) FROM \
         (SELECT sequence FROM @.event UNION ALL SELECT sequence FROM @.rejected) AS item, \
         @.seq WHERE sequence > last",
    ),
    (
        "items should be gone, because later ones were trimmed",
        "SELECT (SELECT count(*) FROM @.event, @.trimmed WHERE kind = 'event' AND sequence <= through) + \
         (SELECT count(*) FROM @.rejected, @.trimmed WHERE kind = 'rejected' AND sequence <= through)",
    ),
];

/// Returns one line for each problem.
pub(super) fn check(database: &mut Database) -> Result<Vec<String>, PostgresError> {
    database.read("checking it", Patience::Thorough, async |queries| {
        let mut problems = Vec::new();
        for (what, query) in WRONG {
            match number(queries, query).await? {
                0 => {}
                wrong => problems.push(format!("{wrong} {what}")),
            }
        }
        // One statement each, so that a listener at work does not change one side in between.
        let counts = [
            (
                "events",
                "SELECT (SELECT events - items FROM @.seq, @.trimmed WHERE kind = 'event') \
                 - (SELECT count(*) FROM @.event)",
            ),
            (
                "bytes of events",
                "SELECT (SELECT event_bytes - bytes FROM @.seq, @.trimmed WHERE kind = 'event') \
                 - (SELECT coalesce(sum(octet_length(body)), 0)::bigint FROM @.event)",
            ),
        ];
        for (what, query) in counts {
            match number(queries, query).await? {
                0 => {}
                difference => problems.push(format!("the kept count of {what} is wrong by {difference}")),
            }
        }
        for name in facts::ALL {
            if let Some(value) = facts::read(queries, name).await?.filter(|value| *value < 0) {
                problems.push(format!("fact {name} is {value}, which is below 0"));
            }
        }
        Ok(problems)
    })
}

async fn number(queries: Queries<'_>, query: &str) -> Result<i64, Error> {
    let none: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[];
    queries.row(query, none).await?.try_get(0)
}
