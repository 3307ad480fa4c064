//! Groups of events: the listener against SQLite alone, which stores the same events in transactions of the
//! same size.

use std::time::Instant;

use rusqlite::Connection;

use crate::benchmark::Benchmark;
use crate::event_generator::EventGenerator;
use crate::measurement::{Requirement, ResultRow, Unit, float, median};
use crate::process::sync_disk;
use crate::spool::{GROUP, Spool};

const PART: &str = "grouped";

pub(super) fn run(benchmark: &mut Benchmark) {
    let events = benchmark.options.size(1_000_000, 20_000);
    let (mut posted, mut inserted) = (Vec::new(), Vec::new());
    for _ in benchmark.rounds() {
        let spool = Spool::new(&benchmark.folder, PART).set("admin_address", "127.0.0.1:0");
        let listener = spool.listen();
        let report = listener.post_groups(&mut benchmark.generator, events);
        benchmark.listener_peak = benchmark.listener_peak.max(listener.peak());
        let rows = listener.rows_per_transaction();
        listener.stop();
        let stored = spool.event_count();
        assert!(
            stored >= report.events,
            "{} events were answered with 200, {stored} are stored",
            report.events
        );
        posted.push(benchmark.results.round(PART, "on disk, then answered", Unit::PerSecond, report.rate()));
        spool.remove();
        sync_disk();

        let spool = Spool::new(&benchmark.folder, PART);
        let rate = insert(&spool, &mut benchmark.generator, events, rows);
        inserted.push(benchmark.results.round(PART, "SQLite alone", Unit::PerSecond, rate));
        spool.remove();
        sync_disk();
    }
    benchmark.results.row(ResultRow {
        part: PART,
        what: format!("events in posts of {GROUP}"),
        measured: median(&posted),
        unit: Unit::PerSecond,
        against: Some(("SQLite alone, same transactions".to_owned(), median(&inserted))),
        requirement: Some(Requirement::at_least(250_000.0).stretch(400_000.0)),
    });
}

/// Inserts events into a file like a spool's, and returns the rate.
fn insert(spool: &Spool, generator: &mut EventGenerator, events: u64, rows: u64) -> f64 {
    let mut connection = Connection::open(spool.file("spool.db")).expect("a new file");
    let settings = "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        PRAGMA journal_size_limit = 67108864;
        CREATE TABLE event
            (sequence INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;";
    connection.execute_batch(settings).expect("the settings of a spool");
    let mut body = Vec::new();
    let (mut sequence, begin) = (1_700_000_000_000_i64, Instant::now());
    let mut left = events;
    while left > 0 {
        let transaction = connection.transaction().expect("a transaction");
        let mut insert =
            transaction.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3)").expect("a statement");
        for _ in 0..rows.min(left) {
            sequence += 1;
            body.clear();
            generator.push_event(&mut body);
            let text = str::from_utf8(&body).expect("events are text");
            insert.execute((sequence, sequence, text)).expect("a row");
        }
        drop(insert);
        transaction.commit().expect("a commit");
        left -= rows.min(left);
    }
    float(events) / begin.elapsed().as_secs_f64()
}
